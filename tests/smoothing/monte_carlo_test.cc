#include <mollify/engine/cpu/threads.h>
#include <mollify/nn/layers.h>
#include <mollify/smoothing/monte_carlo.h>
#include <mollify/smoothing/ops.h>

#include "../errors.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr Draws kDraws[] = {Draws::independent, Draws::antithetic, Draws::sobol};

Tensor points(DType dtype = DType::f64) {
  return cast(Tensor::from(std::vector<double>{-0.9, -0.6, 0.1, 0.4, 1.5}, {5}), dtype);
}

void expect_equal(const Estimate& a, const Estimate& b) {
  EXPECT_EQ(a.mean.to_vector<double>(), b.mean.to_vector<double>());
  EXPECT_EQ(a.standard_error.to_vector<double>(), b.standard_error.to_vector<double>());
}

struct Known {
  const char* name;
  Function f;
  std::function<Tensor(const Tensor& x, double s)> smoothed;
};
const Known kKnown[] = {
    {"square", [](const Tensor& x) { return square(x); }, [](const Tensor& x, double s) { return square(x) + s * s; }},
    {"sin", [](const Tensor& x) { return sin(x); },
     [](const Tensor& x, double s) { return sin(x) * std::exp(-s * s / 2); }},
    {"exp", [](const Tensor& x) { return exp(x); }, [](const Tensor& x, double s) { return exp(x + s * s / 2); }},
    {"relu", [](const Tensor& x) { return relu(x); },
     [](const Tensor& x, double s) { return relu_smoothed(x, Tensor::scalar(s, x.dtype())); }}};

TEST(MonteCarlo, AgreesWithKnownSmoothingsWithinFourStandardErrors) {
  for (const Known& known : kKnown)
    for (const Draws draws : kDraws)
      for (const DType dtype : {DType::f32, DType::f64}) {
        const double s = 0.6;
        const Tensor x = points(dtype), expected = known.smoothed(x, s);
        const Estimate whole =
            smooth_by_sampling(known.f, x, Sigma::stddev(s), {.samples = 2048, .draws = draws, .seed = 3});
        const Estimate rows = smooth_rows_by_sampling(known.f, x, Sigma::paper(s * std::sqrt(2.0)),
                                                      {.samples = 2048, .draws = draws, .seed = 4});
        for (const Estimate& estimate : {whole, rows}) {
          ASSERT_EQ(estimate.mean.dtype(), dtype);
          ASSERT_EQ(estimate.mean.shape(), x.shape());
          const double scaled = max(abs(estimate.mean - expected) / (estimate.standard_error + 1e-6)).item();
          EXPECT_LT(scaled, draws == Draws::sobol ? 5.5 : 4)
              << known.name << " draws " << static_cast<int>(draws);  // t with 15 degrees of freedom
          EXPECT_LT(max(estimate.standard_error).item(), 0.1) << known.name;
        }
      }
}

TEST(MonteCarlo, MeanSquareErrorsAreThoseOfTheStandardErrors) {
  const auto f = [](const Tensor& v) { return sin(v) + square(v) * 0.3; };
  const double s = 0.8;
  const Tensor x = points(), truth = sin(x) * std::exp(-s * s / 2) + (square(x) + s * s) * 0.3;
  for (const Draws draws : kDraws) {
    Tensor errors = zeros({5}, DType::f64), expected = errors;
    for (uint64_t seed = 0; seed < 300; ++seed) {
      const Estimate e = smooth_by_sampling(f, x, Sigma::stddev(s), {.samples = 256, .draws = draws, .seed = seed});
      errors = errors + square(e.mean - truth);
      expected = expected + square(e.standard_error);
    }
    EXPECT_NEAR(mean(errors / expected).item(), 1, 4 * std::sqrt(2.0 / 1500) * 1.3)
        << static_cast<int>(draws);  // 1.3 for tails
  }
}

TEST(MonteCarlo, AntitheticDrawsAreExactForOddFunctions) {
  const Tensor x = zeros({7}, DType::f64);
  const Estimate e = smooth_by_sampling([](const Tensor& v) { return sum(sin(v) + v * square(v)); }, x,
                                        Sigma::stddev(2.0), {.samples = 10});
  EXPECT_EQ(e.mean.item(), 0);
  EXPECT_EQ(e.standard_error.item(), 0);
}

