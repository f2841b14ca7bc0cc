// Sums that one chain of f32 additions gets wrong, in every operation that adds up: of more ones than f32 can count one
// by one, or of millions of tenths. And rows that are large or infinite.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace mollify {
namespace {

constexpr int64_t kRows = (1 << 12) + 4, kColumns = 1 << 12, kCount = kRows * kColumns;  // 2^24 + 2^14
constexpr double kRelativeError = 5000 / static_cast<double>(1 << 24);  // that is promised for so many terms
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Pool2d whole(int64_t height, int64_t width) {
  return {.kernel_height = height, .kernel_width = width, .stride_height = height, .stride_width = width};
}

Tensor constant(const Shape& shape, float value) { return full(shape, value); }

struct LongSum {
  const char* name;
  std::function<Tensor()> run;
  double expected;
};

// w's gradient of a convolution 1 × 1 of tenths [N, H, W, C], of the sum of its outputs.
Tensor weight_gradient(const Shape& x, int64_t filters, int64_t groups = 1) {
  return conv2d_weight_gradient(ones({x[0], x[1], x[2], filters}), constant(x, 0.1f), 1, 1, {.groups = groups});
}

const LongSum kLongSums[] = {
    {"sum", [] { return sum(ones({kCount})); }, kCount},
    {"sum_of_columns",
     [] {
       return sum(ones({kCount, 2}), {0});
     },
     kCount},
    {"sum_to",
     [] {
       return sum_to(ones({kCount, 1}), {1});
     },
     kCount},
    {"mean", [] { return mean(ones({kCount})); }, 1},
    {"sum_of_squares", [] { return sum_of_squares(ones({kCount})); }, kCount},
    {"cumsum", [] { return slice(cumsum(ones({kCount}), 0), 0, kCount - 1, kCount); }, kCount},
    {"logsumexp", [] { return exp(logsumexp(zeros({kCount})) - std::log(kCount)); }, 1},
    {"matmul",
     [] {
       return matmul(ones({1, kCount}), ones({kCount, 1}));
     },
     kCount},
    {"matmul_of_transposed",
     [] {
       return matmul(transpose(ones({kCount, 1})), ones({kCount, 1}));
     },
     kCount},
    {"dense",
     [] {
       return dense(ones({1, kCount}), ones({1, kCount}), ones({1})) - 1.0;
     },
     kCount},
    {"dense_weight_gradient",
     [] {
       return grad([](const Tensor& w) { return sum(dense(ones({kCount, 1}), w, Tensor())); })(ones({1, 1}));
     },
     kCount},
    {"conv2d_weight_gradient",
     [] {
       return weight_gradient({2, kRows, kColumns / 4, 2}, 1);
     },
     0.1 * kCount / 2},
    {"conv2d_weight_gradient_of_many_channels",
     [] {
       return weight_gradient({1, kRows, kColumns / 4, 8}, 4);
     },
     0.1 * kCount / 4},
    {"conv2d_weight_gradient_of_few_filters",
     [] {
       return weight_gradient({kRows * 64, 4, 4, 1}, 1);
     },
     0.1 * kRows * 1024},
    {"conv2d_weight_gradient_depthwise",
     [] {
       return weight_gradient({1, kRows, kColumns / 2, 2}, 2, 2);
     },
     0.1 * kCount / 2},
    {"average_pool2d",
     [] {
       return average_pool2d(constant({1, kRows, kColumns, 1}, 0.1f), whole(kRows, kColumns));
     },
     0.1},
    {"average_pool2d_of_a_column",
     [] {
       return average_pool2d(constant({1, kCount, 1, 1}, 0.1f), whole(kCount, 1));
     },
     0.1},
    {"average_pool2d_of_a_row",
     [] {
       return average_pool2d(constant({1, 1, kCount, 1}, 0.1f), whole(1, kCount));
     },
     0.1},
    {"scatter_add", [] { return scatter_add({1}, zeros({kCount}, DType::i32), ones({kCount})); }, kCount},
    {"take_gradient",
     [] { return grad([](const Tensor& x) { return sum(take(x, zeros({kCount}, DType::i32), 0)); })(ones({1})); },
     kCount},
    {"batch_norm_mean",
     [] {
       return batch_norm(constant({kCount, 1}, 0.1f), ones({1}), zeros({1})).mean;
     },
     0.1},
    {"batch_norm_shift_gradient",
     [] {
       return grad([](const Tensor& b) { return sum(batch_norm(ones({kCount, 1}), ones({1}), b).output); })(zeros({1}));
     },
     kCount},
};

class LongSums : public testing::TestWithParam<LongSum> {};

TEST_P(LongSums, AreWithinTheirBound) {
  for (const double got : cast(GetParam().run(), DType::f64).to_vector<double>())
    EXPECT_NEAR(got, GetParam().expected, kRelativeError * GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(All, LongSums, testing::ValuesIn(kLongSums),
                         [](const auto& info) { return std::string(info.param.name); });

std::vector<float> values(const Tensor& x) { return x.to_vector<float>(); }

TEST(BatchNormVariance, IsThatOfTheSpreadWhateverTheMean) {
  const auto variance = [](const Tensor& x) {
    return static_cast<double>(batch_norm(x, ones({1}), zeros({1})).variance.item());
  };
  EXPECT_EQ(variance(full({1000, 1}, 1e7)), 0);
  constexpr int64_t kMany = 1 << 20;
  const Tensor ramp = reshape(arange(kMany), {kMany, 1}) * (1.0 / kMany) + 1e4;
  EXPECT_NEAR(variance(ramp), 1.0 / 12, 1e-5);
}

TEST(Softmax, IsRelativeToTheLargestLogit) {
  for (const double large : {1e8, -1e8, 3e38}) {
    const Tensor logits = full({1, 2}, large), labels = Tensor::from(std::vector<int32_t>{1}, {1});
    EXPECT_NEAR(values(log_softmax(logits))[0], -std::log(2.0), 1e-6) << large;
    EXPECT_NEAR(values(softmax(logits))[1], 0.5, 1e-6) << large;
    EXPECT_NEAR(values(cross_entropy(logits, labels))[0], std::log(2.0), 1e-6) << large;
    const Tensor slope = grad([&](const Tensor& x) { return sum(cross_entropy(x, labels)); })(logits);
    EXPECT_NEAR(values(slope)[0], 0.5, 1e-6) << large;
    EXPECT_NEAR(values(slope)[1], -0.5, 1e-6) << large;
    EXPECT_NEAR(values(grad([](const Tensor& x) { return sum(logsumexp(x)); })(logits))[0], 0.5, 1e-6) << large;
  }
}

TEST(Softmax, OfNothingButMinusInfinityIsZero) {
  const Tensor logits = full({1, 3}, -kInfinity), labels = Tensor::from(std::vector<int32_t>{1}, {1});
  EXPECT_EQ(values(logsumexp(logits))[0], -kInfinity);
  for (const float slope : values(grad([](const Tensor& x) { return sum(logsumexp(x)); })(logits))) EXPECT_EQ(slope, 0);
  for (const float share : values(softmax(logits))) EXPECT_EQ(share, 0);
  for (const float slope : values(grad([](const Tensor& x) { return sum(square(softmax(x))); })(logits)))
    EXPECT_EQ(slope, 0);
  EXPECT_EQ(values(cross_entropy(logits, labels))[0], kInfinity);
}

// The value that an extreme starts from must not be one that numbers can lie beyond.
TEST(Extremes, OfInfinitiesAreInfinite) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const int64_t count : {1, 3, 16, 67, 5000}) {
      const Tensor low = full({count, 3}, -kInfinity, dtype);
      const auto all = [&](const Tensor& x, double expected) {
        for (const double value : cast(x, DType::f64).to_vector<double>())
          EXPECT_EQ(value, expected) << count << " of " << to_string(dtype);
      };
      all(max(low), -kInfinity);
      all(max(low, {0}), -kInfinity);
      all(max(transpose(low), {1}), -kInfinity);
      all(min(-low), kInfinity);
      all(min(-low, {0}), kInfinity);
      all(logsumexp(low, 0), -kInfinity);
      all(max_pool2d(reshape(low, {1, count, 3, 1}), whole(count, 3)), -kInfinity);
    }
}

// Without memory for so many numbers: the shape is refused before anything is laid out.
TEST(Indices, BeyondI32AreRefused) {
  const Tensor x = expand(ones({1}), {int64_t{1} << 31});
  EXPECT_THROW(argmax(x), ShapeError);
  EXPECT_THROW(sort(x), ShapeError);
  EXPECT_THROW(top_k(x, 1), ShapeError);
  EXPECT_THROW(max_pool2d(expand(ones({1, 1, 1, 1}), {1, int64_t{1} << 16, int64_t{1} << 15, 1})), ShapeError);
}

}  // namespace
}  // namespace mollify
