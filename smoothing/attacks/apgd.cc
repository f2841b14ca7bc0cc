#include <mollify/smoothing/attacks/apgd.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/attacks/search.h>

#include <algorithm>

namespace mollify::smoothing {
namespace {

Tensor column(const Tensor& list) { return reshape(list, {list.size(), 1}); }

// One row each, of a run: points and gradients [n, d], the others [n].
struct Run {
  Tensor x, previous, gradient, loss;
  Tensor best, best_gradient, best_loss;
  Tensor step, rises;           // length of steps; how often the loss rose since the last checkpoint
  Tensor checked_loss, halved;  // the best loss at the last checkpoint, and whether the step was halved there

  std::vector<Tensor*> parts() {
    return {&x, &previous, &gradient, &loss, &best, &best_gradient, &best_loss, &step, &rises, &checked_loss, &halved};
  }
  void evaluated(const Search::Evaluation& at) {
    if (loss.defined()) rises = rises + cast(greater(at.loss, loss), rises.dtype());
    loss = at.loss;
    gradient = at.gradient;
    const Tensor better = best_loss.defined() ? greater(loss, best_loss) : equal(loss, loss);
    best = best.defined() ? where(column(better), x, best) : x;
    best_gradient = best_gradient.defined() ? where(column(better), gradient, best_gradient) : gradient;
    best_loss = best_loss.defined() ? where(better, loss, best_loss) : loss;
  }
  // After `interval` steps.
  void check(int64_t interval) {
    const Tensor most = Tensor::scalar(0.75 * static_cast<double>(interval), rises.dtype());
    const Tensor oscillates = less_equal(rises, most);
    const Tensor stands = logical_and(logical_not(halved), less_equal(best_loss, checked_loss));
    halved = logical_or(oscillates, stands);
    step = where(halved, step / 2, step);
    x = where(column(halved), best, x);
    gradient = where(column(halved), best_gradient, gradient);
    rises = zeros_like(rises);
    checked_loss = best_loss;
  }
};

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
  Run run;
  search.follow(run.parts());
  const auto evaluate = [&] {
    const Search::Evaluation at = search.evaluate(run.x, how.objective, rank);
    run.evaluated(at);
    search.record(Tensor(run.x), at.scores);
  };
  run.x = run.previous = start(search, number);
  run.step = full({search.left()}, 2 * search.threat().epsilon, run.x.dtype(), run.x.device());
  run.rises = zeros_like(run.step);
  run.halved = ones({search.left()}, DType::u8, run.x.device());  // nothing stands still at the first checkpoint
  evaluate();
  run.checked_loss = run.best_loss;

  const std::vector<int64_t> checkpoints = apgd_checkpoints(how.steps);
  int64_t last = 0;
  for (int64_t step = 1; step <= how.steps && search.left() > 0; ++step) {
    const double share = step == 1 ? 1 : 0.75;  // of the gradient; the rest is momentum
    const Tensor ahead = search.project(run.x + search.direction(run.gradient) * column(run.step));
    const Tensor next = run.x + (ahead - run.x) * share + (run.x - run.previous) * (1 - share);
    run.previous = run.x;
    run.x = search.project(next);
    evaluate();
    if (search.left() == 0 || !std::binary_search(checkpoints.begin(), checkpoints.end(), step)) continue;
    run.check(step - last);
    last = step;
  }
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
