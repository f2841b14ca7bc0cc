// Elementary functions and their first three derivatives over the whole range of each dtype, against extended
// precision.
#include "derivative_references.h"

#include "../accuracy_table.h"

#include <mollify/engine/grad.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace mollify::op_table {
namespace {

#ifndef MOLLIFY_HAS_QUAD

TEST(DerivativeScan, NeedsQuadPrecision) {
  GTEST_SKIP() << "this compiler has no quadmath.h, in which the references are written";
}

#else

constexpr double kInf = std::numeric_limits<double>::infinity();

double epsilon(DType dtype) { return dtype == DType::f32 ? 0x1p-23 : 0x1p-52; }
double least_normal(DType dtype) { return dtype == DType::f32 ? 0x1p-126 : 0x1p-1022; }
double largest(DType dtype) {
  return dtype == DType::f32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
}

// Every binade of both signs, and the numbers near 0 and 1 and up to where exponentials overflow, closely.
std::vector<double> places(const ScannedFunction& f, DType dtype) {
  std::vector<double> out;
  const auto add = [&](double x) {
    if (dtype == DType::f32) x = static_cast<float>(x);
    const bool normal = x == 0 || (std::abs(x) >= least_normal(dtype) && std::abs(x) <= largest(dtype));
    if (normal && x > f.low && x < f.high && std::find(f.kinks.begin(), f.kinks.end(), x) == f.kinks.end())
      out.push_back(x);
  };
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> mantissa(1, 2), wide(-110, 110), near(-8, 8), unit(-1, 1);
  const int binades = dtype == DType::f32 ? 127 : 1023;
  for (int e = -binades + 1; e <= binades; ++e)
    for (const double sign : {1.0, -1.0})
      for (const double m : {1.0, mantissa(random), mantissa(random)}) add(sign * std::ldexp(m, e));
  for (int i = 0; i < 1000; ++i) {
    add(wide(random));
    add(near(random));
    add(unit(random));
    add(10 * wide(random));
    add(1 - std::ldexp(mantissa(random), -(i % 50) - 2));
    add(std::ldexp(mantissa(random), -(i % 50) - 2) - 1);
  }
  add(0.0);
  return out;
}

// f's derivative of order k at every number of x.
Tensor derivative(const std::function<Tensor(const Tensor&)>& f, int k, const Tensor& x) {
  if (k == 0) return f(x);
  return vjp([&](const Tensor& t) { return derivative(f, k - 1, t); }, x, ones_like(x)).second;
}

// How far `got` is from the derivative, in units of ε·(|f⁽ᵏ⁾| + |x·f⁽ᵏ⁺¹⁾|), which the rounding of x alone makes of the
// same size.
double error_of(double got, Quad wanted, Quad conditioned, DType dtype) {
  const Quad most = largest(dtype), magnitude = fabsq(wanted) + conditioned;
  if (std::isnan(got)) return kInf;
  if (fabsq(wanted) > most / 16 && (std::isinf(got) || fabsq(wanted) > most))
    return (got > 0) == (wanted > 0) && std::abs(got) > double(most / 32) ? 0 : kInf;
  if (std::isinf(got)) return kInf;
  return static_cast<double>(fabsq(Quad(got) - wanted) /
                             (Quad(epsilon(dtype)) * magnitude + 64 * Quad(least_normal(dtype))));
}

class DerivativeScan : public ::testing::TestWithParam<size_t> {};

TEST_P(DerivativeScan, HoldsOverTheWholeRange) {
  const ScannedFunction f = scanned_functions()[GetParam()];
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<double> at = places(f, dtype);
    const Tensor x = cast(Tensor::from(at, {static_cast<int64_t>(at.size())}), dtype);
    for (int k = 0; k <= 3; ++k) {
      const std::vector<double> got = cast(derivative(f.run, k, x), DType::f64).to_vector<double>();
      double worst = 0, worst_at = 0;
      for (size_t i = 0; i < at.size(); ++i) {
        const double growth = k > 0 && f.growth ? f.growth(at[i]) : 1;
        const double error =
            error_of(got[i], f.derivative(k, at[i]), fabsq(at[i] * f.derivative(k + 1, at[i])), dtype) / growth;
        if (error > worst) worst = error, worst_at = at[i];
      }
      accuracy_table().add(f.name, std::to_string(k), dtype, "all", worst, worst_at);
      EXPECT_LE(worst, k == 0 ? 4 : 8) << f.name << ", derivative " << k << ", " << to_string(dtype) << " at "
                                       << worst_at;
    }
  }
}