TEST(MonteCarlo, SobolErrorsFallFasterThanThoseOfIndependentDraws) {
  const auto f = [](const Tensor& v) { return exp(sum(v, {1}) * 0.3); };  // rows of six numbers
  const double truth = std::exp(0.3 * 0.3 * 6 / 2);
  const auto error = [&](Draws draws, int64_t samples) {
    double squares = 0;
    for (uint64_t seed = 0; seed < 10; ++seed) {
      const Estimate e =
          smooth_rows_by_sampling(f, zeros({1, 6}, DType::f64), Sigma::stddev(1.0), {samples, draws, seed, 0, 4096});
      squares += std::pow(e.mean.item() - truth, 2) / 10;
    }
    return std::sqrt(squares);
  };
  EXPECT_GT(error(Draws::sobol, 16 * 16) / error(Draws::sobol, 16 * 1024), 24);  // 8 for independent draws
  EXPECT_LT(error(Draws::sobol, 16 * 1024) * 10, error(Draws::independent, 16 * 1024));
}

TEST(MonteCarlo, BatchesAndThreadsDoNotChangeResults) {
  const Tensor x = reshape(arange(12, DType::f64) / 6.0 - 1.0, {3, 2, 2});
  const auto f = [](const Tensor& v) { return sum(relu(v), {2}); };
  for (const Draws draws : kDraws) {
    const auto run = [&](int64_t batch, const Tensor& rows) {
      return smooth_rows_by_sampling(f, rows, Sigma::stddev(0.5),
                                     {.samples = 90, .draws = draws, .seed = 8, .batch = batch});
    };
    const Estimate all = run(64, x);
    EXPECT_EQ(all.mean.shape(), (Shape{3, 2}));
    for (const int64_t batch : {1, 3, 7, 1000}) expect_equal(run(batch, x), all);
    const int before = num_threads();
    set_num_threads(before == 1 ? 3 : 1);
    expect_equal(run(64, x), all);
    set_num_threads(before);
    // A row's noise depends on its number only.
    const Estimate first = run(64, slice(x, 0, 0, 1));
    EXPECT_EQ(first.mean.to_vector<double>(), slice(all.mean, 0, 0, 1).to_vector<double>());
  }
}

TEST(MonteCarlo, NoiseIsAFunctionOfSeedStepAndRow) {
  for (const Draws draws : kDraws) {
    const auto run = [&](uint64_t seed, int64_t step) {
      return smooth_rows_by_sampling(relu, zeros({2, 3}, DType::f64), Sigma::stddev(1.0),
                                     {.samples = 64, .draws = draws, .seed = seed, .step = step})
          .mean;
    };
    const auto base = run(1, 1).to_vector<double>();
    EXPECT_EQ(run(1, 1).to_vector<double>(), base);
    EXPECT_NE(run(2, 1).to_vector<double>(), base);
    EXPECT_NE(run(1, 2).to_vector<double>(), base);
    EXPECT_NE(std::vector<double>(base.begin(), base.begin() + 3), std::vector<double>(base.begin() + 3, base.end()));
  }
}

TEST(MonteCarlo, NoScaleGivesTheFunctionAndNotANumberStays) {
  for (const Draws draws : kDraws) {
    const MonteCarlo how{.samples = 32, .draws = draws};
    const Estimate e = smooth_by_sampling(relu, points(), Sigma::stddev(0.0), how);
    EXPECT_EQ(e.mean.to_vector<double>(), relu(points()).to_vector<double>());
    EXPECT_EQ(max(e.standard_error).item(), 0);
    const Tensor x = Tensor::from(std::vector<double>{1, std::nan("")}, {2});
    const auto means = smooth_rows_by_sampling(relu, x, Sigma::stddev(0.1), how).mean.to_vector<double>();
    EXPECT_TRUE(std::isfinite(means[0]));
    EXPECT_TRUE(std::isnan(means[1]));
  }
}

TEST(MonteCarlo, SmoothsANetworkRowByRow) {
  const nn::Network network("linear", {4}, nn::dense(3));
  const Tensor w = network.initial_weights(nn::Initialization::fan_in_uniform, 1, DType::f64),
               x = normal({5, 4}, {1, 1}, Tensor::scalar(0, DType::i32), DType::f64);
  const Estimate e = smooth_rows_by_sampling([&](const Tensor& rows) { return network(w, rows); }, x,
                                             Sigma::stddev(0.7), {.samples = 100});
  EXPECT_LT(max(abs(e.mean - network(w, x))).item(), 1e-14);  // pairs cancel in a linear map
}

TEST(MonteCarlo, GradientsAgreeWithTheSmoothedFunctions) {
  const Tensor w = points();
  const auto loss = [](const Tensor& v) { return sum(square(square(v))); };
  const double s = 0.5;
  for (const Draws draws : kDraws) {
    const ValueAndGradient e =
        smoothed_value_and_grad(loss, w, Sigma::stddev(s), {.samples = 4096, .draws = draws, .seed = 5});
    const Tensor value = sum(square(square(w)) + square(w) * (6 * s * s) + 3 * s * s * s * s),
                 gradient = w * square(w) * 4.0 + w * (12 * s * s);
    EXPECT_NEAR(e.value.mean.item(), value.item(), 5 * e.value.standard_error.item());
    EXPECT_EQ(e.value.mean.rank(), 0);
    EXPECT_LT(max(abs(e.gradient.mean - gradient) / e.gradient.standard_error).item(), draws == Draws::sobol ? 5.5 : 4);
  }
}

