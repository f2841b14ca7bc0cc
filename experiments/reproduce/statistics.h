// What points say: rank correlation, the parabola nearest to them, and by how much both change when groups of points
// are drawn again.
#pragma once

#include <mollify/experiments/reproduce/report.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace mollify::experiments {

// Kendall's τ_b: (concordant − discordant pairs)/√(pairs that differ in x · pairs that differ in y). Points with a
// number that is not finite are left out; NaN where no two differ in x, or none in y.
double kendall_tau(std::span<const double> x, std::span<const double> y);

// Least squares: y ≈ height + slope·u + curvature·(u² − u·Σu³/Σu² − mean u²) with u = x − mean x, the terms orthogonal
// to each other. Points with a number that is not finite are left out; all is NaN for fewer than three different x.
struct Parabola {
  double centre, height, slope, curvature;  // centre: mean x
  double skew;                              // Σu³/Σu²
  double r_squared;                         // share of y's variance; NaN where y is constant
  double vertex() const { return centre + (skew - slope / curvature) / 2; }
};
Parabola parabola_through(std::span<const double> x, std::span<const double> y);

// A statistic of all points; the standard deviation of those of `draws` resamples, as many groups with repetition as
// there are; and the range of the middle 95 % of them. Points of a group, such as seeds of one setting, stay together.
// Draws that give no finite number are left out; where that is more than a twentieth, or there is a single group, there
// is no error.
struct Bootstrapped {
  double value, error, low, high;
};
using PointStatistic = std::function<double(const std::vector<size_t>& points)>;
Bootstrapped bootstrap(const PointStatistic& statistic, const std::vector<std::vector<size_t>>& groups,
                       int64_t draws = 1000, uint64_t seed = 0);

// Whether a number is above 0 beyond two of its standard errors (holds), or below (fails).
Verdict above_zero(double value, double error);

}  // namespace mollify::experiments
