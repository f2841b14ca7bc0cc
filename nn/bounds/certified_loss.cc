#include <mollify/nn/bounds/certified_loss.h>

#include <mollify/nn/losses.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

namespace mollify::nn::bounds {
namespace {

constexpr double kTolerance = 0.5;          // of the regulariser
constexpr double kLeastWidth = 1e-6;        // of a range that has a chord of its own
constexpr double kLeastFusedSum = 1e-5;     // of 1 + Σ e^{−m}, whose bound may fall below 1

Tensor shortfall(const Tensor& ratio) { return relu(kTolerance - ratio) / kTolerance; }

// The ratio of two positive numbers or its inverse, whichever is below 1.
Tensor below_one(const Tensor& a, const Tensor& b) { return minimum(a, b) / maximum(a, b); }

Tensor tightness(const Tensor& region_radius, const Tensor& radius) {
  return shortfall(mean(region_radius) / mean(radius));
}

// 0 where there are no active or no inactive units, or no variance among one kind.
Tensor balance(const Box& box, const Tensor& center) {
  const auto number = [&](double value) { return Tensor::scalar(value, center.dtype()); };
  const Tensor zero = number(0), one = number(1), infinity = number(std::numeric_limits<double>::infinity());
  const Tensor active = cast(greater(box.lower.detach(), zero), center.dtype()),
               inactive = cast(less(box.upper.detach(), zero), center.dtype());
  const Tensor deviation = square(center - mean(center));
  const Tensor of_active = mean(center * active), of_inactive = -mean(center * inactive);
  const Tensor spread_of_active = sum(deviation * active), spread_of_inactive = sum(deviation * inactive);
  const Tensor least = minimum(minimum(of_active, of_inactive), minimum(spread_of_active, spread_of_inactive)).detach();
  const Tensor most = maximum(maximum(of_active, of_inactive), maximum(spread_of_active, spread_of_inactive)).detach();
  const Tensor usable = less(where(greater(least, zero), most, infinity), infinity);
  const auto ratio = [&](const Tensor& a, const Tensor& b) {
    return where(usable, below_one(where(usable, a, one), where(usable, b, one)), one);
  };
  return shortfall(ratio(of_active, of_inactive)) + shortfall(ratio(spread_of_active, spread_of_inactive));
}

}  // namespace

Tensor worst_case_cross_entropy(const Tensor& margins) {
  require(margins.rank() == 2, "worst_case_cross_entropy: margins are {}; needs [samples, classes − 1]",
          margins.shape());
  const int64_t samples = margins.dim(0);
  return mean_cross_entropy(concat(std::array{zeros({samples, 1}, margins.dtype(), margins.device()), -margins}, 1),
                            zeros({samples}, DType::i32, margins.device()));
}

Tensor lower_by_boxes(const Bounds& bounds, const Tensor& rows) {
  std::vector<Box> boxes;
  for (size_t node = 0; node < bounds.graph().nodes().size(); ++node)
    boxes.push_back(bounds.box(static_cast<int>(node)));
  return walk_to_rules(bounds.graph(), {bounds.graph().output(), rows}, boxes, /*offsets=*/true, bounds.magnitudes());
}

// Everything is divided by e^m, m the largest −d (or 0), so that nothing overflows: with w = d' − d, the chord's slope
// is −e^{−d}(1 − e^{−w})/w, and Σ e^{−x} ≤ Σ e^{−d} + slope·(x − d).
Tensor fused_cross_entropy(const Bounds& bounds, const Tensor& margin_rows) {
  const int64_t count = margin_rows.shape()[1];
  const Tensor ends = lower_by_boxes(bounds, concat(std::array{margin_rows, -margin_rows}, 1));
  const Tensor low = slice(ends, 1, 0, count), high = -slice(ends, 1, count, 2 * count);
  const Tensor shift = maximum(max(-low, {1}, /*keep=*/true), Tensor::scalar(0, low.dtype())).detach();
  const Tensor width = maximum(high - low, Tensor::scalar(kLeastWidth, low.dtype())), top = exp(-low - shift);
  const Tensor fall = -(top * expm1(-width)) / width;  // −slope, above 0
  Shape column = fall.shape();
  while (column.rank() < margin_rows.rank()) column.push_back(1);
  const Tensor row = sum(margin_rows * reshape(fall, column), {1}, /*keep=*/true);
  const Tensor bound = sum(top + fall * low, {1}, /*keep=*/true) - bounds.lower(row);
  const Tensor whole = maximum(exp(-shift) + bound, exp(-shift) * kLeastFusedSum);
  return mean(shift + log(whole));
}

Tensor relu_regularizer(const Bounds& bounds) {
  const Graph& graph = bounds.graph();
  const Box& region = bounds.region().box;
  const Tensor region_radius = (region.upper - region.lower) * 0.5;
  Tensor total = Tensor::scalar(0, graph.dtype());
  int64_t relus = 0;
  for (const Graph::Node& node : graph.nodes()) {
    if (!node.rule || std::string_view(node.rule->operation) != "relu") continue;
    const Box& box = bounds.box(node.inputs[0]);
    const Tensor center = (box.lower + box.upper) * 0.5;
    total = total + tightness(region_radius, (box.upper - box.lower) * 0.5) + balance(box, center);
    ++relus;
  }
  return total / static_cast<double>(std::max<int64_t>(1, relus));
}

Tensor weight_norm_l1(const Network& network, const Tensor& weights) {
  Tensor total = Tensor::scalar(0, weights.dtype());
  for (const Piece& piece : network.weights())
    if (piece.role == Role::weight) total = total + sum(abs(network.weight(weights, piece.name)));
  return total;
}

// α t⁴ up to the knee m = T/4, α = last/((T − m)·4m³ + m⁴).
double smooth_ramp(double step, double steps, double last) {
  if (step >= steps) return last;
  const double t = std::max(0.0, step / steps), knee = 0.25;
  const double alpha = last / ((1 - knee) * 4 * std::pow(knee, 3) + std::pow(knee, 4));
  return t <= knee ? alpha * std::pow(t, 4) : alpha * (std::pow(knee, 4) + 4 * std::pow(knee, 3) * (t - knee));
}

}  // namespace mollify::nn::bounds