TEST(MonteCarlo, SampledLossIsTheMeanOverTheSameDraws) {
  const auto loss = [](const Tensor& v) { return sum(sin(v) * 2.0 + square(v)); };
  for (const Draws draws : kDraws) {
    const MonteCarlo how{.samples = 32, .draws = draws, .seed = 2, .step = 7};
    const ValueAndGradient expected = smoothed_value_and_grad(loss, points(), Sigma::paper(0.4), how);
    const SmoothedLoss of_loss = sampled(loss, how);
    const auto [value, gradient] =
        value_and_grad([&](const Tensor& w) { return of_loss(w, Sigma::paper(0.4)); })(points());
    EXPECT_NEAR(value.item(), expected.value.mean.item(), 1e-13);
    EXPECT_LT(max(abs(gradient - expected.gradient.mean)).item(), 1e-14);
    // In the scale: against finite differences with the same draws.
    const auto at = [&](const Tensor& s) { return of_loss(points(), Sigma::stddev(s)); };
    const Tensor s = Tensor::scalar(0.3, DType::f64);
    EXPECT_NEAR(grad(at)(s).item(), (at(s + 1e-5).item() - at(s - 1e-5).item()) / 2e-5, 1e-8);
  }
}

TEST(MonteCarlo, SampledLossTrains) {
  Tensor w = Tensor::from(std::vector<double>{2, -1.5}, {2});
  const auto bumpy = [](const Tensor& v) { return sum(square(v) + 1.0 - cos(v * 12.0)); };  // minima every half
  GSmooth smoothed(optim::sgd(optim::constant(0.1)), Sigma::stddev(0.4));
  for (int64_t t = 0; t < 60; ++t) smoothed.step(w, sampled(bumpy, {.samples = 64, .seed = 1, .step = t}));
  EXPECT_LT(max(abs(w)).item(), 0.2);
}

TEST(MonteCarlo, NamesWhatItCannotDo) {
  const Sigma sigma = Sigma::stddev(1.0);
  const Tensor x = points();
  EXPECT_EQ(text_of([&] { smooth_by_sampling(relu, x, sigma, {.samples = 0}); }),
            "smooth_by_sampling: samples 0, batch 64, step 0; need 1 ≤ samples < 2^31, batch ≥ 1, 0 ≤ step < 2^31");
  EXPECT_EQ(
      text_of([&] { smooth_rows_by_sampling(relu, x, sigma, {.batch = 0}); }),
      "smooth_rows_by_sampling: samples 1024, batch 0, step 0; need 1 ≤ samples < 2^31, batch ≥ 1, 0 ≤ step < 2^31");
  EXPECT_EQ(text_of([&] { smooth_by_sampling(relu, x, sigma, {.samples = 2}); }),
            "smooth_by_sampling: samples 2 are one independent group; a standard error needs two");
  EXPECT_EQ(text_of([&] { smooth_by_sampling(relu, cast(x, DType::i32), sigma); }),
            "smooth_by_sampling: x is i32; needs f32 or f64");
  EXPECT_EQ(text_of([&] { smooth_by_sampling([](const Tensor& v) { return greater(v, v); }, x, sigma); }),
            "smooth_by_sampling: f gives u8; needs f32 or f64");
  EXPECT_EQ(text_of([&] { smooth_by_sampling([](const Tensor&) { return Tensor(); }, x, sigma); }),
            "smooth_by_sampling: f gives an empty tensor; needs values");
  EXPECT_EQ(text_of([&] { smooth_rows_by_sampling([](const Tensor& v) { return sum(v); }, x, sigma); }),
            "smooth_rows_by_sampling: f gives [] for [64]; needs a row for each");
  EXPECT_EQ(text_of([&] { smooth_rows_by_sampling(relu, sum(x), sigma); }),
            "smooth_rows_by_sampling: x is []; needs [N, …] of 1 to 2^20 − 1 rows");
  int64_t calls = 0;
  EXPECT_EQ(text_of([&] { smooth_by_sampling([&](const Tensor&) { return zeros({++calls}); }, x, sigma); }),
            "smooth_by_sampling: f gives [2] after [1]; needs one shape");
  EXPECT_EQ(text_of([&] { sampled(nullptr, {}); }), "sampled: an empty loss given; needs a function of the weights");
  EXPECT_THROW(sampled([](const Tensor& v) { return sum(v); }, {.step = -1}), ValueError);
  EXPECT_THROW(smooth_by_sampling(relu, x, Sigma::stddev(optim::constant(1))), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
