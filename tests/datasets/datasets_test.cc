#include "files.h"

#include <mollify/datasets/datasets.h>
#include <mollify/engine/cpu/threads.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace mollify::datasets {
namespace {

Dataset numbered(int64_t count) {
  Dataset out{.name = "numbered", .height = 1, .width = 2, .channels = 1, .classes = 3};
  Bytes pixels;
  for (int64_t i = 0; i < count; ++i) {
    pixels.insert(pixels.end(), {static_cast<uint8_t>(i), static_cast<uint8_t>(i + 1)});
    out.labels.push_back(static_cast<int32_t>(i % 3));
  }
  out.images = in_memory(std::move(pixels), 2);
  return out;
}

std::vector<int> first_pixels(const Dataset& dataset) {
  std::vector<int> out;
  for (int64_t i = 0; i < dataset.size(); ++i) out.push_back(dataset.image(i)[0]);
  return out;
}

TEST(Dataset, TakeCopiesARange) {
  const Dataset all = numbered(10), some = take(all, 3, 4);
  EXPECT_EQ(first_pixels(some), (std::vector<int>{3, 4, 5, 6}));
  EXPECT_EQ(some.labels, (std::vector<int32_t>{0, 1, 2, 0}));
  EXPECT_EQ(take(all, 10, 0).size(), 0);
  EXPECT_THROW(take(all, 8, 3), ValueError);
  EXPECT_THROW(take(all, -1, 3), ValueError);
  EXPECT_THROW(take(all, 11, 0), ValueError);
}

TEST(Dataset, SplitHoldsOutBySeed) {
  const Dataset all = numbered(100);
  const Splits halves = split(all, 30, 7), same = split(all, 30, 7), other = split(all, 30, 8);
  check("test", halves.train);
  check("test", halves.test);
  EXPECT_EQ(halves.test.size(), 30);
  EXPECT_EQ(all_pixels(halves.test), all_pixels(same.test));
  EXPECT_NE(all_pixels(halves.test), all_pixels(other.test));
  std::vector<int> united = first_pixels(halves.train), held = first_pixels(halves.test);
  EXPECT_TRUE(std::is_sorted(united.begin(), united.end()));
  EXPECT_FALSE(std::is_sorted(held.begin(), held.end()));
  united.insert(united.end(), held.begin(), held.end());
  std::sort(united.begin(), united.end());
  EXPECT_EQ(united, first_pixels(all));
  EXPECT_THROW(split(all, 101, 0), ValueError);
}

TEST(Dataset, CheckFindsWhatDoesNotFit) {
  Dataset dataset = numbered(4);
  dataset.labels[2] = 3;
  expect_error<ValueError>([&] { check("test", dataset); }, {"test: label 3; needs 0 to 2"});
  dataset = numbered(4);
  dataset.images = in_memory(Bytes(6), 2);
  expect_error<ValueError>([&] { check("test", dataset); }, {"test: a dataset of 4 labels and 3 images of 2 bytes"});
  expect_error<ValueError>([&] { make_batch(dataset, std::vector<int32_t>{0}); },
                           {"make_batch: a dataset of 4 labels"});
  dataset.images = in_memory(Bytes(12), 3);
  expect_error<ValueError>([&] { check("test", dataset); }, {"4 images of 3 bytes; needs as many, of 2 bytes"});
  dataset.images = {};
  expect_error<ValueError>([&] { check("test", dataset); }, {"4 labels and 0 images"});
  expect_error<ValueError>([] { in_memory(Bytes(7), 2); }, {"in_memory: 7 bytes in images of 2"});
  expect_error<ValueError>([] { numbered(4).image(4); }, {"image 4 of numbered; needs 0 to 3"});
  expect_error<ValueError>([] { chosen(numbered(4).images, {1, 4}); }, {"chosen: image 4; needs 0 to 3"});
}

TEST(Digits, AreAFunctionOfTheirArguments) {
  const Dataset once = digits(200, 5, Split::train);
  const int before = num_threads();
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    const Dataset again = digits(200, 5, Split::train);
    EXPECT_EQ(all_pixels(again), all_pixels(once));
    EXPECT_EQ(again.labels, once.labels);
  }
  set_num_threads(before);
  const Dataset later = digits(50, 5, Split::train, 100);
  EXPECT_EQ(all_pixels(later), all_pixels(take(once, 100, 50)));
  EXPECT_EQ(later.labels, take(once, 100, 50).labels);
  std::vector<uint8_t> one(kDigitExtent * kDigitExtent);
  EXPECT_EQ(draw_digit(5, Split::train, 123, std::span<uint8_t, kDigitExtent * kDigitExtent>(one)), once.labels[123]);
  EXPECT_EQ(one, once.image(123));
}

// The pixels themselves: a change of how digits are drawn shows here, and changes what every run on them gives.
TEST(Digits, AreDrawnAsTheyAlwaysWere) {
  uint64_t sum = 0xcbf29ce484222325;  // FNV-1a
  for (Split split : {Split::train, Split::test})
    for (const uint8_t pixel : all_pixels(digits(100, 3, split))) sum = (sum ^ pixel) * 0x100000001b3;
  EXPECT_EQ(sum, 18360532750067609700u);
}

TEST(Digits, DifferBySeedSplitAndIndex) {
  std::set<std::vector<uint8_t>> images;
  for (uint64_t seed : {0, 1})
    for (Split split : {Split::train, Split::test}) {
      const Dataset dataset = digits(100, seed, split);
      for (int64_t i = 0; i < 100; ++i) images.insert(dataset.image(i));
    }
  EXPECT_EQ(images.size(), 400u);
  EXPECT_NE(digits(100, 0, Split::train).labels, digits(100, 0, Split::test).labels);
}

