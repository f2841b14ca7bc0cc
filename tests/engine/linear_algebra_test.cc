// Residuals, gradients against differences and of second order, and matrices that have no answer.
#include <mollify/engine/grad.h>
#include <mollify/engine/linear_algebra.h>
#include <mollify/engine/ops.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify {
namespace {

bool has_lapack() {
  try {
    cholesky(eye(1));
    return true;
  } catch (const Error&) { return false; }
}
#define MOLLIFY_NEEDS_LAPACK \
  if (!has_lapack()) GTEST_SKIP() << "this build has no LAPACK; needs libopenblas-dev"

Tensor positive(const Shape& shape, uint64_t seed, DType dtype = DType::f64) {
  const Tensor a = randn(shape, seed, dtype);
  return matmul(a, transpose(a)) + eye(a.dim(-1), dtype) * 0.5;
}
double largest(const Tensor& x) { return x.size() ? max(abs(x)).item() : 0; }

TEST(LinearAlgebra, HasSmallResiduals) {
  MOLLIFY_NEEDS_LAPACK;
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Shape& shape :
         {Shape{1, 1}, Shape{2, 2}, Shape{17, 17}, Shape{64, 64}, Shape{3, 5, 5}, Shape{2, 0, 0}}) {
      const double unit = dtype == DType::f32 ? 1.2e-7 : 2.2e-16;
      const int64_t n = shape.back();
      const Tensor a = positive(shape, 1, dtype), general = randn(shape, 2, dtype) + eye(n, dtype) * 3.0;
      Shape sides = shape;
      sides[sides.rank() - 1] = 3;
      const Tensor b = randn(sides, 3, dtype), l = cholesky(a), x = solve(general, b), y = triangular_solve(l, b),
                   z = triangular_solve(l, b, true);
      const auto [values, v] = eigh(a);
      const double scale = 100 * unit * static_cast<double>(n + 1);
      EXPECT_LE(largest(matmul(l, transpose(l)) - a), scale * (1 + largest(a)));
      EXPECT_LE(largest(matmul(general, x) - b), scale * (1 + largest(x)) * (1 + largest(general)));
      EXPECT_LE(largest(matmul(l, y) - b), scale * (1 + largest(y)) * (1 + largest(l)));
      EXPECT_LE(largest(matmul(transpose(l), z) - b), scale * (1 + largest(z)) * (1 + largest(l)));
      EXPECT_LE(largest(matmul(transpose(v), v) - eye(n, dtype)), scale);
      Shape rows = values.shape();
      rows.insert(rows.rank() - 1, 1);
      EXPECT_LE(largest(matmul(v * reshape(values, rows), transpose(v)) - a), scale * (1 + largest(a)));
      const std::vector<double> rising = cast(values, DType::f64).to_vector<double>();
      for (size_t i = 0; i < rising.size(); ++i)
        if (i % static_cast<size_t>(n) > 0) {
          EXPECT_LE(rising[i - 1], rising[i]);
        }
    }
}

// Along random directions, of a function of the result and of its gradient's square.
void expect_gradients(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  const Tensor weights = randn(f(x).shape(), 11, DType::f64), direction = randn(x.shape(), 12, DType::f64);
  const auto first = [&](const Tensor& t) { return sum(f(t) * weights + square(f(t)) * 0.3); };
  const auto second = [&](const Tensor& t) { return sum(square(grad(first)(t))); };
  for (const std::function<Tensor(const Tensor&)>& g :
       {std::function<Tensor(const Tensor&)>(first), std::function<Tensor(const Tensor&)>(second)}) {
    const double h = 1e-5, difference = ((g(x + direction * h) - g(x - direction * h)) / (2 * h)).item();
    EXPECT_NEAR(sum(grad(g)(x) * direction).item(), difference, 1e-6 * (1 + std::abs(difference)));
  }
}

TEST(LinearAlgebra, HasGradientsOfTwoOrders) {
  MOLLIFY_NEEDS_LAPACK;
  for (const Shape& shape : {Shape{4, 4}, Shape{2, 3, 3}}) {
    const Tensor a = positive(shape, 5), general = randn(shape, 6, DType::f64) + eye(shape.back(), DType::f64) * 3.0;
    Shape sides = shape;
    sides[sides.rank() - 1] = 2;
    const Tensor b = randn(sides, 7, DType::f64), l = cholesky(a);
    expect_gradients([](const Tensor& t) { return cholesky(t); }, a);
    for (const bool transposed : {false, true}) {
      expect_gradients([&](const Tensor& t) { return triangular_solve(t, b, transposed); }, l);
      expect_gradients([&](const Tensor& t) { return triangular_solve(l, t, transposed); }, b);
    }
    expect_gradients([&](const Tensor& t) { return solve(t, b); }, general);
    expect_gradients([&](const Tensor& t) { return solve(general, t); }, b);
    expect_gradients([](const Tensor& t) { return eigh(t).values; }, a);
    expect_gradients([](const Tensor& t) { return eigh(t).vectors; }, a);
    expect_gradients(
        [](const Tensor& t) {
          const Eigen e = eigh(t);
          return e.vectors * e.values(Slice{}, all)[0][0];
        },
        shape.rank() == 2 ? reshape(a, {1, 4, 4}) : a);
  }
}

TEST(LinearAlgebra, SaysWhatHasNoAnswer) {
  MOLLIFY_NEEDS_LAPACK;
  const Tensor singular({{1, 2}, {2, 4}}, DType::f64), b = ones({2, 1}, DType::f64);
  EXPECT_THROW(cholesky(singular - 1.0), ValueError);
  EXPECT_THROW(solve(singular, b), ValueError);
  EXPECT_THROW(triangular_solve(Tensor({{0, 0}, {1, 1}}, DType::f64), b), ValueError);
  EXPECT_THROW(cholesky(ones({2, 3})), ShapeError);
  EXPECT_THROW(cholesky(ones({3})), ShapeError);
  EXPECT_THROW(solve(eye(3), ones({2, 1})), ShapeError);
  EXPECT_THROW(solve(eye(3), ones({3})), ShapeError);
  EXPECT_THROW(solve(eye(3), ones({3, 1}, DType::f64)), TypeError);
  EXPECT_THROW(eigh(eye(2, DType::i32)), TypeError);
}

}  // namespace
}  // namespace mollify
