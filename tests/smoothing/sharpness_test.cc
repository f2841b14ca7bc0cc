// Sharpness of quadratics against closed forms, what it does not depend on, and what is refused.
#include <mollify/smoothing/sharpness.h>

#include "../errors.h"

#include <mollify/engine/linear_algebra.h>
#include <mollify/nn/layers.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr int64_t kWeights = 12, kSamples = 3;

bool has_lapack() {
  try {
    eigh(eye(1));
    return true;
  } catch (const Error&) { return false; }
}

Tensor drawn(uint64_t seed) { return randn({kWeights}, seed, DType::f64); }

// ℓ_i(w) = ½wᵀHw + b_iᵀw.
struct Quadratic {
  Tensor hessian, slopes = randn({kSamples, kWeights}, 7, DType::f64);

  SampleLosses losses() const {
    return {.count = kSamples,
            .take = [slopes = slopes](std::span<const int32_t> which) -> Tensors {
              return take(slopes, Tensor::from(which, {static_cast<int64_t>(which.size())}));
            },
            .mean =
                [h = hessian](const Tensor& w, const Tensors& in) {
                  const Tensor column = reshape(w, {kWeights, 1});
                  return sum(matmul(h, column) * column) * 0.5 + sum(mean(in[0], 0) * w);
                }};
  }
  // In u = δ/c the rise is aᵀu + ½uᵀAu.
  Tensor slope(const Tensor& w, const Tensor& c, int64_t i) const {
    return c * (matmul(hessian, reshape(w, {kWeights, 1}))(all, 0) + slopes[i]);
  }
  Tensor curvature(const Tensor& c) const { return reshape(c, {kWeights, 1}) * hessian * c; }
};

// The largest aᵀu + ½uᵀAu over |u_j| ≤ ρ, of a diagonal A: each coordinate by itself, at an end or at its peak.
double largest_in_box(const std::vector<double>& a, const std::vector<double>& diagonal, double rho) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) {
    const double slope = std::abs(a[j]), peak = -slope / diagonal[j];
    const double u = diagonal[j] < 0 && peak < rho ? peak : rho;
    sum += slope * u + diagonal[j] * u * u / 2;
  }
  return sum;
}

// Over ‖u‖ ≤ ρ: u = (λI − A)⁻¹a with λ above A's eigenvalues and ‖u‖ = ρ, or, where A is negative definite and that
// ends within the ball, with λ = 0.
double largest_in_ball(const Tensor& a, const Tensor& matrix, double rho) {
  const Eigen eigen = eigh(matrix);
  const std::vector<double> values = eigen.values.to_vector<double>(),
                            slopes = matmul(reshape(a, {1, kWeights}), eigen.vectors)[0].to_vector<double>();
  const auto length = [&](double lambda) {
    double squares = 0;
    for (size_t i = 0; i < values.size(); ++i) squares += std::pow(slopes[i] / (lambda - values[i]), 2);
    return std::sqrt(squares);
  };
  double low = std::max(0.0, values.back() * (1 + 1e-14)), high = low + 1e6, lambda = low;
  if (values.back() >= 0 || length(0) > rho)
    for (int i = 0; i < 200; ++i) {
      lambda = (low + high) / 2;
      (length(lambda) > rho ? low : high) = lambda;
    }
  double rise = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double u = slopes[i] / (lambda - values[i]);
    rise += slopes[i] * u + values[i] * u * u / 2;
  }
  return rise;
}

TEST(Sharpness, OfQuadraticsInABoxIsItsClosedForm) {
  const Tensor w = drawn(1);
  for (const Tensor& diagonal : {square(drawn(2)) * 3.0, drawn(2) * 3.0}) {
    const Quadratic f{diagonal * eye(kWeights, DType::f64)};
    for (const bool adaptive : {false, true})
      for (const double rho : {1e-3, 0.1, 2.0}) {
        const Tensor c = adaptive ? abs(w) : ones_like(w);
        const Sharpness found = worst_case_sharpness(
            f.losses(), w, {.norm = Norm::linf, .rho = rho, .adaptive = adaptive, .batch = 1, .steps = 100});
        ASSERT_EQ(found.batches.size(), 3u);
        for (int64_t i = 0; i < kSamples; ++i) {
          const double exact =
              largest_in_box(f.slope(w, c, i).to_vector<double>(), (diagonal * square(c)).to_vector<double>(), rho);
          EXPECT_NEAR(found.batches[static_cast<size_t>(i)], exact, 1e-3 * exact) << adaptive << " " << rho;
          EXPECT_LE(found.batches[static_cast<size_t>(i)], exact * (1 + 1e-9));
        }
      }
  }
}

