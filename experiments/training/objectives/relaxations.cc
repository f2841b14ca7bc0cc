// Training through one relaxation: IBP (Gowal et al. 2018), hybrid boxes, DeepZ, DeepPoly (CROWN) and α-CROWN.
#include <mollify/experiments/training/objectives/bounded.h>
#include <mollify/experiments/training/settings.h>

namespace mollify::experiments {
namespace {

using nn::bounds::Method;

struct Row {
  const char* name;
  Method training, certifying;
  double regularizer;
};
constexpr Row kRows[] = {{"ibp", Method::ibp, Method::ibp, 0.5},
                         {"hbox", Method::hbox, Method::ibp, 0.5},
                         {"deepz", Method::deepz, Method::deepz, 0},
                         {"deeppoly", Method::crown, Method::crown, 0},
                         {"alpha-crown", Method::alpha_crown, Method::crown, 0}};

class Relaxed final : public BoundedObjective {
 public:
  explicit Relaxed(const Row& row)
      : BoundedObjective(row.name, row.training, row.certifying, row.regularizer), method_(row.training) {}

  Options options() override {
    Options all = BoundedObjective::options();
    if (method_ == Method::deepz || method_ == Method::crown) all.push_back(fusion_option());
    if (method_ == Method::alpha_crown)
      add(all, {{{"alpha-steps", "Objective", "steps that find alpha, for alpha-crown", nullptr},
                 &alpha_steps_,
                 at_least(1)}});
    return all;
  }
  void resolve(RunOptions& run) override {
    BoundedObjective::resolve(run);
    if (run.certify_limit == 0 && method_ != Method::ibp && method_ != Method::hbox) run.certify_limit = 1000;
  }

 protected:
  nn::bounds::Options bounds_options() const override {
    nn::bounds::Options options = BoundedObjective::bounds_options();
    options.alpha.steps = alpha_steps_;
    return options;
  }

 private:
  Method method_;
  int64_t alpha_steps_ = 3;
};

}  // namespace

std::unique_ptr<Objective> relaxation_objective(const std::string& name) {
  for (const Row& row : kRows)
    if (name == row.name) return std::make_unique<Relaxed>(row);
  throw ValueError(format("objective: '{}' is no relaxation's; needs ibp, hbox, deepz, deeppoly or alpha-crown", name));
}

}  // namespace mollify::experiments
