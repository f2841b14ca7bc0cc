#include <mollify/engine/cpu/threads.h>
#include <mollify/smoothing/sobol.h>

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace mollify::smoothing {
namespace {

// How many of the 2^bits equal intervals hold a point of this dimension.
size_t occupied(const std::vector<double>& points, int64_t dimensions, int64_t dimension, int bits) {
  std::set<int64_t> intervals;
  for (size_t i = static_cast<size_t>(dimension); i < points.size(); i += static_cast<size_t>(dimensions))
    intervals.insert(static_cast<int64_t>(std::ldexp(points[i], bits)));
  return intervals.size();
}

TEST(Sobol, EveryAlignedBlockHasOnePointPerIntervalInEachDimension) {
  const int64_t dimensions = 300;
  for (const uint64_t seed : {0, 1, 2})
    for (const int bits : {1, 3, 5, 8})
      for (const int64_t block : {0, 1, 6}) {
        const int64_t count = int64_t{1} << bits;
        const auto points = sobol_points(block * count, count, dimensions, {seed, 5}, DType::f64).to_vector<double>();
        for (int64_t d = 0; d < dimensions; ++d)
          ASSERT_EQ(occupied(points, dimensions, d, bits), static_cast<size_t>(count))
              << "dimension " << d << " block " << block << " seed " << seed;
      }
}

TEST(Sobol, ThousandsOfDimensionsKeepTheirIntervals) {
  const int64_t dimensions = kSobolDimensions, count = 64;
  const auto points = sobol_points(0, count, dimensions, {9, 0}).to_vector<float>();
  const std::vector<double> wide(points.begin(), points.end());
  for (const int64_t d : {int64_t{1110}, int64_t{1111}, int64_t{9999}, dimensions - 1})
    EXPECT_EQ(occupied(wide, dimensions, d, 6), 64u) << d;
}

// Property A of Sobol: with d dimensions each of 2^d points in turn is alone in its orthant of the cube. Joe & Kuo's
// numbers have it.
TEST(Sobol, TabulatedDimensionsHaveOnePointPerOrthant) {
  for (const int64_t dimensions : {2, 5, 10, 14, 18, 21}) {
    const int64_t count = int64_t{1} << dimensions;
    const auto points = sobol_points(0, count, dimensions, {4, 0}).to_vector<float>();
    std::vector<bool> seen(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      size_t orthant = 0;
      for (int64_t d = 0; d < dimensions; ++d)
        orthant = orthant << 1 | static_cast<size_t>(points[static_cast<size_t>(i * dimensions + d)] >= 0.5f);
      ASSERT_FALSE(seen[orthant]) << dimensions << " dimensions, point " << i;
      seen[orthant] = true;
    }
  }
}

// The first two dimensions are a (0, 2)-sequence: one point in every box of area 2^−8.
TEST(Sobol, FirstPlaneIsEvenInBoxesOfEveryShape) {
  const auto points = sobol_points(256, 256, 2, {11, 0}, DType::f64).to_vector<double>();
  for (int bits = 0; bits <= 8; ++bits) {
    std::set<std::pair<int64_t, int64_t>> boxes;
    for (size_t i = 0; i < points.size(); i += 2)
      boxes.insert({static_cast<int64_t>(std::ldexp(points[i], bits)),
                    static_cast<int64_t>(std::ldexp(points[i + 1], 8 - bits))});
    EXPECT_EQ(boxes.size(), 256u) << bits;
  }
}

TEST(Sobol, PointsAreAFunctionOfTheirNumberDimensionAndKey) {
  const int64_t dimensions = kSobolDimensions + 6;
  const auto all = sobol_points(100, 150, dimensions, {3, 7}).to_vector<float>();
  const int before = num_threads();
  set_num_threads(before == 1 ? 2 : 1);
  const auto part = sobol_points(170, 20, dimensions, {3, 7}).to_vector<float>();
  set_num_threads(before);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 70 * dimensions));
  const auto few = sobol_points(170, 20, 40, {3, 7}).to_vector<float>();
  for (int64_t i = 0; i < 20; ++i)
    EXPECT_TRUE(std::equal(few.begin() + i * 40, few.begin() + (i + 1) * 40, part.begin() + i * dimensions)) << i;
  EXPECT_NE(sobol_points(170, 20, 40, {3, 8}).to_vector<float>(), few);
  EXPECT_NE(sobol_points(170, 20, 40, {4, 7}).to_vector<float>(), few);
}

TEST(Sobol, NormalsHaveTheMomentsOfTheNormalDistribution) {
  const int64_t dimensions = kSobolDimensions + 8, count = 1024;
  const Tensor z = sobol_normals(0, count, dimensions, {1, 2}, DType::f64);
  const auto means = mean(z, {0}).to_vector<double>(), squares = mean(square(z), {0}).to_vector<double>();
  for (int64_t d = 0; d < dimensions; ++d) {
    const bool digital = d < kSobolDimensions;  // independent ones have standard errors of 1/32 and √2/32
    EXPECT_NEAR(means[static_cast<size_t>(d)], 0, digital ? 0.01 : 5.0 / 32) << d;
    EXPECT_NEAR(squares[static_cast<size_t>(d)], 1, digital ? 0.03 : 7.0 / 32) << d;
  }
  const Tensor few = slice(z, 1, 0, 100);
  const Tensor off_diagonal = matmul(transpose(few), few) / static_cast<double>(count);
  EXPECT_NEAR(mean(square(off_diagonal)).item(), 0.01,
              0.002);  // 1/100 from the diagonal, about 1/1024 were the rest independent
}

TEST(Sobol, EveryPointIsUniformOverSeeds) {
  const int64_t seeds = 4000;
  double sum = 0, squares = 0;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const double p = sobol_points(5, 1, 30, {static_cast<uint64_t>(seed), 0}, DType::f64).to_vector<double>()[29];
    sum += p;
    squares += p * p;
  }
  EXPECT_NEAR(sum / seeds, 0.5, 4 / std::sqrt(12.0 * seeds));
  EXPECT_NEAR(squares / seeds, 1.0 / 3, 4 * std::sqrt(4.0 / 45 / seeds));
}

TEST(Sobol, NamesWhatItCannotDo) {
  const auto text = [](auto f) {
    try {
      f();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing thrown");
  };
  EXPECT_EQ(text([] { sobol_points(-1, 2, 3, {}); }),
            "sobol_points: 2 points from -1 on in 3 dimensions; there are 2^32 points");
  EXPECT_EQ(text([] { sobol_points(int64_t{1} << 32, 1, 3, {}); }),
            "sobol_points: 1 points from 4294967296 on in 3 dimensions; there are 2^32 points");
  EXPECT_EQ(text([] { sobol_points(0, 1, 3, {}, DType::i32); }), "sobol_points: dtype i32 asked for; needs f32 or f64");
  EXPECT_EQ(sobol_points((int64_t{1} << 32) - 1, 1, 3, {}).shape(), (Shape{1, 3}));
  EXPECT_EQ(sobol_points(0, 0, 3, {}).shape(), (Shape{0, 3}));
}

}  // namespace
}  // namespace mollify::smoothing
