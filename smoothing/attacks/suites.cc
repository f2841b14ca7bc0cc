#include <mollify/smoothing/attacks/suites.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/attacks/apgd.h>
#include <mollify/smoothing/attacks/ddn.h>
#include <mollify/smoothing/attacks/fab.h>
#include <mollify/smoothing/attacks/pgd.h>
#include <mollify/smoothing/attacks/square.h>
#include <mollify/smoothing/rows.h>

#include <numeric>

namespace mollify::smoothing {
namespace {

template <class Options, class Run>
Attack attack(const std::string& name, const Options& how, Run run) {
  return {name, [how, run](const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat) {
            return run(f, x, labels, threat, how);
          }};
}

Attack apgd_attack(const std::string& name, Objective objective, int64_t restarts, const AttackOptions& given) {
  const ApgdOptions usual;
  const ApgdOptions how{.objective = objective,
                        .steps = given.steps.value_or(usual.steps),
                        .restarts = given.restarts.value_or(restarts),
                        .targets = given.targets.value_or(usual.targets)};
  return attack(name, how,
                [](const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, ApgdOptions how) {
                  if (threat.goal.targeted && how.objective == Objective::targeted_dlr) how.objective = Objective::dlr;
                  return apgd(f, x, labels, threat, how);
                });
}

Attack fab_attack(const std::string& name, int64_t targets, int64_t restarts, const AttackOptions& given) {
  return attack(name,
                FabOptions{.steps = given.steps.value_or(FabOptions().steps),
                           .restarts = given.restarts.value_or(restarts),
                           .targets = targets == 0 ? 0 : given.targets.value_or(targets)},
                fab);
}

struct Row {
  const char* name;
  std::vector<Attack> (*make)(const AttackOptions& given);
};

std::vector<Attack> one(Attack attack) { return {std::move(attack)}; }

constexpr int64_t kTargets = 9;

const Row kRows[] = {
    {"fgsm",
     [](const AttackOptions&) {
       return one({"fgsm", [](const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat) {
                     return fgsm(f, x, labels, threat);
                   }});
     }},
    {"pgd",
     [](const AttackOptions& given) {
       const PgdOptions usual;
       return one(attack("pgd",
                         PgdOptions{.objective = given.objective.value_or(Objective::margin),
                                    .steps = given.steps.value_or(40),
                                    .step_size = given.step_size.value_or(usual.step_size),
                                    .restarts = given.restarts.value_or(5),
                                    .targets = given.targets.value_or(usual.targets)},
                         pgd));
     }},
    {"ddn",
     [](const AttackOptions& given) {
       const DdnOptions usual;
       return one(attack(
           "ddn", DdnOptions{.steps = given.steps.value_or(usual.steps), .levels = given.levels.value_or(0)}, ddn));
     }},
    {"apgd-ce",
     [](const AttackOptions& given) { return one(apgd_attack("apgd-ce", Objective::cross_entropy, 1, given)); }},
    {"apgd-dlr", [](const AttackOptions& given) { return one(apgd_attack("apgd-dlr", Objective::dlr, 1, given)); }},
    {"apgd-t",
     [](const AttackOptions& given) { return one(apgd_attack("apgd-t", Objective::targeted_dlr, 1, given)); }},
    {"fab", [](const AttackOptions& given) { return one(fab_attack("fab", 0, 1, given)); }},
    {"fab-t", [](const AttackOptions& given) { return one(fab_attack("fab-t", kTargets, 1, given)); }},
    {"square",
     [](const AttackOptions& given) {
       const SquareOptions usual;
       return one(attack("square",
                         SquareOptions{.queries = given.queries.value_or(usual.queries),
                                       .restarts = given.restarts.value_or(usual.restarts)},
                         square_attack));
     }},
    {"standard",
     [](const AttackOptions& given) {
       std::vector<Attack> all;
       for (const char* name : {"apgd-ce", "apgd-t", "fab-t", "square"}) all.push_back(attacks_named(name, given)[0]);
       return all;
     }},
    {"plus",
     [](const AttackOptions& given) {
       return std::vector<Attack>{apgd_attack("apgd-ce", Objective::cross_entropy, 5, given),
                                  apgd_attack("apgd-dlr", Objective::dlr, 5, given),
                                  fab_attack("fab", 0, 5, given),
                                  attacks_named("square", given)[0],
                                  attacks_named("apgd-t", given)[0],
                                  attacks_named("fab-t", given)[0]};
     }},
    {"rand",
     [](const AttackOptions& given) {
       return std::vector<Attack>{attacks_named("apgd-ce", given)[0], attacks_named("apgd-dlr", given)[0]};
     }},
};

// Of the rows `places` what was found now, where it succeeds or has the larger margin.
void keep_better(Adversarial& kept, const Adversarial& found, const std::vector<int32_t>& places) {
  const Device device = kept.inputs.device();
  const Tensor list = index_list(places, device);
  const int64_t rows = kept.success.size();
  const std::vector<uint8_t> better =
      logical_or(found.success, greater(found.margins, take(kept.margins, list))).to_vector<uint8_t>();
  std::vector<int32_t> from(static_cast<size_t>(rows));
  std::iota(from.begin(), from.end(), 0);
  for (size_t i = 0; i < places.size(); ++i)
    if (better[i]) from[static_cast<size_t>(places[i])] = static_cast<int32_t>(rows + static_cast<int64_t>(i));
  const Tensor order = index_list(from, device);
  for (Tensor Adversarial::*part :
       {&Adversarial::inputs, &Adversarial::success, &Adversarial::margins, &Adversarial::distances})
    kept.*part = take(concat(Tensors{kept.*part, found.*part}), order);
}

}  // namespace

std::vector<std::string> attack_names() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.push_back(row.name);
  return names;
}

