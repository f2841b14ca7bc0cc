#include "files.h"

#include <mollify/datasets/augment.h>
#include <mollify/datasets/resize.h>

#include <algorithm>
#include <cmath>

namespace mollify::datasets {
namespace {

struct Extents {
  int64_t height, width;
};

Bytes view_of(const Bytes& image, const Extents& extents, const View& view, int64_t size) {
  Bytes out(static_cast<size_t>(size * size * 3));
  resize(view, extents.height, extents.width, image, size, out);
  return out;
}

double triangle(const Axis& axis, int64_t i, int64_t j) {
  const double centre = axis.begin + (static_cast<double>(i) + 0.5) * axis.step;
  return std::max(0.0, 1 - std::abs(static_cast<double>(j) + 0.5 - centre) / std::max(1.0, axis.step));
}

// The definition: a mean over all pixels of the image.
double mean_around(const Bytes& image, const Extents& extents, const View& view, int64_t i, int64_t k,
                   int64_t channel) {
  double sum = 0, weights = 0;
  for (int64_t row = 0; row < extents.height; ++row)
    for (int64_t column = 0; column < extents.width; ++column) {
      const double weight = triangle(view.rows, i, row) * triangle(view.columns, k, column);
      sum += weight * image[static_cast<size_t>((row * extents.width + column) * 3 + channel)];
      weights += weight;
    }
  return sum / weights;
}

void expect_by_definition(const Extents& extents, const View& view, int64_t size) {
  const Bytes image = random_bytes(static_cast<size_t>(extents.height * extents.width * 3), 7),
              out = view_of(image, extents, view, size);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t k = 0; k < size; ++k)
      for (int64_t channel = 0; channel < 3; ++channel)
        ASSERT_NEAR(out[static_cast<size_t>((i * size + k) * 3 + channel)],
                    mean_around(image, extents, view, i, k, channel), 0.501)
            << extents.height << " by " << extents.width << " to " << size << ", pixel " << i << ", " << k;
}

TEST(Resize, IsTheMeanByTriangles) {
  for (const auto& [height, width, size] :
       {std::array<int64_t, 3>{40, 40, 6}, {23, 57, 8}, {57, 23, 8}, {5, 9, 12}, {1, 1, 5}, {16, 16, 14}, {1, 60, 4}})
    expect_by_definition({height, width}, centre_view(height, width, size), size);
  expect_by_definition({30, 20}, region_view({3, 5, 17, 11}, 7), 7);
  expect_by_definition({30, 20}, region_view({0, 0, 30, 20}, 33), 33);
  expect_by_definition({30, 20}, region_view({29, 19, 1, 1}, 4), 4);
  expect_by_definition({30, 20}, {{0.3, 2.7}, {1.1, 1.9}}, 9);
}

TEST(Resize, KeepsWhatIsConstant) {
  for (const uint8_t value : {0, 1, 127, 254, 255})
    for (int64_t extent = 1; extent < 60; extent += 3)
      EXPECT_EQ(
          view_of(Bytes(static_cast<size_t>(extent * 41 * 3), value), {extent, 41}, centre_view(extent, 41, 16), 16),
          Bytes(16 * 16 * 3, value))
          << extent;
}

// Five pixels to one: the middle one's value, but for the ends, where weights are missing on one side.
TEST(Resize, KeepsRamps) {
  Bytes image;
  for (int row = 0; row < 200; ++row)
    for (int column = 0; column < 200; ++column)
      for (const int value : {column, row, 17}) image.push_back(static_cast<uint8_t>(value));
  const Bytes out = view_of(image, {200, 200}, {{0, 5}, {0, 5}}, 40);
  for (size_t row = 1; row < 39; ++row)
    for (size_t column = 1; column < 39; ++column) {
      EXPECT_EQ(out[(row * 40 + column) * 3], 5 * column + 2);
      EXPECT_EQ(out[(row * 40 + column) * 3 + 1], 5 * row + 2);
    }
}

TEST(Resize, AViewOfTheImagesExtentsIsTheImage) {
  const Bytes image = random_bytes(64 * 64 * 3, 2);
  EXPECT_EQ(view_of(image, {64, 64}, centre_view(64, 64, 64), 64), image);
}

// The extents and offsets that torchvision's Resize(256) and CenterCrop(224) have.
TEST(Resize, CutsOutTheMiddle) {
  const View wide = centre_view(375, 500, 224);
  EXPECT_DOUBLE_EQ(wide.rows.step, 375.0 / 256);
  EXPECT_DOUBLE_EQ(wide.rows.begin, 16 * 375.0 / 256);
  EXPECT_DOUBLE_EQ(wide.columns.step, 500.0 / 341);
  EXPECT_DOUBLE_EQ(wide.columns.begin, 58 * 500.0 / 341);  // 58.5 to the even number
  const View high = centre_view(500, 373, 224);
  EXPECT_DOUBLE_EQ(high.rows.step, 500.0 / 343);
  EXPECT_DOUBLE_EQ(high.rows.begin, 60 * 500.0 / 343);  // 59.5
  EXPECT_DOUBLE_EQ(high.columns.step, 373.0 / 256);
  const View small = centre_view(37, 37, 32);
  EXPECT_DOUBLE_EQ(small.rows.step, 1);
  EXPECT_DOUBLE_EQ(small.rows.begin, 2);  // 2.5
}

Region drawn(int64_t height, int64_t width, uint64_t seed) {
  return draw_region(height, width, RandomSequence({seed, 0}));
}

TEST(Region, FollowsTheRuleOfResizedCrops) {
  double least = 1, most = 0, shares = 0, logarithms = 0;
  constexpr int kDraws = 2000;
  int64_t first_row = 1000, last_row = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Region r = drawn(1000, 1000, static_cast<uint64_t>(i));
    ASSERT_TRUE(r.row >= 0 && r.column >= 0 && r.row + r.height <= 1000 && r.column + r.width <= 1000);
    const double share = static_cast<double>(r.height * r.width) / 1e6,
                 ratio = static_cast<double>(r.width) / static_cast<double>(r.height);
    least = std::min(least, share);
    most = std::max(most, share);
    shares += share;
    logarithms += std::log(ratio);
    first_row = std::min(first_row, r.row);
    last_row = std::max(last_row, r.row + r.height);
    ASSERT_TRUE(ratio > 0.745 && ratio < 1.343) << ratio;
  }
  EXPECT_GE(least, 0.0795);
  EXPECT_LT(least, 0.09);
  EXPECT_GT(most, 0.9);
  EXPECT_LE(most, 1);
  EXPECT_EQ(first_row, 0);
  EXPECT_EQ(last_row, 1000);
  EXPECT_NEAR(logarithms / kDraws, 0, 4 * std::log(4.0 / 3) / std::sqrt(3.0 * kDraws));
  EXPECT_TRUE(shares / kDraws > 0.4 && shares / kDraws < 0.54) << "areas near the whole are refused for most ratios";
}

TEST(Region, IsAFunctionOfItsRandomNumbers) {
  const Region a = drawn(300, 400, 1), b = drawn(300, 400, 1), c = drawn(300, 400, 2);
  EXPECT_TRUE(a.row == b.row && a.column == b.column && a.height == b.height && a.width == b.width);
  EXPECT_FALSE(a.row == c.row && a.column == c.column && a.height == c.height && a.width == c.width);
}

TEST(Region, IsTheMiddleOfImagesTooLongForTheRatios) {
  const Region wide = drawn(10, 1000, 1), high = drawn(1000, 10, 1), dot = drawn(1, 1, 1);
  EXPECT_TRUE(wide.row == 0 && wide.height == 10 && wide.width == 13 && wide.column == 493);
  EXPECT_TRUE(high.column == 0 && high.width == 10 && high.height == 13 && high.row == 493);
  EXPECT_TRUE(dot.row == 0 && dot.column == 0 && dot.height == 1 && dot.width == 1);
}

}  // namespace
}  // namespace mollify::datasets
