// Random numbers: the generator's known answers, its packing into tensors, and the distributions.
#include <mollify/engine/ops.h>
#include <mollify/engine/random.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/network.h>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>

namespace mollify {
namespace {

Tensor step(int value) { return Tensor::scalar(value, DType::i32); }

// Counter and key in the order of the distribution's files.
void expect_words(const uint32_t (&counter)[4], const uint32_t (&key)[2], const uint32_t (&expected)[4]) {
  const RandomKey packed{uint64_t{key[1]} << 32 | key[0], uint64_t{counter[3]} << 32 | counter[2]};
  const RandomWords words = random_words(packed, counter[1], counter[0]);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(words.word[i], expected[i]) << "word " << i;
}

// Random123's kat_vectors (Salmon et al.), philox4x32 with 10 rounds.
TEST(Philox, GivesTheKnownAnswers) {
  expect_words({0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect_words({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
               {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_words({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

void on_every_target(const std::function<void()>& f) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    f();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

const RandomKey kKey{0x0123456789abcdef, 0xfedcba9876543210};

TEST(Uniform, IsExactlyTheWordsOnEveryTarget) {
  on_every_target([] {
    for (const int64_t count : {1, 3, 4, 31, 64, 129, 20011}) {
      const std::vector<float> singles = uniform({count}, kKey, step(-5)).to_vector<float>();
      const std::vector<double> doubles = uniform({count}, kKey, step(-5), DType::f64).to_vector<double>();
      for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<size_t>(i);
        ASSERT_EQ(singles[at],
                  uniform_f32(random_words(kKey, static_cast<uint32_t>(-5), static_cast<uint32_t>(i / 4)).word[i % 4]))
            << i;
        const RandomWords pair = random_words(kKey, static_cast<uint32_t>(-5), static_cast<uint32_t>(i / 2));
        ASSERT_EQ(doubles[at], uniform_f64(pair.word[i % 2 * 2], pair.word[i % 2 * 2 + 1])) << i;
      }
    }
  });
}

TEST(Uniform, StaysInsideTheInterval) {
  EXPECT_EQ(uniform_f32(0), 0x1p-24f);
  EXPECT_EQ(uniform_f32(0xffffffff), 1 - 0x1p-24f);
  EXPECT_EQ(uniform_f64(0, 0), 0x1p-53);
  EXPECT_EQ(uniform_f64(0xffffffff, 0xffffffff), 1 - 0x1p-53);
}

TEST(RandomSequence, GivesTheTensorsNumbers) {
  RandomSequence sequence(kKey, 7);
  for (const double x : uniform({101}, kKey, step(7), DType::f64).to_vector<double>()) ASSERT_EQ(sequence.uniform(), x);
}

TEST(RandomSequence, BelowIsUniform) {
  RandomSequence sequence({3, 4});
  int counts[6] = {};
  constexpr int kDraws = 60000;
  for (int i = 0; i < kDraws; ++i) ++counts[sequence.below(6)];
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 6.0, 4 * std::sqrt(kDraws * 5 / 36.0));
  EXPECT_EQ(sequence.below(1), 0u);
}

// A row is what a single draw with the row's stream gives, so it depends neither on the batch nor on its place in it.
TEST(Rows, EqualSingleDraws) {
  const std::vector<int32_t> streams{5, 0, 5, 1000000};
  const Tensor list = Tensor::from(streams, {4});
  for (const DType dtype : {DType::f32, DType::f64})
    for (const int64_t width : {1, 7, 64, 9001}) {
      const Tensor uniforms = uniform_rows({4, width}, kKey, list, step(2), dtype),
                   normals = normal_rows({4, width}, kKey, list, step(2), dtype);
      for (int64_t r = 0; r < 4; ++r) {
        const RandomKey key{kKey.seed, kKey.stream + static_cast<uint64_t>(streams[static_cast<size_t>(r)])};
        const auto same = [&](const Tensor& rows, const Tensor& single) {
          return sum(cast(not_equal(reshape(slice(rows, 0, r, r + 1), {width}), single), DType::f64)).item() == 0;
        };
        EXPECT_TRUE(same(uniforms, uniform({width}, key, step(2), dtype))) << "row " << r << " of " << width;
        EXPECT_TRUE(same(normals, normal({width}, key, step(2), dtype))) << "row " << r << " of " << width;
      }
    }
  EXPECT_THROW(uniform_rows({1, 2}, kKey, Tensor::from(std::vector<int32_t>{-1}, {1}), step(0)), ValueError);
  EXPECT_THROW(uniform_rows({3, 2}, kKey, list, step(0)), ShapeError);
  EXPECT_THROW(uniform_rows({4, 2}, kKey, list, slice(list, 0, 0, 3)), ShapeError);
}

TEST(Draws, DependOnSeedStreamAndStep) {
  const auto draw = [](RandomKey key, int at) { return uniform({8}, key, step(at)).to_vector<float>(); };
  const auto base = draw({1, 2}, 3);
  EXPECT_EQ(draw({1, 2}, 3), base);
  EXPECT_NE(draw({2, 2}, 3), base);
  EXPECT_NE(draw({1, 3}, 3), base);
  EXPECT_NE(draw({1, 2}, 4), base);
  EXPECT_NE(draw({1 + (uint64_t{1} << 32), 2}, 3), base);
  EXPECT_NE(draw({1, 2 + (uint64_t{1} << 32)}, 3), base);
}

// The first numbers of a longer draw are the shorter draw.
TEST(Draws, ArePrefixesOfLongerOnes) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto longer = cast(normal({30000}, kKey, step(1), dtype), DType::f64).to_vector<double>();
    for (const int64_t count : {1, 5, 33, 8192, 8193}) {
      const auto shorter = cast(normal({count}, kKey, step(1), dtype), DType::f64).to_vector<double>();
      EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), longer.begin())) << count;
    }
  }
}

std::vector<double> sample(Tensor (*draw)(const Shape&, RandomKey, const Tensor&, DType, Device), int64_t count,
                           DType dtype) {
  return cast(draw({count}, {2024, 11}, step(0), dtype, Device::cpu), DType::f64).to_vector<double>();
}

// sup |F_n − F| by the sorted sample; above 1.95/√n with probability 0.001 (Kolmogorov's distribution).
double kolmogorov_smirnov(std::vector<double> values, double (*cdf)(double)) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  double distance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double f = cdf(values[i]), below = static_cast<double>(i) / n;
    distance = std::max({distance, f - below, below + 1 / n - f});
  }
  return distance * std::sqrt(n);
}

TEST(Distributions, HaveTheirShape) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    EXPECT_LT(kolmogorov_smirnov(sample(uniform, 200000, dtype), [](double x) { return x; }), 1.95);
    EXPECT_LT(
        kolmogorov_smirnov(sample(normal, 200000, dtype), [](double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }),
        1.95);
  }
}