// At the ends of the line derivatives have their limits.
TEST_P(DerivativeScan, HasLimitsAtInfinity) {
  const ScannedFunction f = scanned_functions()[GetParam()];
  for (const DType dtype : {DType::f32, DType::f64})
    for (const double end : {-kInf, kInf}) {
      if (end < f.low || end > f.high) continue;
      for (int k = 1; k <= 3; ++k) {
        const double got = cast(derivative(f.run, k, full({1}, end, dtype)), DType::f64).to_vector<double>()[0];
        const double limit = static_cast<double>(f.derivative(k, Quad(end > 0 ? 1 : -1) * powq(10, 4900)));
        EXPECT_EQ(got, limit) << f.name << ", derivative " << k << ", " << to_string(dtype) << " at " << end;
      }
    }
}

// x^y in both operands, to order three in all, and where exponents are whole numbers and bases small.
TEST(DerivativeScan, OfPowersInBothOperands) {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> exponent(-3, 3), log_base(-30, 30);
  for (const DType dtype : {DType::f32, DType::f64}) {
    std::vector<double> bases, exponents;
    for (int i = 0; i < 3000; ++i) {
      bases.push_back(static_cast<float>(std::exp2(log_base(random))));
      exponents.push_back(i % 3 == 0 ? i % 7 - 3 : static_cast<float>(exponent(random)));
    }
    const int64_t count = static_cast<int64_t>(bases.size());
    const Tensor x = cast(Tensor::from(bases, {count}), dtype), y = cast(Tensor::from(exponents, {count}), dtype);
    for (int k = 0; k <= 3; ++k)
      for (int j = 0; j <= std::min(2, 3 - k); ++j) {
        const auto in_y = [&](const Tensor& base) {
          return derivative([&](const Tensor& t) { return pow(base, t); }, j, y);
        };
        const std::vector<double> got = cast(derivative(in_y, k, x), DType::f64).to_vector<double>();
        double worst = 0, worst_at = 0;
        for (size_t i = 0; i < bases.size(); ++i) {
          const Quad b = bases[i], e = exponents[i];
          // About the largest term, and what the rounding of y − 1 does to it.
          const Quad terms = powq(b, e - k) * powq(1 + fabsq(logq(b)), j + (k > 0 ? 1 : 0)) * powq(1 + fabsq(e), k);
          const double error = error_of(got[i], power_derivative(k, j, b, e), terms, dtype);
          if (error > worst) worst = error, worst_at = bases[i];
        }
        accuracy_table().add("pow", format("{} in x, {} in y", k, j), dtype, "x from 1e-9 to 1e9, y from -3 to 3",
                             worst, worst_at);
        EXPECT_LE(worst, 8) << k << " in x, " << j << " in y, " << to_string(dtype) << " at " << worst_at;
      }
  }
}

// At x = 0 whole powers have the derivatives of polynomials, and 0^y is 0 for every positive y.
TEST(DerivativeScan, OfPowersAtZero) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor zero = zeros({1}, dtype);
    const auto number = [](const Tensor& t) { return cast(t, DType::f64).to_vector<double>()[0]; };
    for (int n = 0; n <= 5; ++n)
      for (int k = 0; k <= 4; ++k) {
        const auto power = [&](const Tensor& t) { return pow(t, static_cast<double>(n)); };
        EXPECT_EQ(number(derivative(power, k, zero)), k == n ? std::tgamma(n + 1) : 0)
            << "derivative " << k << " of x^" << n;
      }
    const auto bell = [](const Tensor& t) { return exp(-pow(t, 2.0)); };
    for (const auto& [k, value] : {std::pair{0, 1}, {1, 0}, {2, -2}, {3, 0}, {4, 12}})
      EXPECT_EQ(number(derivative(bell, k, zero)), value) << "derivative " << k << " of exp(−x²)";
    for (const double y : {0.5, 1.0, 2.0, 3.5})
      for (int k = 0; k <= 3; ++k)
        EXPECT_EQ(number(derivative([&](const Tensor& t) { return pow(zero, t); }, k, full({1}, y, dtype))), 0)
            << "derivative " << k << " of 0^y at " << y;
  }
}

std::vector<size_t> numbers_of_functions() {
  std::vector<size_t> numbers(scanned_functions().size());
  std::iota(numbers.begin(), numbers.end(), size_t{0});
  return numbers;
}
INSTANTIATE_TEST_SUITE_P(Function, DerivativeScan, ::testing::ValuesIn(numbers_of_functions()));

#endif

}  // namespace
}  // namespace mollify::op_table
