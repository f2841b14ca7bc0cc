#include <mollify/smoothing/loss/landscape.h>

#include <mollify/engine/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mollify::smoothing {
namespace {

using Curve = std::span<const double>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// A point of weight space by its number, seen from a centre.
using Places = std::function<Tensor(const Tensor& center, size_t number)>;

Losses losses_at(const optim::Loss& loss, const Tensor& weights, size_t count, const Places& places, const Sigma& s,
                 const MonteCarlo& how) {
  require<ValueError>(how.draws != Draws::sobol,
                      "losses in weight space: Sobol draws; needs independent or antithetic ones");
  const NoGrad quiet;
  const auto around = [&](const Tensor& center) {
    std::vector<double> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = loss(places(center, i)).item();
    return values;
  };
  Losses losses{around(weights.detach()), {}, {}, {}, how.draws == Draws::antithetic ? 2 : 1};
  const Estimate estimate = smooth_by_sampling(
      [&](const Tensor& center) {
        losses.samples.push_back(around(center));
        return Tensor::from(losses.samples.back(), {static_cast<int64_t>(count)});
      },
      weights, s, how);
  losses.smoothed = estimate.mean.to_vector<double>();
  losses.error = estimate.standard_error.to_vector<double>();
  return losses;
}

void require_direction(const char* operation, const Tensor& weights, const Tensor& direction) {
  require(direction.shape() == weights.shape(), "{}: a direction of {} for weights of {}; needs the same shape",
          operation, direction.shape(), weights.shape());
}

bool all_finite(Curve curve) {
  return std::all_of(curve.begin(), curve.end(), [](double y) { return std::isfinite(y); });
}

struct Point {
  double place, value;
};
struct Interval {
  Point low, high, middle = {};
  // By how much the halves' changes differ: the jump where there is one, and the curvature; infinite where a value is
  // not finite.
  double bend() const {
    const double difference = std::abs(high.value - 2 * middle.value + low.value);
    return std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
  }
};

// Numbers of the points on the lower convex envelope (Andrew's monotone chain).
std::vector<size_t> envelope_of(Curve curve) {
  std::vector<size_t> hull;
  // Whether b lies on or over the chord from a to c.
  const auto over = [&](size_t a, size_t b, size_t c) {
    return (curve[b] - curve[a]) * static_cast<double>(c - a) >= (curve[c] - curve[a]) * static_cast<double>(b - a);
  };
  for (size_t i = 0; i < curve.size(); ++i) {
    while (hull.size() >= 2 && over(hull[hull.size() - 2], hull.back(), i)) hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

}  // namespace

std::vector<int64_t> layer_sizes(const nn::Network& network) {
  std::vector<int64_t> sizes;
  for (const nn::Piece& piece : network.weights()) sizes.push_back(piece.shape.size());
  return sizes;
}

std::vector<int64_t> unit_sizes(const nn::Network& network) {
  std::vector<int64_t> sizes;
  for (const nn::Piece& piece : network.weights()) {
    const int64_t units = piece.role == nn::Role::weight ? piece.shape[0] : 1;
    sizes.insert(sizes.end(), static_cast<size_t>(units), piece.shape.size() / units);
  }
  return sizes;
}

Tensor random_direction(const Tensor& weights, uint64_t seed, int64_t number, const std::vector<int64_t>& sizes) {
  const std::vector<int64_t> parts = sizes.empty() ? std::vector<int64_t>{weights.size()} : sizes;
  const int64_t total = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  require<ValueError>(total == weights.size() && *std::min_element(parts.begin(), parts.end()) >= 0,
                      "random_direction: parts of {} numbers for {} weights; needs sizes that add up to the weights",
                      total, weights.size());
  const NoGrad quiet;
  const Tensor flat = flatten(weights.detach());
  require<ValueError>(norm(flat).item() > 0, "random_direction: weights of norm {}; needs a norm above 0",
                      norm(flat).item());
  const Tensor z = normal({weights.size()}, {seed, stream_of(Purpose::landscape, static_cast<uint64_t>(number))},
                          Tensor::scalar(0, DType::i32), weights.dtype(), weights.device());
  std::vector<Tensor> scaled;
  int64_t first = 0;
  for (const int64_t size : parts) {
    if (size == 0) continue;
    const Tensor part = slice(z, 0, first, first + size);
    scaled.push_back(part * (norm(slice(flat, 0, first, first + size)) / norm(part)));
    first += size;
  }
  return reshape(concat(scaled), weights.shape());
}

Losses losses_on_line(const optim::Loss& loss, const Tensor& weights, const Tensor& direction,
                      const std::vector<double>& t, const Sigma& s, const MonteCarlo& how) {
  require_direction("losses_on_line", weights, direction);
  return losses_at(
      loss, weights, t.size(), [&](const Tensor& center, size_t i) { return center + direction * t[i]; }, s, how);
}

Losses losses_on_plane(const optim::Loss& loss, const Tensor& weights, const Tensor& u, const Tensor& v,
                       const std::vector<double>& a, const std::vector<double>& b, const Sigma& s,
                       const MonteCarlo& how) {
  require_direction("losses_on_plane", weights, u);
  require_direction("losses_on_plane", weights, v);
  return losses_at(
      loss, weights, a.size() * b.size(),
      [&](const Tensor& center, size_t i) { return center + u * a[i / b.size()] + v * b[i % b.size()]; }, s, how);
}

double largest_discontinuity(const optim::Loss& loss, const Tensor& weights, const Tensor& direction,
                             const std::vector<double>& t, int64_t halvings) {
  require_direction("largest_discontinuity", weights, direction);
  const NoGrad quiet;
  std::vector<Interval> intervals;
  const auto at = [&](double place) { return Point{place, loss(weights.detach() + direction * place).item()}; };
  std::vector<Point> points;
  for (const double place : t) points.push_back(at(place));
  for (size_t i = 1; i < points.size(); ++i) intervals.push_back({points[i - 1], points[i]});
  for (int64_t k = 0; k < halvings; ++k) {
    for (Interval& i : intervals) i.middle = at((i.low.place + i.high.place) / 2);
    std::stable_sort(intervals.begin(), intervals.end(),
                     [](const Interval& i, const Interval& j) { return i.bend() > j.bend(); });
    intervals.resize((intervals.size() + 1) / 2);
    for (size_t i = 0, count = intervals.size(); i < count; ++i) {
      intervals.push_back({intervals[i].middle, intervals[i].high});
      intervals[i].high = intervals[i].middle;
    }
  }
  double largest = 0;
  for (const Interval& i : intervals) {
    const double change = std::abs(i.high.value - i.low.value);
    if (!std::isfinite(change)) return kNone;
    largest = std::max(largest, change);
  }
  return largest;
}

double largest_jump(Curve curve) {
  if (!all_finite(curve)) return kNone;
  double largest = 0;
  for (size_t i = 1; i < curve.size(); ++i) largest = std::max(largest, std::abs(curve[i] - curve[i - 1]));
  return largest;
}

double deviation_from_convexity(Curve curve) {
  if (!all_finite(curve)) return kNone;
  const std::vector<size_t> hull = envelope_of(curve);
  double largest = 0;
  for (size_t k = 1; k < hull.size(); ++k) {
    const size_t a = hull[k - 1], c = hull[k];
    const double slope = (curve[c] - curve[a]) / static_cast<double>(c - a);
    for (size_t i = a + 1; i < c; ++i)
      largest = std::max(largest, curve[i] - (curve[a] + slope * static_cast<double>(i - a)));
  }
  return largest;
}

Measured measured_on_smoothed(const Losses& losses, const std::function<double(Curve)>& measure) {
  const size_t points = losses.smoothed.size(), group = static_cast<size_t>(losses.group),
               groups = losses.samples.size() / group;
  std::vector<double> values(groups);  // of the mean without one group
  for (size_t g = 0; g < groups; ++g) {
    std::vector<double> curve(points, 0);
    for (size_t j = 0; j < losses.samples.size(); ++j)
      for (size_t i = 0; j / group != g && i < points; ++i)
        curve[i] += losses.samples[j][i] / static_cast<double>(losses.samples.size() - group);
    values[g] = measure(curve);
  }
  const double n = static_cast<double>(groups), mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {measure(losses.smoothed), std::sqrt(squares * (n - 1) / n)};
}

}  // namespace mollify::smoothing
