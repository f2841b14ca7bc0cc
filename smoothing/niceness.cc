#include <mollify/smoothing/niceness.h>

#include <mollify/engine/error.h>
#include <mollify/smoothing/function_profiles.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace mollify::smoothing {
namespace {

struct Least {
  double at, value;
};

// The least value of g on [low, high]: of `count` + 1 points, then by golden sections between the best one's
// neighbours.
template <class G>
Least least(const G& g, double low, double high, int64_t count) {
  const double spacing = (high - low) / static_cast<double>(count);
  Least best{low, g(low)};
  for (int64_t i = 1; i <= count; ++i) {
    const double x = low + spacing * static_cast<double>(i), value = g(x);
    if (value < best.value) best = {x, value};
  }
  double a = std::max(low, best.at - spacing), b = std::min(high, best.at + spacing);
  constexpr double kGolden = 0.6180339887498949;
  double x = b - kGolden * (b - a), y = a + kGolden * (b - a), at_x = g(x), at_y = g(y);
  while (b - a > 1e-10) {
    if (at_x < at_y) {
      b = std::exchange(y, x);
      at_y = at_x;
      at_x = g(x = b - kGolden * (b - a));
    } else {
      a = std::exchange(x, y);
      at_x = at_y;
      at_y = g(y = a + kGolden * (b - a));
    }
  }
  for (const Least& other : {Least{x, at_x}, Least{y, at_y}})
    if (other.value < best.value) best = other;
  return best;
}

// A wave has 16 points or more.
int64_t points(const SmoothedFunction& f, double width) {
  return std::max<int64_t>(64, static_cast<int64_t>(std::ceil(width * 16 / profile_of(f.function().name).panel)));
}

// Values are flat about the minimum and tell its place to 1e-8 only: Newton's steps on the slope go on from there.
double polished(const SmoothedFunction& f, double x, double delta, double spacing) {
  const double start = x;
  for (int i = 0; i < 5; ++i) {
    const Jet jet = f(x, delta);
    const double next = x - jet.slope / jet.curvature;
    if (!(jet.curvature > 0) || !(std::abs(next - start) < spacing)) return x;
    x = next;
  }
  return x;
}

double minimiser(const SmoothedFunction& f, double delta) {
  const double low = f.function().low - 3 * delta, high = f.function().high + 3 * delta;
  const int64_t count = points(f, high - low);
  const auto value = [&](double x) { return f(x, delta).value; };
  Least best = least(value, low, high, count);
  const double known = f.function().minimiser;  // where it stays under noise that is even
  if (value(known) <= best.value) best.at = known;
  return polished(f, best.at, delta, (high - low) / static_cast<double>(count));
}

}  // namespace

std::vector<NicenessLevel> niceness(const SmoothedFunction& f, const std::vector<double>& deltas, double reach) {
  require<ValueError>(f.way() != SmoothedFunction::Way::infinite,
                      "niceness: smoothed {} is infinite under {} noise; needs lighter tails", f.function().name,
                      to_string(f.noise().law()));
  require<ValueError>(!deltas.empty() && deltas.back() > 0 && reach > 0,
                      "niceness: {} values of δ, reach {}; needs some, all above 0, and a positive reach",
                      deltas.size(), reach);
  std::vector<NicenessLevel> levels;
  for (size_t m = 0; m < deltas.size(); ++m) {
    const double delta = deltas[m];
    require<ValueError>(m == 0 || delta < deltas[m - 1], "niceness: δ goes from {} to {}; needs values that fall",
                        m == 0 ? delta : deltas[m - 1], delta);
    const double at = minimiser(f, delta), width = 2 * reach * delta;
    const auto curvature = [&](double x) { return f(x, delta).curvature; };
    const double least_curvature = least(curvature, at - width / 2, at + width / 2, points(f, width)).value;
    levels.push_back({delta, at, least_curvature, std::nullopt, least_curvature > 0, true});
    if (m == 0) continue;
    NicenessLevel& before = levels[m - 1];
    before.step = std::abs(at - before.minimiser);
    before.near = *before.step <= delta;
  }
  return levels;
}

}  // namespace mollify::smoothing
