// The matrix product against plain loops, on every SIMD target that this machine has, and by OpenBLAS.

#include <mollify/engine/cpu/gemm.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/products.h>

#include "../backends.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace mollify::cpu {
namespace {

struct Sizes {
  int64_t m, n, k;
};

const Sizes kSizes[] = {{1, 1, 1},     {1, 1, 0},     {3, 5, 0},     {0, 4, 3},    {4, 0, 3},      {7, 13, 5},
                        {16, 10, 33},  {13, 64, 70},  {5, 65, 7},    {128, 10, 3}, {16, 300, 40},  {97, 129, 65},
                        {200, 48, 17}, {3, 500, 300}, {70, 31, 600}, {2, 700, 2},  {300, 100, 130},
                        {1, 100, 65},  {8, 33, 130},  {6, 17, 301}};

template <class T>
std::vector<T> random_values(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<T> uniform(-1, 1);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = uniform(generator);
  return values;
}

template <class T>
class GemmKernel : public ::testing::Test {
 protected:
  ~GemmKernel() override {
    hwy::SetSupportedTargetsForTest(0);
    set_num_threads(threads_);
    set_products(Products::own);
  }

  // a and b as given, or stored transposed; gaps between the rows of c, which holds NaN where it is to be written.
  static std::vector<T> product(const Sizes& s, bool a_transposed, bool b_transposed, const std::vector<T>& a,
                                const std::vector<T>& b, const T* bias) {
    const int64_t stride = s.n + 3;
    std::vector<T> c(static_cast<size_t>(s.m * stride), T{-7});
    for (int64_t i = 0; i < s.m; ++i) std::fill_n(c.begin() + i * stride, s.n, std::numeric_limits<T>::quiet_NaN());
    const Matrix<T> left{a.data(), a_transposed ? 1 : s.k, a_transposed ? s.m : 1};
    const Matrix<T> right{b.data(), b_transposed ? 1 : s.n, b_transposed ? s.k : 1};
    gemm<T>(s.m, s.n, s.k, left, right, bias, c.data(), stride);
    return c;
  }

  static void expect_like_loops(const Sizes& s, bool a_transposed, bool b_transposed, bool with_bias) {
    const auto a = random_values<T>(s.m * s.k, 1), b = random_values<T>(s.k * s.n, 2), bias = random_values<T>(s.n, 3);
    const auto c = product(s, a_transposed, b_transposed, a, b, with_bias ? bias.data() : nullptr);
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n + 3; ++j) {
        const T got = c[static_cast<size_t>(i * (s.n + 3) + j)];
        if (j >= s.n) {
          ASSERT_EQ(got, T{-7}) << "written beyond the columns";
          continue;
        }
        double sum = with_bias ? static_cast<double>(bias[static_cast<size_t>(j)]) : 0.0;
        for (int64_t k = 0; k < s.k; ++k) {
          sum += static_cast<double>(a[static_cast<size_t>(a_transposed ? k * s.m + i : i * s.k + k)]) *
                 static_cast<double>(b[static_cast<size_t>(b_transposed ? j * s.k + k : k * s.n + j)]);
        }
        const double tolerance = std::numeric_limits<T>::epsilon() * 4 * (1 + std::sqrt(static_cast<double>(s.k)) * 4);
        ASSERT_NEAR(got, sum, tolerance) << s.m << " × " << s.n << " × " << s.k << " at " << i << ", " << j;
      }
    }
  }

  static void expect_same_bits_for_any_number_of_threads() {
    for (const Sizes& s : {Sizes{200, 300, 150}, Sizes{16, 900, 128}, Sizes{1000, 70, 16}}) {
      const auto a = random_values<T>(s.m * s.k, 4), b = random_values<T>(s.k * s.n, 5);
      for (int variant = 0; variant < 4; ++variant) {
        set_num_threads(1);
        const auto one = product(s, variant & 1, variant & 2, a, b, nullptr);
        for (int threads : {2, 4}) {
          set_num_threads(threads);
          EXPECT_EQ(product(s, variant & 1, variant & 2, a, b, nullptr), one) << threads << " threads";
        }
      }
    }
  }

  static void expect_nan_and_infinity_to_propagate() {
    const Sizes s{9, 21, 40};
    for (int variant = 0; variant < 4; ++variant) {
      std::vector<T> a(static_cast<size_t>(s.m * s.k), T{1}), b(static_cast<size_t>(s.k * s.n), T{0});
      a[0] = std::numeric_limits<T>::quiet_NaN();           // element (0, 0): row 0 is NaN
      a[a.size() - 1] = std::numeric_limits<T>::infinity();  // element (m − 1, k − 1): ∞ · 0 is NaN
      const auto c = product(s, variant & 1, variant & 2, a, b, nullptr);
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          const T value = c[static_cast<size_t>(i * (s.n + 3) + j)];
          EXPECT_EQ(std::isnan(value), i == 0 || i == s.m - 1);
          EXPECT_TRUE(std::isnan(value) || value == T{0});
        }
      }
    }
  }

  const int threads_ = num_threads();
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GemmKernel, Types);

