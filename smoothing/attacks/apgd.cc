#include <mollify/smoothing/attacks/apgd.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/attacks/apgd_run.h>
#include <mollify/smoothing/attacks/search.h>

#include <algorithm>

namespace mollify::smoothing {
namespace {

// From a random direction, at the ball's edge.
Tensor start(const Search& search, int64_t number) {
  Tensor along = search.normals(AttackDraw::direction, number);
  if (search.threat().norm == Norm::linf) {
    along = search.random_point(number) - search.center();
    const Tensor largest = max(abs(along), {1}, /*keep=*/true);
    along = along / where(greater(largest, zeros_like(largest)), largest, ones_like(largest));
  } else {
    along = along / norm(along, {1}, /*keep=*/true);
  }
  return search.project(search.center() + along * search.threat().epsilon);
}

void one_run(Search& search, const ApgdOptions& how, int64_t number, int64_t rank) {
  ApgdRun run(start(search, number), 2 * search.threat().epsilon);
  search.follow(run.parts());
  const auto evaluate = [&] {
    const Search::Evaluation at = search.evaluate(run.x, how.objective, rank);
    run.evaluated(at.loss, at.gradient);
    search.record(Tensor(run.x), at.scores);
    return search.left() > 0;
  };
  run.climb(
      how.steps, evaluate, [&](const Tensor& gradient) { return search.direction(gradient); },
      [&](const Tensor& x) { return search.project(x); });
}

}  // namespace

std::vector<int64_t> apgd_checkpoints(int64_t steps) {
  const auto share = [&](int64_t percent) { return std::max<int64_t>(percent * steps / 100, 1); };
  std::vector<int64_t> found;
  for (int64_t interval = share(22), at = interval; at <= steps;
       interval = std::max(interval - share(3), share(6)), at += interval)
    found.push_back(at);
  return found;
}

Adversarial apgd(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                 const ApgdOptions& how) {
  check_attack(f, x, labels, threat, /*needs_ball=*/true);
  require<ValueError>(how.steps >= 1 && how.restarts >= 1 && how.targets >= 0,
                      "attack: steps {}, restarts {}, targets {}; need steps ≥ 1, restarts ≥ 1, targets ≥ 0", how.steps,
                      how.restarts, how.targets);
  const NoGrad guard;
  Search search(f, x, labels, threat, how.stop_at_success ? Keep::worst_until_success : Keep::worst);
  const int64_t targets = search.start(how.objective, how.targets);
  for (int64_t number = 0; number < how.restarts * targets && search.left() > 0; ++number)
    one_run(search, how, number, number % targets);
  return search.result();
}

}  // namespace mollify::smoothing
