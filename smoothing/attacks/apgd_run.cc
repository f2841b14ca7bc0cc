#include <mollify/smoothing/attacks/apgd_run.h>

#include <mollify/smoothing/attacks/apgd.h>
#include <mollify/smoothing/rows.h>

#include <algorithm>

namespace mollify::smoothing {
ApgdRun::ApgdRun(const Tensor& start, double first_step)
    : x(start),
      previous(start),
      step(full({start.dim(0)}, first_step, start.dtype(), start.device())),
      rises(zeros_like(step)),
      halved(ones({start.dim(0)}, DType::u8, start.device())) {}  // nothing stands still at the first checkpoint

std::vector<Tensor*> ApgdRun::parts() {
  return {&x, &previous, &gradient, &loss, &best, &best_gradient, &best_loss, &step, &rises, &checked_loss, &halved};
}

void ApgdRun::evaluated(const Tensor& loss_at_x, const Tensor& gradient_at_x) {
  const bool first = !loss.defined();
  if (!first) rises = rises + cast(greater(loss_at_x, loss), rises.dtype());
  loss = loss_at_x;
  gradient = gradient_at_x;
  if (first) {
    best = x;
    best_gradient = gradient;
    best_loss = checked_loss = loss;
    return;
  }
  const Tensor better = greater(loss, best_loss);
  best = where(column(better), x, best);
  best_gradient = where(column(better), gradient, best_gradient);
  best_loss = where(better, loss, best_loss);
}

void ApgdRun::climb(int64_t steps, const std::function<bool()>& evaluate,
                    const std::function<Tensor(const Tensor& gradient)>& direction,
                    const std::function<Tensor(const Tensor&)>& project) {
  const std::vector<int64_t> checkpoints = apgd_checkpoints(steps);
  int64_t last = 0;
  if (!evaluate()) return;
  for (int64_t step = 1; step <= steps; ++step) {
    move(direction(gradient), project, step == 1);
    if (!evaluate()) return;
    if (!std::binary_search(checkpoints.begin(), checkpoints.end(), step)) continue;
    check(step - last);
    last = step;
  }
}

void ApgdRun::move(const Tensor& direction, const std::function<Tensor(const Tensor&)>& project, bool first) {
  const double share = first ? 1 : 0.75;  // of the gradient; the rest is momentum
  const Tensor ahead = project(x + direction * column(step));
  const Tensor next = x + (ahead - x) * share + (x - previous) * (1 - share);
  previous = x;
  x = project(next);
}

void ApgdRun::check(int64_t interval) {
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

}  // namespace mollify::smoothing