TYPED_TEST(GemmKernel, MatchesLoopsOnEveryTarget) {
  const int64_t targets = hwy::SupportedTargets();
  for (int64_t rest = targets; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    SCOPED_TRACE(hwy::TargetName(rest & -rest));
    for (const Sizes& sizes : kSizes) {
      for (int variant = 0; variant < 8; ++variant)
        this->expect_like_loops(sizes, variant & 1, variant & 2, variant & 4);
    }
  }
}

TYPED_TEST(GemmKernel, MatchesLoopsByOpenblas) {
  MOLLIFY_USE_OPENBLAS();
  std::vector<Sizes> all(std::begin(kSizes), std::end(kSizes));
  all.insert(all.end(), {{1, 600, 70}, {600, 1, 70}, {600, 300, 1}, {520, 270, 30}});  // one row, one column, panels
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    for (const Sizes& sizes : all)
      for (int variant = 0; variant < 8; ++variant)
        this->expect_like_loops(sizes, variant & 1, variant & 2, variant & 4);
  }
}

TYPED_TEST(GemmKernel, SameBitsForAnyNumberOfThreads) {
  this->expect_same_bits_for_any_number_of_threads();
}
TYPED_TEST(GemmKernel, SameBitsForAnyNumberOfThreadsByOpenblas) {
  MOLLIFY_USE_OPENBLAS();
  this->expect_same_bits_for_any_number_of_threads();
}

// In particular not on which kernel takes them, on any target: few rows, a narrow b, and sums of several blocks.
TYPED_TEST(GemmKernel, ARowDoesNotDependOnTheOthers) {
  const int64_t targets = hwy::SupportedTargets();
  for (int64_t rest = targets; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    SCOPED_TRACE(hwy::TargetName(rest & -rest));
    for (const Sizes& all : {Sizes{150, 90, 310}, Sizes{150, 3, 31}, Sizes{20, 37, 9001}}) {
      const auto a = random_values<TypeParam>(all.m * all.k, 6), b = random_values<TypeParam>(all.k * all.n, 7),
                 bias = random_values<TypeParam>(all.n, 8);
      for (int variant = 0; variant < 4; ++variant) {
        const TypeParam* start = variant & 2 ? bias.data() : nullptr;
        const auto whole = this->product(all, false, variant & 1, a, b, start);
        for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 64, 149}) {
          if (m > all.m) continue;
          const auto part = this->product({m, all.n, all.k}, false, variant & 1, a, b, start);
          EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << m << " rows of " << all.m;
        }
      }
    }
  }
}

TYPED_TEST(GemmKernel, NanAndInfinityPropagate) { this->expect_nan_and_infinity_to_propagate(); }
TYPED_TEST(GemmKernel, NanAndInfinityPropagateByOpenblas) {
  MOLLIFY_USE_OPENBLAS();
  this->expect_nan_and_infinity_to_propagate();
}

}  // namespace
}  // namespace mollify::cpu
