#include <mollify/experiments/training/objectives/objective.h>

#include <mollify/experiments/training/settings.h>

#include <functional>

namespace mollify::experiments {
namespace {

struct Row {
  const char* name;
  std::function<std::unique_ptr<Objective>()> make;
};

const std::vector<Row>& table() {
  const auto relaxation = [](const char* name) { return Row{name, [name] { return relaxation_objective(name); }}; };
  static const std::vector<Row> rows = {{"natural", natural_objective},
                                        {"pgd", pgd_objective},
                                        relaxation("ibp"),
                                        relaxation("hbox"),
                                        relaxation("deepz"),
                                        {"crown-ibp", crown_ibp_objective},
                                        relaxation("deeppoly"),
                                        relaxation("alpha-crown"),
                                        {"sabr", sabr_objective},
                                        {"mtl-ibp", mtl_ibp_objective},
                                        {"gaussian", gaussian_objective},
                                        {"smoothadv", smoothadv_objective},
                                        {"consistency", consistency_objective},
                                        {"macer", macer_objective},
                                        {"smoothmix", smoothmix_objective},
                                        {"heat", heat_objective}};
  return rows;
}

}  // namespace

void Objective::resolve(RunOptions& run) {
  const auto choose = [](std::string& field, const char* value) {
    if (field.empty()) field = value;
  };
  choose(run.initialization, "fan_in_uniform");
  choose(run.optimizer, "sgd");
  choose(run.schedule, "cosine");
  if (!run.clip_norm) run.clip_norm = 0;
  if (run.epochs == 0) run.epochs = 3;
  if (!run.epsilon_test) run.epsilon_test = 0;
}

Tensors Objective::inputs(const Tensor&, const Tensor&, const Sample& sample) const {
  return {sample.images, sample.labels, sample.indices};
}

std::unique_ptr<Objective> make_objective(const std::string& name) {
  for (const Row& row : table())
    if (name == row.name) return row.make();
  throw ValueError(format("objective: '{}' given; needs one of --objective's", name));
}

std::vector<std::string> objective_names() {
  std::vector<std::string> names;
  for (const Row& row : table()) names.push_back(row.name);
  return names;
}

}  // namespace mollify::experiments
