// The critical batch of a quadratic against its exact relation to C².
#include <mollify/smoothing/critical_batch.h>

#include "../errors.h"

#include <mollify/engine/ops.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr int64_t kDimensions = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ½L‖x‖² with normal noise of total variance C²/b.
struct Bowl {
  double l, c2;

  Minibatch minibatch(uint64_t seed) const {
    return [*this, seed](const Tensor& x, int64_t batch, int64_t number) {
      const RandomKey key{
          seed, stream_of(Purpose::caller, static_cast<uint64_t>(batch) << 32 | static_cast<uint64_t>(number))};
      const Tensor z = normal({kDimensions}, key, Tensor::scalar(0, DType::i32), DType::f64);
      return x * l + z * std::sqrt(c2 / static_cast<double>(batch) / static_cast<double>(kDimensions));
    };
  }
  std::function<Tensor(const Tensor&)> full() const {
    return [l = l](const Tensor& x) { return x * l; };
  }
  CriticalBatch search(const CriticalBatchSearch& how, double start = 5, uint64_t seed = 1) const {
    const Tensor x = full_start(start);
    return critical_batch(x, minibatch(seed), full(), how);
  }
  static Tensor full_start(double length) {
    return mollify::full({kDimensions}, length / std::sqrt(static_cast<double>(kDimensions)), DType::f64);
  }
};

TEST(CriticalBatch, OfABowlIsItsExactRelationToTheNoise) {
  for (const auto& [l, c2, rate, epsilon] :
       {std::array{1.0, 40.0, 0.1, 0.5}, {4.0, 40.0, 0.2, 1.0}, {0.5, 9.0, 0.3, 0.3}}) {
    const CriticalBatch found = Bowl{l, c2}.search({.batches = {1, 2, 4, 8, 16, 32, 64, 128, 256},
                                                    .learning_rate = rate,
                                                    .epsilon = epsilon,
                                                    .most_steps = 20000});
    const double exact = c2 * 2 * l / (2 - l * rate);
    EXPECT_EQ(found.bound, static_cast<double>(found.batch) * epsilon * epsilon / rate);
    EXPECT_GE(found.bound, exact / 2) << l;
    EXPECT_LE(found.bound, exact * 2) << l;
    // T(b) = C₁b/(ε²b − C₂) with C₁ = Σ(1 − Lη)^2t·‖∇f(x_0)‖², and never where that is below 0.
    const double least = l * rate * c2 / (2 - l * rate) / (epsilon * epsilon),
                 first = l * 5 * l * 5 / (l * rate * (2 - l * rate));
    for (const CriticalBatch::Run& run : found.runs) {
      const double b = static_cast<double>(run.batch);
      if (b < 0.8 * least) { EXPECT_EQ(run.steps, kInfinity) << b; }
      if (b > 2 * least) {
        EXPECT_NEAR(run.steps, first * b / (epsilon * epsilon * (b - least)), 0.25 * run.steps) << b;
      }
    }
  }
}

TEST(CriticalBatch, SaysWhereItsLastRunEnded) {
  const Bowl bowl{1, 40};
  CriticalBatchSearch how{.batches = {64}, .learning_rate = 0.1, .epsilon = 0.5, .most_steps = 3000, .repeats = 2};
  const CriticalBatch found = bowl.search(how);
  const Minibatch minibatch = bowl.minibatch(1);
  Tensor x = Bowl::full_start(5);
  double sum = 0;
  int64_t step = 0;
  while ((sum += sum_of_squares(x).item()) > 0.25 * static_cast<double>(step + 1))
    x = x - minibatch(x, 64, 3000 + step++) * 0.1;
  EXPECT_LT(max(abs(found.end - x)).item(), 1e-12);
}

TEST(CriticalBatch, ByThePublishedStopIsManyTimesTheNoise) {
  const Bowl bowl{1, 40};
  CriticalBatchSearch how{
      .batches = {8, 16, 32, 64, 128, 256, 512, 1024, 2048}, .learning_rate = 0.1, .epsilon = 0.5, .most_steps = 5000};
  how.stop = CriticalBatchSearch::Stop::minibatches;
  const CriticalBatch published = bowl.search(how);
  EXPECT_GE(published.bound, 9 * 40);
  for (const CriticalBatch::Run& run : published.runs)
    if (static_cast<double>(run.batch) < 40 / 0.25) { EXPECT_EQ(run.steps, kInfinity); }
}

TEST(CriticalBatch, AveragesRunsAndSaysWhereNoneEnds) {
  const Bowl bowl{1, 40};
  CriticalBatchSearch how{.batches = {32}, .learning_rate = 0.1, .epsilon = 0.5, .most_steps = 3000};
  const double one = bowl.search(how).runs[0].steps;
  how.repeats = 2;
  const double two = bowl.search(how).runs[0].steps;
  EXPECT_NE(one, two);
  EXPECT_NEAR(two, one, 0.3 * one);
  how.most_steps = 20;
  const CriticalBatch none = bowl.search(how);
  EXPECT_EQ(none.batch, 0);
  EXPECT_EQ(none.bound, 0);
  EXPECT_EQ(none.runs[0].steps, kInfinity);
  how.learning_rate = 30;  // diverges
  EXPECT_EQ(bowl.search(how).batch, 0);
}

TEST(CriticalBatch, RefusesNumbersOutOfRange) {
  const Bowl bowl{1, 1};
  const CriticalBatchSearch good{.batches = {1}, .learning_rate = 0.1, .epsilon = 1};
  for (const auto& [change, text] : std::vector<std::pair<std::function<void(CriticalBatchSearch&)>, const char*>>{
           {[](auto& how) { how.batches = {}; }, "0 batches"},
           {[](auto& how) {
              how.batches = {4, 0};
            },
            "batches from 1 on"},
           {[](auto& how) { how.learning_rate = 0; }, "critical_batch: learning rate 0"},
           {[](auto& how) { how.epsilon = -1; }, "epsilon -1"},
           {[](auto& how) { how.repeats = 0; }, "0 repeats"}}) {
    CriticalBatchSearch how = good;
    change(how);
    expect_names(text_of<ValueError>([&] { bowl.search(how); }), text);
  }
}

}  // namespace
}  // namespace mollify::smoothing
