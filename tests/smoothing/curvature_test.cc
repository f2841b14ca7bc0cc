// Eigenvalues, traces and spectra from products against whole matrices.
#include <mollify/smoothing/curvature.h>

#include "../cases.h"
#include "../errors.h"

#include <mollify/engine/grad.h>
#include <mollify/engine/linear_algebra.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

bool has_lapack() {
  try {
    eigh(eye(1));
    return true;
  } catch (const Error&) { return false; }
}
#define MOLLIFY_NEEDS_LAPACK \
  if (!has_lapack()) GTEST_SKIP() << "this build has no LAPACK; needs libopenblas-dev"

SymmetricMatrix by_products(const Tensor& matrix) {
  return {.size = matrix.dim(0),
          .times =
              [matrix](const Tensor& v) {
                return matmul(matrix, reshape(v, {-1, 1}))(all, 0);
              },
          .dtype = matrix.dtype()};
}
Tensor symmetric(int64_t size, uint64_t seed) {
  const Tensor a = randn({size, size}, seed, DType::f64);
  return a + transpose(a);
}
double trace(const Tensor& matrix) { return sum(matrix * eye(matrix.dim(0), DType::f64)).item(); }

// 300 weights, and a last batch that is smaller than the others.
struct Small {
  nn::Network network{"small", {11}, nn::sequential(nn::dense(11), nn::activation("tanh"), nn::dense(14))};
  Tensor x = randn({50, 11}, 1, DType::f64), w = randn({300}, 2, DType::f64) * 0.5,
         labels = cast(floor(rand({50}, 3, DType::f64) * 14.0), DType::i32);

  SampleLosses losses() const {
    return losses_of(network, {}, 50, [this](std::span<const int32_t> which) {
      const Tensor rows = Tensor::from(which, {static_cast<int64_t>(which.size())});
      return Tensors{take(x, rows), take(labels, rows)};
    });
  }
  Tensor dense_hessian() const {
    return hessian([&](const Tensor& at) { return nn::mean_cross_entropy(network(at, x), labels); }, w);
  }
};

TEST(Curvature, FiveEigenvaluesOf300WeightsAreThoseOfTheWholeHessian) {
  MOLLIFY_NEEDS_LAPACK;
  const Small small;
  ASSERT_EQ(small.network.weight_count(), 300);
  const SymmetricMatrix products = hessian_of(small.losses(), small.w, 16);
  const Tensor whole = small.dense_hessian();
  const std::vector<double> exact = eigh(whole).values.to_vector<double>();
  const Eigenvalues found = largest_eigenvalues(products, 5, {.products = 300, .tolerance = 1e-9});
  EXPECT_LT(found.products, 200);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(found.values[i], exact[299 - i], 1e-6 * exact[299]) << i;
    EXPECT_LE(found.errors[i], 1e-9 * exact[299]);
  }
  EXPECT_GE(found.smallest, exact[0] - 1e-9);
  EXPECT_NEAR(found.smallest, exact[0], 0.1 * std::abs(exact[0]));

  const Measured trace_found = trace_of(products, 40, 1);
  EXPECT_GT(trace_found.standard_error, 0);
  EXPECT_NEAR(trace_found.value, trace(whole), 4 * trace_found.standard_error);

  const Tensor v = randn({300}, 9, DType::f64), product = matmul(whole, reshape(v, {300, 1}))(all, 0);
  EXPECT_LT(max(abs(products.times(v) - product)).item(), 1e-12 * max(abs(product)).item());
}

TEST(Curvature, ErrorsHoldWhereProductsEnd) {
  MOLLIFY_NEEDS_LAPACK;
  const Tensor matrix = symmetric(80, 4);
  const std::vector<double> exact = eigh(matrix).values.to_vector<double>();
  for (const int64_t products : {5, 13, 30, 80}) {
    const Eigenvalues found = largest_eigenvalues(by_products(matrix), 3, {.products = products, .tolerance = 0});
    EXPECT_EQ(found.products, products);
    for (size_t i = 0; i < 3; ++i) {
      double nearest = 1e9;
      for (const double value : exact) nearest = std::min(nearest, std::abs(found.values[i] - value));
      EXPECT_LE(nearest, found.errors[i] + 1e-12 * exact[79]) << products;
      EXPECT_LE(found.values[i], exact[79 - i] + 1e-12 * exact[79]);
    }
    if (products == 80) { EXPECT_NEAR(found.values[2], exact[77], 1e-12 * exact[79]); }
  }
}

// A basis that holds its own products is gone on from a new vector.
TEST(Curvature, OfEigenvaluesThatStandSeveralTimes) {
  MOLLIFY_NEEDS_LAPACK;
  const Tensor three = Tensor({3, 3, 1, 1, 1, -2}, DType::f64) * eye(6, DType::f64);
  const Eigenvalues found = largest_eigenvalues(by_products(three), 6, {.products = 6});
  const std::vector<double> exact{3, 3, 1, 1, 1, -2};
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(found.values[i], exact[i], 1e-10) << i;
  const Eigenvalues same = largest_eigenvalues(by_products(eye(5, DType::f64) * 7.0), 4);
  for (const double value : same.values) EXPECT_NEAR(value, 7, 1e-12);
  const Eigenvalues none = largest_eigenvalues(by_products(zeros({4, 4}, DType::f64)), 2);
  for (const double value : none.values) EXPECT_EQ(value, 0);
  const Eigenvalues single = largest_eigenvalues(by_products(eye(40, DType::f32)), 3);  // in single precision
  for (const double value : single.values) EXPECT_NEAR(value, 1, 1e-5);
}

