#include <mollify/smoothing/attacks/falsify.h>

#include "../../errors.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();

Tensor uniforms(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return uniform(shape, {23, stream}, Tensor::scalar(0, DType::i32), dtype);
}
Tensor normals(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return normal(shape, {23, stream}, Tensor::scalar(0, DType::i32), dtype);
}
Tensor list(const std::vector<double>& numbers, DType dtype = DType::f64) {
  return cast(Tensor::from(numbers, {static_cast<int64_t>(numbers.size())}), dtype);
}
TEST(Falsify, FindsTheCornerWhereALinearFunctionIsLeast) {
  const Tensor w = normals({5}, 1), lower = normals({5}, 2), upper = lower + uniforms({5}, 3) * 3.0;
  const Tensor corner = where(greater(w, zeros_like(w)), lower, upper);
  const double least = sum(w * corner).item();
  const Function f = [&](const Tensor& x) { return sum(x * w, {1}, true); };
  for (const double slack : {1e-12, -1e-9}) {
    const Violation above = [&](const Tensor& y) { return flatten(y) - (least + slack); };
    const Falsified found = falsify(f, above, lower, upper, {.evaluations = 20000, .batch = 8});
    EXPECT_EQ(found.found, slack > 0);
    EXPECT_EQ(found.x.to_vector<double>(), corner.to_vector<double>());
    EXPECT_NEAR(found.violation, -slack, 1e-11);
  }
}

// Cubes |x_i − c_i| ≤ r of a hundredth of the unit box, which draws hit, and of 3·10⁻⁷ of it, which needs the
// gradients.
TEST(Falsify, FindsSmallRegions) {
  const Tensor c = list({0.31, 0.77, 0.5, 0.12, 0.93}, DType::f32), zero = zeros({5}), one = ones({5});
  const Function f = [&](const Tensor& x) { return relu(x - c) + relu(c - x); };
  for (const double volume : {0.01, 3e-7}) {
    const double radius = std::pow(volume, 0.2) / 2;
    for (uint64_t seed = 0; seed < 5; ++seed) {
      const Falsified found =
          falsify(f, halfspaces(one_hot(arange(5, DType::i32), 5), full({5}, radius)), zero, one, {.seed = seed});
      EXPECT_TRUE(found.found);
      EXPECT_LE(max(abs(found.x - c)).item(), radius);
      EXPECT_LE(found.evaluations, 16000);
    }
  }
}

TEST(Falsify, KeepsTheBoxAndCoordinatesOfWidthZero) {
  const Tensor lower = reshape(list({0.1, -0.3, 0.7, 1.0 / 3}, DType::f32), {2, 2});
  const Tensor upper = lower + reshape(list({0, 0.1, 0, 1e-7}, DType::f32), {2, 2});
  const Function f = [&](const Tensor& x) {
    EXPECT_EQ(clip(x, lower, upper).to_vector<float>(), x.to_vector<float>());
    return sin(flatten(x, 1) * 20.0);
  };
  const Falsified found =
      falsify(f, [](const Tensor& y) { return sum(y, {1}) + 10; }, lower, upper, {.evaluations = 3000});
  EXPECT_FALSE(found.found);
  EXPECT_EQ(found.x.shape(), lower.shape());
  EXPECT_EQ(found.x.to_vector<float>()[0], 0.1f);
  EXPECT_EQ(found.x.to_vector<float>()[2], 0.7f);
}

TEST(Falsify, KeepsItsBudgetAndIsReproducible) {
  const Tensor lower = zeros({3}), upper = ones({3});
  int64_t rows = 0;
  const Function f = [&](const Tensor& x) {
    rows += x.dim(0);
    return x;
  };
  const Violation never = [](const Tensor& y) { return sum(square(y - 0.3), {1}) + 1; };
  const Falsified first = falsify(f, never, lower, upper, {.evaluations = 5000, .batch = 64});
  EXPECT_EQ(first.evaluations, rows);
  EXPECT_LE(rows, 5000);
  EXPECT_GT(rows, 4900);
  EXPECT_NEAR(first.violation, 1, 1e-4);
  EXPECT_EQ(first.x.to_vector<float>(),
            falsify(f, never, lower, upper, {.evaluations = 5000, .batch = 64}).x.to_vector<float>());
  EXPECT_EQ(falsify(f, never, lower, upper, {.seconds = 0, .batch = 64}).evaluations, 64) << "a batch there always is";
  const Falsified nan =
      falsify(f, [](const Tensor& y) { return sum(y, {1}) * kNaN; }, lower, upper, {.evaluations = 500, .batch = 64});
  EXPECT_TRUE(!nan.found && std::isnan(nan.violation) && nan.x.defined());
}

TEST(Falsify, HalfspacesAreTheLargestRow) {
  const Violation conjunction = halfspaces(Tensor::from(std::vector<double>{1, -1, 0, 2}, {2, 2}), list({0.5, 3}));
  const Tensor y = Tensor::from(std::vector<double>{1, 1, 4, 1, 0, 5}, {3, 2});
  EXPECT_EQ(conjunction(y).to_vector<double>(), (std::vector<double>{-0.5, 2.5, 7}));
  EXPECT_EQ(halfspaces(zeros({0, 2}, DType::f64), zeros({0}, DType::f64))(y).to_vector<double>(),
            (std::vector<double>(3, -kInfinity)));
  EXPECT_THROW(halfspaces(zeros({2, 2}), zeros({3})), ShapeError);
}

TEST(Falsify, NamesWhatItCannotUse) {
  const Function f = [](const Tensor& x) { return x; };
  const Violation all = [](const Tensor& y) { return sum(y, {1}); };
  const auto text = [&](const Tensor& lower, const Tensor& upper, const FalsifyOptions& how = {}) {
    return text_of([&] { falsify(f, all, lower, upper, how); });
  };
  expect_names(text(list({0, 2}), list({1, 1})), "falsify: a box from 2 to 1");
  expect_names(text(list({0, kNaN}), list({1, 1})), "needs finite lower ≤ upper");
  expect_names(text(list({0, 0}), list({1, kInfinity})), "needs finite lower ≤ upper");
  expect_names(text(list({0}), list({1, 1})), "falsify: bounds are [1] and [2]");
  expect_names(text(list({0}), list({1}, DType::f32)), "falsify: bounds are f64 and f32");
  expect_names(text(list({0}), list({1}), {.batch = 1}), "falsify: batch 1");
  expect_names(text(list({0}), list({1}), {.seconds = kNaN}), "seconds ");
  expect_names(text_of([&] {
                 falsify(
                     f, [](const Tensor& y) { return y; }, list({0}), list({1}));
               }),
               "falsify: violations are [256, 1]");
  EXPECT_THROW(falsify(f, {}, list({0}), list({1})), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
