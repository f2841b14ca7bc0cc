// What training under noise minimises: Campbell, Finlay & Oberman (2020), theorem 1, with the term that they leave out.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/randomized/statistics.h>

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace mollify::smoothing {
namespace {

using Scalar = std::function<Tensor(const Tensor&)>;

// E(f(x + sz) − y)² − (f − y)² − s²·(f'² + (f − y)·f''), of one number x, by quadrature.
double remainder(const Scalar& f, double x, double y, double s, bool with_curvature) {
  const Tensor at = Tensor::scalar(x, DType::f64), target = Tensor::scalar(y, DType::f64);
  const auto error = [&](const Tensor& t) { return square(f(t) - target); };
  const double smoothed = gauss_hermite_smoothed(error, at, Tensor::scalar(s, DType::f64), 128).item();
  const double value = f(at).item() - y, slope = grad(f)(at).item(), curvature = grad(grad(f))(at).item();
  return smoothed - value * value - s * s * (slope * slope + (with_curvature ? value * curvature : 0));
}

TEST(NoisyLoss, OfLinearNetworksIsTheLossAndTheSquaredGradient) {
  const Scalar linear = [](const Tensor& x) { return x * 1.7 - 0.4; };
  for (const double s : {0.1, 0.7, 3.0})
    for (const double y : {-2.0, 0.0, 1.5}) EXPECT_NEAR(remainder(linear, 0.6, y, s, false), 0, 1e-12 * (1 + s * s));
}

TEST(NoisyLoss, NeedsTheCurvatureTermForARemainderOfFourthOrder) {
  const Scalar network = [](const Tensor& x) { return tanh(x * 1.3 + 0.2) * 2.0 + sin(x * 2.0); };
  for (const double x : {-0.8, 0.1, 0.9})
    for (const double y : {-1.0, 2.0}) {
      const auto order = [&](bool with_curvature) {
        return std::log2(std::abs(remainder(network, x, y, 0.04, with_curvature) /
                                  remainder(network, x, y, 0.02, with_curvature)));
      };
      EXPECT_NEAR(order(true), 4, 0.1) << x;
      EXPECT_NEAR(order(false), 2, 0.1) << x;
    }
}

// Of a step at w·x = 0, whose exact average is Φ(w·x/σ) with ‖w‖ = 1, the order of two classes turns at |w·x|: the
// bound stays below, the tighter one is it.
TEST(AverageRadius, StaysBelowTheExactDistance) {
  const double sigma = 0.4;
  for (const double distance : {0.01, 0.1, 0.3, 0.8}) {
    const double own = std::erfc(-distance / (sigma * std::numbers::sqrt2)) / 2;
    EXPECT_LE(average_radius(own, 1 - own, sigma), distance);
    EXPECT_NEAR(tighter_average_radius(own, 1 - own, sigma), distance, 1e-9);
  }
}

}  // namespace
}  // namespace mollify::smoothing