std::vector<Attack> attacks_named(const std::string& name, const AttackOptions& options) {
  for (const Row& row : kRows)
    if (name == row.name) return row.make(options);
  throw ValueError(format("attack: '{}' given; needs one of attack_names()", name));
}

SequenceResult in_sequence(const std::vector<Attack>& attacks, const Function& f, const Tensor& x, const Tensor& labels,
                           const Threat& threat) {
  require<ValueError>(!attacks.empty(), "attack: an empty sequence given; needs at least one attack");
  const NoGrad guard;
  const Tensor all = threat.rows.defined() ? threat.rows : arange(x.dim(0), DType::i32, x.device());
  SequenceResult result{{}, std::vector<int32_t>(static_cast<size_t>(x.dim(0)), -1)};
  std::vector<int32_t> open(static_cast<size_t>(x.dim(0)));
  std::iota(open.begin(), open.end(), 0);
  for (size_t number = 0; number < attacks.size() && !open.empty(); ++number) {
    const Tensor places = index_list(open, x.device());
    Threat on_open = threat;
    on_open.rows = take(all, places);
    const Adversarial found = attacks[number].run(f, take(x, places), take(labels, places), on_open);
    if (number == 0)
      result.found = found;
    else
      keep_better(result.found, found, open);
    const std::vector<uint8_t> success = found.success.to_vector<uint8_t>();
    std::vector<int32_t> left;
    for (size_t i = 0; i < open.size(); ++i) {
      if (success[i])
        result.broken_by[static_cast<size_t>(open[i])] = static_cast<int32_t>(number);
      else
        left.push_back(open[i]);
    }
    open = std::move(left);
  }
  return result;
}

std::vector<std::string> attack_warnings(const Function& f, const Tensor& x, const Tensor& labels) {
  std::vector<std::string> found;
  Tensor outputs;
  const Tensor gradient = grad([&](const Tensor& t) {
    const Tensor live = f(t);
    outputs = live.detach();
    return sum(cross_entropy(live, labels));
  })(x);
  const NoGrad guard;
  const Tensor again = f(x).detach(), off = abs(sum(outputs, {1}) - 1);
  if (any(not_equal(outputs, again)).item() != 0)
    found.push_back("outputs change between calls: ask for draws of noise, or what is found may be luck");
  if (min(outputs).item() >= 0 && max(outputs).item() <= 1 && max(off).item() < 1e-5)
    found.push_back("outputs are probabilities already: losses of logits lose their gradients on them");
  const Tensor flat = reshape(gradient, {x.dim(0), x.size() / x.dim(0)});
  const Tensor silent = equal(max(abs(flat), {1}), Tensor::scalar(0, flat.dtype()));
  const auto count = static_cast<int64_t>(sum(cast(silent, DType::f64)).item());
  if (count * 10 > x.dim(0))
    found.push_back(
        format("the loss has no gradient at {} of {} images: prefer attacks by margins, and square", count, x.dim(0)));
  return found;
}

}  // namespace mollify::smoothing