TEST(Sharpness, OfQuadraticsInABallIsItsClosedForm) {
  if (!has_lapack()) GTEST_SKIP() << "this build has no LAPACK; needs libopenblas-dev";
  const Tensor w = drawn(1), root = randn({kWeights, kWeights}, 3, DType::f64);
  const Tensor positive = matmul(root, transpose(root)), mixed = root + transpose(root);
  for (const Tensor& hessian : {positive, mixed, -positive}) {
    const Quadratic f{hessian};
    for (const bool adaptive : {false, true})
      for (const double rho : {1e-3, 0.1, 2.0}) {
        const Tensor c = adaptive ? abs(w) : ones_like(w);
        const Sharpness found = worst_case_sharpness(
            f.losses(), w, {.norm = Norm::l2, .rho = rho, .adaptive = adaptive, .batch = 1, .steps = 100});
        for (int64_t i = 0; i < kSamples; ++i) {
          const double exact = largest_in_ball(f.slope(w, c, i), f.curvature(c), rho);
          EXPECT_NEAR(found.batches[static_cast<size_t>(i)], exact, 1e-3 * exact) << adaptive << " " << rho;
          EXPECT_LE(found.batches[static_cast<size_t>(i)], exact * (1 + 1e-9));
        }
      }
  }
}

// At a minimum the gradient is 0, and the rise is ½ρ²λ of the largest curvature.
TEST(Sharpness, AtAMinimumIsTheLargestCurvature) {
  Quadratic f{linspace(1, 4, kWeights, DType::f64) * eye(kWeights, DType::f64),
              zeros({kSamples, kWeights}, DType::f64)};
  const Tensor w = zeros({kWeights}, DType::f64);
  const Sharpness found = worst_case_sharpness(f.losses(), w, {.norm = Norm::l2, .rho = 0.3, .batch = 1, .steps = 100});
  EXPECT_NEAR(found.value, 0.5 * 0.09 * 4, 1e-3 * found.value);
  // Adaptive, weights that are 0 do not move.
  EXPECT_EQ(worst_case_sharpness(f.losses(), w, {.norm = Norm::l2, .adaptive = true, .batch = 1}).value, 0);
  EXPECT_EQ(worst_case_sharpness(f.losses(), w, {.norm = Norm::linf, .adaptive = true, .batch = 1}).value, 0);
}

TEST(Sharpness, IsTheMeanOverBatchesWithItsError) {
  const Quadratic f{zeros({kWeights, kWeights}, DType::f64)};
  const Tensor w = drawn(1);
  const Sharpness found =
      worst_case_sharpness(f.losses(), w, {.norm = Norm::linf, .rho = 0.1, .batch = 1, .steps = 20});
  std::vector<double> exact;
  for (int64_t i = 0; i < kSamples; ++i) exact.push_back(0.1 * sum(abs(f.slopes[i])).item());
  const Tensor rises = Tensor::from(exact, {kSamples});
  EXPECT_NEAR(found.value, mean(rises).item(), 1e-9);
  EXPECT_NEAR(found.standard_error, standard_deviation(rises, {0}, false, 1).item() / std::sqrt(kSamples), 1e-9);
}

