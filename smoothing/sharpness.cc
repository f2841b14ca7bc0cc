#include <mollify/smoothing/sharpness.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/plan.h>
#include <mollify/smoothing/attacks/apgd.h>
#include <mollify/smoothing/attacks/apgd_run.h>
#include <mollify/smoothing/monte_carlo.h>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr int64_t kAtOnce = 256;                                                // samples of a part of the whole loss
constexpr uint64_t kStarts = stream_of(Purpose::landscape, uint64_t{1} << 48);  // beyond the numbers of directions

// The loss at w + c ⊙ u as a function of u.
class Around {
 public:
  Around(const SampleLosses& losses, const Tensor& weights, bool adaptive)
      : losses_(losses),
        weights_(weights.detach()),
        scale_(adaptive ? abs(weights_) : Tensor()),
        values_(
            [losses](const Tensors& in) -> Tensors { return cast(losses.mean(in[0], without_first(in)), DType::f64); }),
        gradients_([losses](const Tensors& in) -> Tensors {
          const Tensors taken = without_first(in);
          const auto [value, g] = value_and_grad([&](const Tensor& w) { return losses.mean(w, taken); })(in[0]);
          return {cast(value, DType::f64), g};
        }) {}

  Tensors taken(int64_t first, int64_t size) const { return losses_.take(samples_from(first, size, losses_.count)); }
  struct Evaluation {
    Tensor loss, gradient;  // in u
  };
  Evaluation evaluate(const Tensor& u, const Tensors& taken) {
    const Tensors found = gradients_(with_first(moved(u), taken));
    return {found[0], scale_.defined() ? found[1] * scale_ : found[1]};
  }
  double value_of_all(const Tensor& u) {
    double sum = 0;
    for (int64_t first = 0; first < losses_.count; first += kAtOnce) {
      const int64_t size = std::min(kAtOnce, losses_.count - first);
      sum += values_(with_first(moved(u), taken(first, size)))[0].item() * static_cast<double>(size);
    }
    return sum / static_cast<double>(losses_.count);
  }
  const Tensor& weights() const { return weights_; }

 private:
  Tensor moved(const Tensor& u) const { return weights_ + (scale_.defined() ? u * scale_ : u); }

  const SampleLosses losses_;
  const Tensor weights_, scale_;
  Captured values_, gradients_;
};

// Of rows [1, d].
Tensor length(const Tensor& rows, Norm norm) {
  return norm == Norm::linf ? max(abs(rows), 1, /*keep=*/true) : mollify::norm(rows, {1}, /*keep=*/true);
}
Tensor of_length_one(const Tensor& rows, Norm norm) {
  const Tensor size = length(rows, norm);
  return where(greater(size, zeros_like(size)), rows / size, zeros_like(rows));  // 0 of NaN, too
}
Tensor direction(const Tensor& gradient, Norm norm) {
  return norm == Norm::linf ? sign(where(is_nan(gradient), zeros_like(gradient), gradient))
                            : of_length_one(gradient, norm);
}
Tensor project(const Tensor& rows, Norm norm, double rho) {
  if (norm == Norm::linf) return clip(rows, -rho, rho);
  const Tensor size = length(rows, norm);
  return where(greater(size, full({}, rho, size.dtype())), rows * (rho / size), rows);
}

Tensor random_direction(const Tensor& weights, const SharpnessOptions& how, uint64_t number) {
  const Tensor drawn = normal({1, weights.size()}, {how.seed, kStarts | number}, Tensor::scalar(0, DType::i32),
                              weights.dtype(), weights.device());
  return of_length_one(drawn, how.norm);
}

// The highest loss that a run finds which starts at the ball's edge.
double highest(Around& around, const Tensors& taken, const SharpnessOptions& how, const Tensor& start_along) {
  const auto into_ball = [&](const Tensor& u) { return project(u, how.norm, how.rho); };
  ApgdRun run(into_ball(start_along * how.rho), 2 * how.rho);
  const auto evaluate = [&] {
    const Around::Evaluation at = around.evaluate(flatten(run.x), taken);
    run.evaluated(reshape(at.loss, {1}), reshape(at.gradient, {1, -1}));
    return true;
  };
  run.climb(
      how.steps, evaluate, [&](const Tensor& gradient) { return direction(gradient, how.norm); }, into_ball);
  return run.best_loss.item();
}

void require_rho(double rho) {
  require<ValueError>(rho > 0 && std::isfinite(rho), "sharpness: rho {} given; needs a finite number above 0", rho);
}

}  // namespace

Sharpness worst_case_sharpness(const SampleLosses& losses, const Tensor& weights, const SharpnessOptions& how) {
  check("sharpness", losses, weights);
  require_rho(how.rho);
  require<ValueError>(how.batch >= 1 && how.steps >= 1 && how.restarts >= 1,
                      "sharpness: batch {}, steps {}, restarts {} given; needs 1 of each at least", how.batch,
                      how.steps, how.restarts);
  const int64_t batches = losses.count / how.batch;
  require<ValueError>(batches >= 2, "sharpness: {} batches of {} in {} samples; needs at least two", batches, how.batch,
                      losses.count);
  const NoGrad quiet;
  Around around(losses, weights, how.adaptive);
  const Tensor here = zeros_like(around.weights());
  Sharpness found{0, 0};
  for (int64_t batch = 0; batch < batches; ++batch) {
    const Tensors taken = around.taken(batch * how.batch, how.batch);
    const Around::Evaluation at_weights = around.evaluate(here, taken);
    const double loss = at_weights.loss.item();
    const Tensor gradient = direction(reshape(at_weights.gradient, {1, -1}), how.norm);
    double rise = 0;
    for (int64_t run = 0; run < how.restarts; ++run) {
      const bool along_gradient = run == 0 && any(gradient).item() != 0;
      const uint64_t number = static_cast<uint64_t>(batch) << 20 | static_cast<uint64_t>(run);
      const Tensor along = along_gradient ? gradient : random_direction(around.weights(), how, number);
      const double more = highest(around, taken, how, along) - loss;
      if (!(more <= rise)) rise = more;  // NaN, too
    }
    found.batches.push_back(rise);
    found.value += rise / static_cast<double>(batches);
  }
  double squares = 0;
  for (const double rise : found.batches) squares += (rise - found.value) * (rise - found.value);
  const double n = static_cast<double>(batches);
  found.standard_error = std::sqrt(squares / (n - 1) / n);
  return found;
}

Sharpness average_sharpness(const SampleLosses& losses, const Tensor& weights, const AverageSharpnessOptions& how) {
  check("sharpness", losses, weights);
  require_rho(how.rho);
  const NoGrad quiet;
  Around around(losses, weights, how.adaptive);
  const Tensor here = zeros_like(around.weights());
  const double loss = around.value_of_all(here);
  const Estimate found =
      smooth_by_sampling([&](const Tensor& u) { return Tensor::scalar(around.value_of_all(u) - loss, DType::f64); },
                         here, Sigma::stddev(how.rho), {.samples = how.samples, .seed = how.seed});
  return {found.mean.item(), found.standard_error.item()};
}

}  // namespace mollify::smoothing
