#include <mollify/smoothing/attacks/pgd.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/attacks/search.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

void check(const PgdOptions& how) {
  require<ValueError>(how.step_size >= 0 && std::isfinite(how.step_size),
                      "attack: step_size {}; needs a finite number ≥ 0", how.step_size);
  require<ValueError>(how.steps >= 0 && how.restarts >= 1 && how.targets >= 0,
                      "attack: steps {}, restarts {}, targets {}; need steps ≥ 0, "
                      "restarts ≥ 1, targets ≥ 0",
                      how.steps, how.restarts, how.targets);
}

double step_size(const PgdOptions& how, double epsilon, int64_t step) {
  if (how.step_size > 0) return how.step_size;
  return epsilon * (1 - static_cast<double>(step) / static_cast<double>(how.steps));
}

// Steps from and to points in the set. The last point of a run costs no gradient.
void one_run(Search& search, const PgdOptions& how, int64_t number, int64_t rank) {
  Tensor x = number == 0 && !how.random_start ? search.center() : search.random_point(number), gradient;
  search.follow({&x, &gradient});
  for (int64_t step = 0; step < how.steps; ++step) {
    const Search::Evaluation at = search.evaluate(x, how.objective, rank);
    gradient = at.gradient;
    search.record(Tensor(x), at.scores);
    if (search.left() == 0) return;
    x = search.project(x + search.direction(gradient) * step_size(how, search.threat().epsilon, step));
  }
  search.record(Tensor(x), search.scores(x));
}

}  // namespace

Adversarial pgd(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, const PgdOptions& how) {
  check_attack(f, x, labels, threat, /*needs_ball=*/true);
  check(how);
  const NoGrad guard;
  Search search(f, x, labels, threat, how.stop_at_success ? Keep::worst_until_success : Keep::worst);
  const int64_t targets =
      how.stop_at_success || is_targeted(how.objective) ? search.start(how.objective, how.targets) : 1;
  for (int64_t number = 0; number < how.restarts * targets && search.left() > 0; ++number)
    one_run(search, how, number, number % targets);
  return search.result();
}

Adversarial fgsm(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat) {
  return pgd(f, x, labels, threat,
             {.objective = Objective::cross_entropy, .steps = 1, .step_size = threat.epsilon, .random_start = false});
}

}  // namespace mollify::smoothing
