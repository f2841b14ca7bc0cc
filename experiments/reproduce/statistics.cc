#include <mollify/experiments/reproduce/statistics.h>

#include <mollify/engine/error.h>
#include <mollify/engine/random.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace mollify::experiments {
namespace {

constexpr double kFinite = 0.95;  // share of draws without which a statistic has no error

struct Points {
  std::vector<double> x, y;
};

Points finite_points(const char* operation, std::span<const double> x, std::span<const double> y) {
  require<ValueError>(x.size() == y.size(), "{}: {} numbers x, {} numbers y; needs as many", operation, x.size(),
                      y.size());
  Points points;
  for (size_t i = 0; i < x.size(); ++i)
    if (std::isfinite(x[i]) && std::isfinite(y[i])) {
      points.x.push_back(x[i]);
      points.y.push_back(y[i]);
    }
  return points;
}

double mean_of(const std::vector<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

}  // namespace

double kendall_tau(std::span<const double> x, std::span<const double> y) {
  const Points points = finite_points("kendall_tau", x, y);
  const auto sign = [](double d) { return static_cast<double>((d > 0) - (d < 0)); };
  double score = 0, in_x = 0, in_y = 0;
  for (size_t i = 0; i < points.x.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const double dx = sign(points.x[i] - points.x[j]), dy = sign(points.y[i] - points.y[j]);
      score += dx * dy;
      in_x += dx * dx;
      in_y += dy * dy;
    }
  return in_x > 0 && in_y > 0 ? score / std::sqrt(in_x * in_y) : NAN;
}

Parabola parabola_through(std::span<const double> x, std::span<const double> y) {
  const Points points = finite_points("parabola_through", x, y);
  std::vector<double> different = points.x;
  std::sort(different.begin(), different.end());
  different.erase(std::unique(different.begin(), different.end()), different.end());
  if (different.size() < 3) return {NAN, NAN, NAN, NAN, NAN, NAN};
  const double centre = mean_of(points.x), height = mean_of(points.y);
  double squares = 0, cubes = 0;
  for (const double at : points.x) {
    const double u = at - centre;
    squares += u * u;
    cubes += u * u * u;
  }
  const double skew = cubes / squares, mean_square = squares / static_cast<double>(points.x.size());
  double with_slope = 0, with_curvature = 0, curvature_squares = 0, all = 0;
  for (size_t i = 0; i < points.x.size(); ++i) {
    const double u = points.x[i] - centre, q = u * u - u * skew - mean_square, v = points.y[i] - height;
    with_slope += u * v;
    with_curvature += q * v;
    curvature_squares += q * q;
    all += v * v;
  }
  const double explained = with_slope * with_slope / squares + with_curvature * with_curvature / curvature_squares;
  return {
      centre, height, with_slope / squares, with_curvature / curvature_squares, skew, all > 0 ? explained / all : NAN};
}

Bootstrapped bootstrap(const PointStatistic& statistic, const std::vector<std::vector<size_t>>& groups, int64_t draws,
                       uint64_t seed) {
  std::vector<size_t> points;
  for (const auto& group : groups) points.insert(points.end(), group.begin(), group.end());
  Bootstrapped result{statistic(points), NAN, NAN, NAN};
  if (groups.size() < 2) return result;
  std::vector<double> values;
  for (int64_t draw = 0; draw < draws; ++draw) {
    RandomSequence random({seed, stream_of(Purpose::caller)}, static_cast<uint32_t>(draw));
    points.clear();
    for (size_t i = 0; i < groups.size(); ++i) {
      const std::vector<size_t>& group = groups[random.below(groups.size())];
      points.insert(points.end(), group.begin(), group.end());
    }
    if (const double value = statistic(points); std::isfinite(value)) values.push_back(value);
  }
  if (values.size() < 2 || static_cast<double>(values.size()) < kFinite * static_cast<double>(draws)) return result;
  result.error = summary_of(values).deviation;
  result.low = quantile(values, 0.025);
  result.high = quantile(values, 0.975);
  return result;
}

Verdict above_zero(double value, double error) {
  if (!std::isfinite(value) || !std::isfinite(error)) return Verdict::undecided;
  return value > 2 * error ? Verdict::holds : value < -2 * error ? Verdict::fails : Verdict::undecided;
}

}  // namespace mollify::experiments