TEST(Sharpness, OnAverageIsHalfTheTrace) {
  const Tensor w = drawn(1), root = randn({kWeights, kWeights}, 3, DType::f64);
  const Quadratic f{matmul(root, transpose(root))};
  for (const bool adaptive : {false, true}) {
    const Tensor c = adaptive ? abs(w) : ones_like(w);
    const double exact = 0.5 * 0.04 * sum(f.curvature(c) * eye(kWeights, DType::f64)).item();
    const Sharpness found = average_sharpness(f.losses(), w, {.rho = 0.2, .adaptive = adaptive, .samples = 400});
    EXPECT_GT(found.standard_error, 0);
    EXPECT_LT(found.standard_error, 0.1 * exact);
    EXPECT_NEAR(found.value, exact, 4 * found.standard_error);
  }
}

// A relu network does not change where one layer is multiplied and the next divided: neither does what is adaptive.
TEST(Sharpness, AdaptiveDoesNotDependOnTheScaleOfLayers) {
  const nn::Network network("two", {5}, nn::sequential(nn::dense(6), nn::relu(), nn::dense(3)));
  const Tensor x = randn({8, 5}, 1, DType::f64), labels = Tensor({0, 1, 2, 1, 0, 2, 2, 1}, DType::i32);
  const SampleLosses losses = losses_of(network, {}, 8, [&](std::span<const int32_t> which) {
    const Tensor rows = Tensor::from(which, {static_cast<int64_t>(which.size())});
    return Tensors{take(x, rows), take(labels, rows)};
  });
  const Tensor w = randn({network.weight_count()}, 2, DType::f64);
  Tensor scaled = w + 0.0;
  for (const nn::Piece& piece : network.weights()) {
    const double factor = piece.name.find("dense1") == 0 ? 4 : piece.role == nn::Role::weight ? 0.25 : 1;
    const Tensor part = network.weight(scaled, piece.name);
    assign(part, part * factor);
  }
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    const auto sharpness = [&](const Tensor& at, bool adaptive) {
      return worst_case_sharpness(losses, at, {.norm = norm, .rho = 0.02, .adaptive = adaptive, .batch = 4}).value;
    };
    EXPECT_NEAR(sharpness(scaled, true), sharpness(w, true), 1e-9 * sharpness(w, true));
    EXPECT_GT(std::abs(sharpness(scaled, false) / sharpness(w, false) - 1), 0.1);
  }
  const auto average = [&](const Tensor& at) {
    return average_sharpness(losses, at, {.rho = 0.1, .adaptive = true, .samples = 8}).value;
  };
  EXPECT_NEAR(average(scaled), average(w), 1e-10);
}

TEST(Sharpness, OfALossThatIsNotFiniteIsNaN) {
  const SampleLosses losses{.count = 2,
                            .take = [](std::span<const int32_t>) { return Tensors(); },
                            .mean = [](const Tensor& w, const Tensors&) { return sum(sqrt(w)); }};
  const Tensor w = full({3}, -1, DType::f64);
  EXPECT_TRUE(std::isnan(worst_case_sharpness(losses, w, {.batch = 1}).value));
}

TEST(Sharpness, RefusesWhatHasNoAnswer) {
  const Quadratic f{eye(kWeights, DType::f64)};
  const Tensor w = drawn(1);
  const auto refused = [&](const SharpnessOptions& how, const char* text) {
    expect_names(text_of<ValueError>([&] { worst_case_sharpness(f.losses(), w, how); }), text);
  };
  refused({.batch = 2}, "sharpness: 1 batches of 2 in 3 samples; needs at least two");
  refused({.batch = 4}, "sharpness: 0 batches of 4 in 3 samples");
  refused({.rho = 0, .batch = 1}, "sharpness: rho 0 given; needs a finite number above 0");
  refused({.rho = -1, .batch = 1}, "rho -1 given");
  refused({.rho = std::nan(""), .batch = 1}, "rho nan given");
  refused({.batch = 0}, "batch 0");
  refused({.batch = 1, .steps = 0}, "steps 0");
  expect_names(text_of<ValueError>([&] { average_sharpness(f.losses(), w, {.rho = 0}); }), "rho 0 given");
  expect_names(text_of<ValueError>([&] { worst_case_sharpness({}, w); }), "sharpness: losses of 0 samples");
}

}  // namespace
}  // namespace mollify::smoothing