// Moments of the standard normal: 0, 1, 0, 3; the variance of x^k is E x^2k − (E x^k)².
TEST(Distributions, NormalMoments) {
  constexpr int64_t kCount = 1000000;
  const double expected[] = {0, 1, 0, 3}, variance[] = {1, 2, 15, 96};
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<double> values = sample(normal, kCount, dtype);
    for (int k = 1; k <= 4; ++k) {
      double total = 0;
      for (const double x : values) total += std::pow(x, k);
      EXPECT_NEAR(total / kCount, expected[k - 1], 4 * std::sqrt(variance[k - 1] / kCount)) << "moment " << k;
    }
    double neighbours = 0;  // the halves of a Box–Muller pair share a radius and must still be uncorrelated
    for (size_t i = 0; i + 1 < values.size(); ++i) neighbours += values[i] * values[i + 1];
    EXPECT_NEAR(neighbours / kCount, 0, 4 / std::sqrt(static_cast<double>(kCount)));
  }
}

TEST(Dropout, DropsAtItsRateAndKeepsTheMean) {
  constexpr int64_t kCount = 200000;
  for (const double rate : {0.1, 0.5, 0.9}) {
    const std::vector<float> values = dropout(ones({kCount}), rate, {5, 6}, step(0)).to_vector<float>();
    int64_t dropped = 0;
    for (const float x : values) {
      if (x == 0) ++dropped;
      else ASSERT_NEAR(x, 1 / (1 - rate), 1e-6 / (1 - rate));
    }
    EXPECT_NEAR(static_cast<double>(dropped), rate * kCount, 4 * std::sqrt(rate * (1 - rate) * kCount));
  }
  const Tensor x = ones({3});
  EXPECT_TRUE(dropout(x, 0, {5, 6}, step(0)).same(x));
}

// Under one seed the first words of no two purposes, and of no two neighbours of one, are the same.
TEST(Purposes, ShareNoNumbers) {
  const Purpose all[] = {
      Purpose::initial_weights,   Purpose::dropout,      Purpose::svrg_anchor,  Purpose::sobol_directions,
      Purpose::shared_directions, Purpose::monte_carlo,  Purpose::attack,       Purpose::falsify,
      Purpose::landscape,         Purpose::neighbors,    Purpose::order,        Purpose::held_out,
      Purpose::input_noise,       Purpose::label_noise,  Purpose::augmentation, Purpose::digit_train,
      Purpose::digit_test,        Purpose::digit_labels, Purpose::caller};
  std::set<std::array<uint32_t, 4>> seen;
  size_t drawn = 0;
  for (const Purpose purpose : all)
    for (uint64_t index = 0; index < 64; ++index)
      for (uint32_t step = 0; step < 4; ++step) {
        const RandomWords words = random_words({7, stream_of(purpose, index)}, step, 0);
        seen.insert({words.word[0], words.word[1], words.word[2], words.word[3]});
        ++drawn;
      }
  EXPECT_EQ(seen.size(), drawn);
}

// The weights of seed 7 and dropout with the key {7, 0} once were the same numbers.
TEST(Purposes, DropoutIsIndependentOfTheInitialWeights) {
  const nn::Network dense("dense", {256}, nn::sequential(nn::dense(64))),
      dropping("drop", {256}, nn::sequential(nn::dropout(0.5)));
  const Tensor kernel = dense.weight(dense.initial_weights(nn::Initialization::kaiming_normal, 7), "dense1.weight");
  const Tensor dropped =
      dropping(zeros({0}), {}, ones({64, 256}), nn::Mode::train, {7, 0}, Tensor::scalar(0, DType::i32)).output;
  const Tensor shown = cast(not_equal(dropped, Tensor::scalar(0)), DType::f32) - 0.5;
  const double count = static_cast<double>(kernel.size()),
               correlation = sum(kernel * shown).item() / std::sqrt(sum_of_squares(kernel).item() * count / 4);
  EXPECT_LT(std::abs(correlation), 4 / std::sqrt(count));
}

}  // namespace
}  // namespace mollify
