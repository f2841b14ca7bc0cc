#include <mollify/smoothing/loss/gradient_measures.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

Tensor gradient_of(const optim::Loss& loss, const Tensor& weights) { return grad(loss)(weights.detach()); }

double norm_of(const Tensor& x) { return norm(cast(x, DType::f64)).item(); }

Tensor active_of(const char* operation, const Tensor& gradient, const Positions& active) {
  require(gradient.size() == active.size(), "{}: a gradient of {} numbers, positions in {}; needs as many", operation,
          gradient.size(), active.size());
  return take(flatten(gradient), active.indices());
}

}  // namespace

double local_lipschitz(const optim::Loss& loss, const Tensor& before, const Tensor& after) {
  const Tensor change = gradient_of(loss, after) - gradient_of(loss, before);
  const NoGrad quiet;
  return norm_of(change) / norm_of(after - before);
}

double neighbor_lipschitz(const optim::Loss& loss, const Tensor& weights, const Neighbors& how) {
  require<ValueError>(how.count >= 1 && how.radius > 0,
                      "neighbor_lipschitz: {} neighbours within {}; needs at least 1, and a radius above 0", how.count,
                      how.radius);
  const Tensor here = gradient_of(loss, weights);
  const Tensor step = Tensor::scalar(static_cast<double>(how.step), DType::i32);
  double largest = 0;
  for (int64_t j = 0; j < how.count; ++j) {
    const RandomKey key{how.seed, stream_of(Purpose::neighbors, static_cast<uint64_t>(j))};
    const Tensor v = (uniform(weights.shape(), key, step, weights.dtype(), weights.device()) - 0.5) * (2 * how.radius);
    const double ratio = norm_of(gradient_of(loss, weights.detach() + v) - here) / norm_of(v);
    if (!(ratio <= largest)) largest = ratio;  // NaN, too
  }
  return largest;
}

double sparsity(const Tensor& gradient, double threshold) {
  const Tensor magnitude = abs(cast(gradient.detach(), DType::f64));
  return mean(cast(less(magnitude, Tensor::scalar(threshold, DType::f64)), DType::f64)).item();
}

Magnitudes magnitudes(const Tensor& gradient, double low, double high, int64_t bins) {
  require<ValueError>(bins >= 1 && low < high, "magnitudes: {} bins from {} to {}; needs a bin, and a rising range",
                      bins, low, high);
  Magnitudes out{low, high, std::vector<int64_t>(static_cast<size_t>(bins))};
  for (const double g : cast(gradient.detach(), DType::f64).to_vector<double>()) {
    const double place = (std::log10(std::abs(g)) - low) / (high - low) * static_cast<double>(bins);
    if (std::isnan(g))
      ++out.nan;
    else if (g == 0)
      ++out.zeros;
    else if (place < 0)
      ++out.below;
    else if (place >= static_cast<double>(bins))
      ++out.above;
    else
      ++out.counts[static_cast<size_t>(place)];
  }
  return out;
}

Closeness closeness(const Tensor& estimate, const Tensor& exact) {
  require(estimate.shape() == exact.shape(), "closeness: an estimate of {} for a gradient of {}; needs the same shape",
          estimate.shape(), exact.shape());
  const Tensor g = cast(estimate.detach(), DType::f64), f = cast(exact.detach(), DType::f64);
  return {norm_of(g - f), sum(g * f).item() / (norm_of(g) * norm_of(f))};
}

Closeness closeness(const Tensor& estimate, const Tensor& exact, const Positions& active) {
  return closeness(active_of("closeness", estimate.detach(), active), active_of("closeness", exact.detach(), active));
}

double predicted_distance(const Tensor& exact, const Positions& active, int64_t pairs) {
  require<ValueError>(pairs >= 1, "predicted_distance: {} pairs; needs at least 1", pairs);
  const Tensor gradient = cast(exact.detach(), DType::f64);
  const double all = sum_of_squares(gradient).item(),
               on = sum_of_squares(active_of("predicted_distance", gradient, active)).item();
  const double n = static_cast<double>(active.count());
  return std::sqrt(std::max(0.0, all - on) + (n + 1) / static_cast<double>(pairs) * on);
}

}  // namespace mollify::smoothing
