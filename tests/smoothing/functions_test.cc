// Test functions against values known from their formulas, finite differences and their minima.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/functions.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

Tensor point(const std::vector<double>& x) { return Tensor::from(x, {static_cast<int64_t>(x.size())}); }

// As they are printed in collections of test functions.
double formula(const std::string& name, const std::vector<double>& x) {
  const double d = static_cast<double>(x.size()), tau = 2 * M_PI;
  double squares = 0, cosines = 0, valley = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    squares += x[i] * x[i];
    cosines += std::cos(tau * x[i]);
    if (i > 0) valley += 100 * std::pow(x[i] - x[i - 1] * x[i - 1], 2) + std::pow(1 - x[i - 1], 2);
  }
  if (name == "sphere") return squares;
  if (name == "rosenbrock") return valley;
  if (name == "rastrigin") return 10 * d + squares - 10 * cosines;
  if (name == "drop_wave") return 1 - (1 + std::cos(12 * std::sqrt(squares))) / (squares / 2 + 2);
  return -20 * std::exp(-0.2 * std::sqrt(squares / d)) - std::exp(cosines / d) + 20 + std::exp(1);
}

TEST(TestFunctions, HaveTheValuesOfTheirFormulas) {
  ASSERT_EQ(test_functions().size(), 5);
  for (const TestFunction& f : test_functions())
    for (const int64_t d : {2, 5})
      for (uint64_t seed = 0; seed < 20; ++seed) {
        const double width = seed < 10 ? f.high - f.low : 0.05;  // the box, and around 0
        const Tensor x = (rand({d}, seed, DType::f64) - 0.5) * width;
        const double expected = formula(f.name, x.to_vector<double>());
        EXPECT_NEAR(f.function(x).item(), expected, 1e-12 * (1 + std::abs(expected))) << f.name << x;
        EXPECT_NEAR(f.function(cast(x, DType::f32)).item(), expected, 1e-4 * (1 + std::abs(expected))) << f.name << x;
      }
  EXPECT_NEAR(rastrigin(point({1, -2})).item(), 5, 1e-13);
  EXPECT_EQ(rosenbrock(point({0, 0, 0})).item(), 2);
}

TEST(TestFunctions, GoOverTheLastAxis) {
  for (const TestFunction& f : test_functions()) {
    const Tensor x = randn({3, 2, 4}, 1, DType::f64), all = f.function(x);
    ASSERT_EQ(all.shape(), (Shape{3, 2}));
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 2; ++j) EXPECT_EQ(all(i, j).item(), f.function(x(i, j)).item()) << f.name;
  }
}

TEST(TestFunctions, GradientsAreFiniteDifferences) {
  for (const TestFunction& f : test_functions())
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const Tensor x = (rand({3}, seed, DType::f64) - 0.5) * (seed < 3 ? 4.0 : 0.02);
      const std::vector<double> at = x.to_vector<double>(), g = grad(f.function)(x).to_vector<double>();
      for (size_t i = 0; i < at.size(); ++i) {
        const double h = 1e-5;
        const auto moved = [&](double by) {
          std::vector<double> y = at;
          y[i] += by;
          return f.function(point(y)).item();
        };
        const double expected = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h);
        EXPECT_NEAR(g[i], expected, 2e-8 * (1 + std::abs(expected))) << f.name << ", number " << i << " of " << x;
      }
    }
}

TEST(TestFunctions, AreLeastAtTheMinimiser) {
  for (const TestFunction& f : test_functions())
    for (const DType dtype : {DType::f32, DType::f64})
      for (const int64_t d : {2, 7}) {
        const Tensor best = full({d}, f.minimiser, dtype);
        EXPECT_EQ(f.function(best).item(), 0) << f.name;
        EXPECT_EQ(cast(grad(f.function)(best), DType::f64).to_vector<double>(),
                  std::vector<double>(static_cast<size_t>(d), 0.0))
            << f.name;
        for (uint64_t seed = 0; seed < 20; ++seed) {
          const Tensor x = rand({d}, seed, dtype) * (f.high - f.low) + f.low;
          EXPECT_GT(f.function(x).item(), 0) << f.name;
          EXPECT_GT(f.function(best + randn({d}, seed, dtype) * 1e-2).item(), 0) << f.name;
        }
      }
}

// At the minimum from the series of each: 2 of the sphere, 2 + 40π² of Rastrigin's waves, 1/2 + 72 over 2 + … of the
// drop; across the edge of drop_wave's series the second derivative goes on.
TEST(TestFunctions, HaveSecondDerivativesAtTheMinimum) {
  const auto curvature = [](const char* name, double at) {
    return hessian(test_function(name).function, point({at, at})).to_vector<double>();
  };
  const std::vector<double> drop = curvature("drop_wave", 0);
  EXPECT_NEAR(curvature("sphere", 0)[0], 2, 1e-12);
  EXPECT_NEAR(curvature("rastrigin", 0)[0], 2 + 40 * M_PI * M_PI, 1e-9);
  EXPECT_NEAR(drop[0], (1 + 144) / 2.0, 1e-10);
  EXPECT_NEAR(drop[3], drop[0], 1e-12);
  EXPECT_EQ(drop[1], 0);
  EXPECT_NEAR(curvature("rosenbrock", 1)[0], 802, 1e-9);
  const double edge = std::sqrt(0.05) / 12;
  EXPECT_NEAR(curvature("drop_wave", edge - 1e-9)[0], curvature("drop_wave", edge + 1e-9)[0], 1e-4);
}

TEST(TestFunctions, RefuseWhatTheyAreNotDefinedFor) {
  EXPECT_THROW(rosenbrock(ones({3, 1})), ShapeError);
  EXPECT_THROW(sphere(Tensor::scalar(1)), ShapeError);
  EXPECT_THROW(ackley(ones({2, 0})), ShapeError);
  EXPECT_THROW(test_function("sphered"), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