TEST(Digits, AreBalancedAndVisible) {
  const Dataset dataset = digits(2000, 0, Split::test);
  check("test", dataset);
  std::vector<int> counts(10);
  for (int32_t label : dataset.labels) ++counts[label];
  EXPECT_EQ(counts, std::vector<int>(10, 200));
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const Bytes image = dataset.image(i);
    const int64_t dark = std::count_if(image.begin(), image.end(), [](uint8_t pixel) { return pixel > 100; });
    ASSERT_GE(dark, 8) << i;
    ASSERT_LE(dark, 420) << i;
  }
  EXPECT_EQ(digits(0, 0, Split::test).size(), 0);
  EXPECT_THROW(digits(-1, 0, Split::test), ValueError);
  EXPECT_THROW(digits(1, 0, Split::test, int64_t{1} << 40), ValueError);
}

// A nearest-mean classifier of raw pixels is far better than chance and far from perfect.
TEST(Digits, AreLearnableButNotTrivial) {
  const Dataset train = digits(5000, 0, Split::train), test = digits(1000, 0, Split::test);
  std::vector<double> means(10 * train.image_size());
  for (int64_t i = 0; i < train.size(); ++i) {
    const Bytes image = train.image(i);
    for (int64_t j = 0; j < train.image_size(); ++j)
      means[train.labels[i] * train.image_size() + j] += image[j] / 500.0;
  }
  int right = 0;
  for (int64_t i = 0; i < test.size(); ++i) {
    double distances[10] = {};
    const Bytes image = test.image(i);
    for (int digit = 0; digit < 10; ++digit)
      for (int64_t j = 0; j < test.image_size(); ++j)
        distances[digit] += std::pow(means[digit * test.image_size() + j] - image[j], 2);
    right += std::min_element(distances, distances + 10) - distances == test.labels[i];
  }
  EXPECT_GT(right, 600);
  EXPECT_LT(right, 900);
}

TEST(NoiseTest, InputNoiseHasItsMoments) {
  const Noise noise{.input_deviation = 0.5, .seed = 3};
  constexpr int64_t images = 500, size = 783;  // no multiple of four
  double sum = 0, squares = 0, cubes = 0, neighbours = 0;
  for (int64_t index = 0; index < images; ++index) {
    std::vector<float> image(size, 0.25f);
    add_noise(noise, index, image);
    for (int64_t j = 0; j < size; ++j) {
      const double z = (image[j] - 0.25) / 0.5;
      sum += z, squares += z * z, cubes += z * z * z;
      if (j > 0) neighbours += z * (image[j - 1] - 0.25) / 0.5;
    }
  }
  // Standard errors of the means of z, z², z³ and z z': 1, √2, √15 and 1 over √n.
  const double n = images * size, unit = 4 / std::sqrt(n);
  EXPECT_NEAR(sum / n, 0, unit);
  EXPECT_NEAR(squares / n, 1, unit * std::sqrt(2));
  EXPECT_NEAR(cubes / n, 0, unit * std::sqrt(15));
  EXPECT_NEAR(neighbours / n, 0, unit);
}

TEST(NoiseTest, LabelsAreReplacedAtTheirShare) {
  constexpr int64_t count = 50000;
  for (double share : {0.0, 0.1, 0.4, 1.0}) {
    int64_t changed = 0;
    std::vector<int64_t> counts(10);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t label = noisy_label({.label_share = share, .seed = 2}, i, 3, 10);
      changed += label != 3;
      ++counts[label];
    }
    EXPECT_NEAR(static_cast<double>(changed) / count, share, 4 * std::sqrt(share * (1 - share) / count)) << share;
    for (int label = 0; label < 10; ++label)
      if (label != 3) {
        EXPECT_NEAR(static_cast<double>(counts[label]) / count, share / 9,
                    4 * std::sqrt(share / 9 * (1 - share / 9) / count))
            << share;
      }
  }
}

TEST(Augment, MovesPixelsExactly) {
  const std::vector<float> image{1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60};  // 2 rows, 3 columns, 2 channels
  const auto moved = [&](Move move) {
    std::vector<float> out(12, -1);
    apply_move(move, 2, 3, 2, image.data(), out.data());
    return out;
  };
  EXPECT_EQ(moved({}), image);
  EXPECT_EQ(moved({.flip = true}), (std::vector<float>{3, 30, 2, 20, 1, 10, 6, 60, 5, 50, 4, 40}));
  EXPECT_EQ(moved({.row_shift = 1, .column_shift = -1}), (std::vector<float>{0, 0, 4, 40, 5, 50, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(moved({.row_shift = 1, .column_shift = -1, .flip = true}),
            (std::vector<float>{5, 50, 4, 40, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(moved({.row_shift = -2}), std::vector<float>(12, 0));
}

TEST(Augment, DrawsEveryMoveEquallyOften) {
  const Augmentation augmentation{.padding = 1, .flip = true};
  std::vector<int64_t> counts(18);
  constexpr int64_t count = 36000;
  for (int64_t index = 0; index < count; ++index) {
    const Move move = draw_move(augmentation, 1, index % 4, index / 4);
    ++counts[((move.row_shift + 1) * 3 + move.column_shift + 1) * 2 + move.flip];
  }
  for (int64_t n : counts) EXPECT_NEAR(n, count / 18.0, 4 * std::sqrt(count / 18.0));
  EXPECT_THROW(draw_move({.padding = -1}, 0, 0, 0), ValueError);
  EXPECT_THROW(draw_move({}, 0, -1, 0), ValueError);
}

}  // namespace
}  // namespace mollify::datasets