// vᵀHᵏv/d for powers up to 2·products − 1, exactly.
TEST(Curvature, SpectraHaveTheMomentsOfTheirVectors) {
  MOLLIFY_NEEDS_LAPACK;
  constexpr int64_t kSize = 40, kProducts = 4;
  const Tensor matrix = symmetric(kSize, 5) / 10.0;
  const Spectrum found = spectral_density(by_products(matrix), 1, kProducts, 6);
  ASSERT_EQ(found.nodes.size(), 4u);
  // The vector of signs itself, from the product that is asked for first.
  Tensor v;
  SymmetricMatrix seen = by_products(matrix);
  seen.times = [&, times = seen.times](const Tensor& x) {
    if (!v.defined()) v = x;
    return times(x);
  };
  spectral_density(seen, 1, kProducts, 6);
  EXPECT_NEAR(max(abs(abs(v) * std::sqrt(kSize) - 1.0)).item(), 0, 1e-12);
  Tensor power = v;
  for (int k = 0; k <= 2 * kProducts; ++k) {
    double moment = 0;
    for (size_t i = 0; i < found.nodes.size(); ++i) moment += found.weights[i] * std::pow(found.nodes[i], k);
    const double exact = sum(v * power).item();
    if (k < 2 * kProducts) {
      EXPECT_NEAR(moment, exact, 1e-10 * (1 + std::abs(exact))) << k;
    } else {
      EXPECT_GT(std::abs(moment - exact), 1e-6 * std::abs(exact));
    }
    power = matmul(matrix, reshape(power, {-1, 1}))(all, 0);
  }
}

TEST(Curvature, SpectraStandForTheEigenvalues) {
  MOLLIFY_NEEDS_LAPACK;
  const Tensor matrix = symmetric(60, 8);
  const std::vector<double> exact = eigh(matrix).values.to_vector<double>();
  const Spectrum found = spectral_density(by_products(matrix), 100, 30, 2);
  double total = 0, below = 0, integral = 0;
  for (size_t i = 0; i < found.nodes.size(); ++i) {
    total += found.weights[i];
    if (found.nodes[i] < 0) below += found.weights[i];
  }
  EXPECT_NEAR(total, 1, 1e-12);
  const auto negative = static_cast<double>(std::count_if(exact.begin(), exact.end(), [](double x) { return x < 0; }));
  EXPECT_NEAR(below, negative / 60, 0.05);
  for (double t = -60; t < 60; t += 0.5) {
    integral += 0.5 * found.density(t, 1.5);
    double smoothed = 0;
    for (const double value : exact)
      smoothed += std::exp(-std::pow((t - value) / 1.5, 2) / 2) / (1.5 * std::sqrt(2 * M_PI) * 60);
    EXPECT_NEAR(found.density(t, 1.5), smoothed, 0.01) << t;
  }
  EXPECT_NEAR(integral, 1, 1e-6);
}

TEST(Curvature, TracesAreUnbiasedWithTheirErrors) {
  const Tensor matrix = symmetric(30, 3);
  double sum = 0, errors = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Measured found = trace_of(by_products(matrix), 10, seed);
    sum += found.value / 50;
    errors += found.standard_error * found.standard_error;
  }
  EXPECT_NEAR(sum, trace(matrix), 4 * std::sqrt(errors) / 50);
  // Signs see a diagonal exactly.
  const Measured diagonal = trace_of(by_products(linspace(1, 3, 9, DType::f64) * eye(9, DType::f64)), 3);
  EXPECT_NEAR(diagonal.value, 18, 1e-12);
  EXPECT_NEAR(diagonal.standard_error, 0, 1e-12);
}

TEST(Curvature, RefusesNumbersOutOfRange) {
  const SymmetricMatrix matrix = by_products(eye(3, DType::f64));
  const auto refused = [](const std::function<void()>& f, const char* text) { expect_names(text_of<Error>(f), text); };
  refused([&] { largest_eigenvalues(matrix, 0); }, "largest_eigenvalues: 0 of 3");
  refused([&] { largest_eigenvalues(matrix, 4); }, "largest_eigenvalues: 4 of 3");
  refused([&] { largest_eigenvalues(matrix, 3, {.products = 2}); }, "by 2 products");
  refused([&] { spectral_density(matrix, 0); }, "spectral_density: 0 probes");
  refused([&] { spectral_density(matrix, 1, 0); }, "0 products");
  refused([&] { trace_of(matrix, 1); }, "trace_of: 1 probes; needs at least two");
  refused([&] { hessian_of({}, zeros({3})); }, "hessian_of: losses of 0 samples");
  SymmetricMatrix other = matrix;
  other.times = [](const Tensor&) { return zeros({2}, DType::f64); };
  refused([&] { trace_of(other, 2); }, "the matrix gives [2] of f64 for a vector [3]");
}

}  // namespace
}  // namespace mollify::smoothing
