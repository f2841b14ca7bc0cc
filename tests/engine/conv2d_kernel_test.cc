// Convolution and its two gradients against plain loops, on every SIMD target that this machine has.

#include <mollify/engine/cpu/conv2d.h>
#include <mollify/engine/cpu/threads.h>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace mollify::cpu {
namespace {

template <class T>
struct Arrays {
  std::vector<T> x, w, bias, y;
};

template <class T>
Arrays<T> random_arrays(const Conv2dShape& s) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<T> uniform(-1, 1);
  Arrays<T> arrays{
      std::vector<T>(static_cast<size_t>(s.batch * s.height * s.width * s.channels)),
      std::vector<T>(static_cast<size_t>(s.filters * s.kernel_height * s.kernel_width * s.channels / s.groups)),
      std::vector<T>(static_cast<size_t>(s.filters)),
      std::vector<T>(static_cast<size_t>(s.batch * s.out_height * s.out_width * s.filters))};
  for (auto* values : {&arrays.x, &arrays.w, &arrays.bias, &arrays.y}) {
    for (T& value : *values) value = uniform(generator);
  }
  return arrays;
}

// visit(output, input, weight, filter) for every product of the convolution; padding has none.
template <class Visit>
void for_each_product(const Conv2dShape& s, const Visit& visit) {
  const int64_t channels = s.channels / s.groups, filters = s.filters / s.groups;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t oh = 0; oh < s.out_height; ++oh)
      for (int64_t ow = 0; ow < s.out_width; ++ow)
        for (int64_t kh = 0; kh < s.kernel_height; ++kh)
          for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
            const int64_t ih = oh * s.stride_height - s.pad_top + kh * s.dilation_height;
            const int64_t iw = ow * s.stride_width - s.pad_left + kw * s.dilation_width;
            if (ih < 0 || ih >= s.height || iw < 0 || iw >= s.width) continue;
            for (int64_t f = 0; f < s.filters; ++f)
              for (int64_t c = 0; c < channels; ++c)
                visit(((n * s.out_height + oh) * s.out_width + ow) * s.filters + f,
                      ((n * s.height + ih) * s.width + iw) * s.channels + f / filters * channels + c,
                      ((f * s.kernel_height + kh) * s.kernel_width + kw) * channels + c, f);
          }
}

Conv2dShape shape(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t filters,
                  int64_t kernel_height, int64_t kernel_width, int64_t stride = 1, int64_t pad = 0,
                  int64_t dilation = 1, int64_t groups = 1, int64_t pad_end_extra = 0) {
  const int64_t reach_height = (kernel_height - 1) * dilation + 1, reach_width = (kernel_width - 1) * dilation + 1;
  return {batch,
          height,
          width,
          channels,
          filters,
          kernel_height,
          kernel_width,
          stride,
          stride,
          pad,
          pad,
          dilation,
          dilation,
          groups,
          (height + 2 * pad + pad_end_extra - reach_height) / stride + 1,
          (width + 2 * pad + pad_end_extra - reach_width) / stride + 1};
}

std::vector<Conv2dShape> shapes() {
  std::vector<Conv2dShape> list = {
      shape(2, 9, 8, 1, 5, 4, 4),                  // one channel
      shape(3, 12, 11, 1, 32, 4, 4),               // the same, whole vectors of filters
      shape(2, 8, 9, 1, 3, 3, 3, 1, 1),            // one channel with padding
      shape(2, 8, 8, 3, 17, 3, 3, 1, 1),           // three channels
      shape(2, 8, 8, 3, 64, 5, 5, 2, 2),           //
      shape(2, 6, 7, 20, 33, 3, 3, 1, 1),          // neither channels nor filters whole vectors
      shape(2, 7, 6, 16, 70, 3, 3, 2, 1),          // stride 2
      shape(1, 8, 8, 8, 24, 1, 1, 2, 0),           // 1 × 1 with stride: inputs without gradient
      shape(2, 5, 5, 40, 100, 1, 1),               // 1 × 1
      shape(1, 4, 4, 150, 40, 3, 3, 1, 1),         // deep: tap by tap, several slices
      shape(2, 9, 9, 6, 7, 3, 3, 1, 2, 2),         // dilation
      shape(2, 11, 10, 4, 6, 3, 2, 2, 2, 3),       // dilation and stride without common divisor
      shape(2, 11, 10, 4, 6, 3, 3, 2, 2, 2),       // dilation and stride with one
      shape(1, 12, 12, 5, 4, 2, 3, 3, 1),          // stride larger than the kernel is high
      shape(2, 8, 7, 12, 18, 3, 3, 1, 1, 1, 3),    // groups
      shape(2, 8, 7, 8, 16, 3, 3, 2, 1, 1, 4),     //
      shape(2, 8, 7, 21, 21, 3, 3, 1, 1, 1, 21),   // depthwise
      shape(2, 9, 7, 70, 70, 3, 3, 2, 1, 1, 70),   //
      shape(1, 9, 9, 7, 7, 3, 3, 1, 2, 2, 7),      // with dilation
      shape(2, 8, 8, 6, 12, 3, 3, 1, 1, 1, 6),     // two filters per channel
      shape(2, 6, 6, 3, 4, 3, 3, 2, 0, 1, 1, 1),   // padding at the end only
      shape(2, 2, 2, 3, 5, 3, 3, 1, 3),            // outputs that see padding alone
      shape(0, 6, 6, 3, 4, 3, 3, 1, 1),            // empty batch
      shape(1, 1, 1, 1, 1, 1, 1),                  //
  };
  list.push_back(shape(2, 10, 9, 4, 9, 3, 2));  // different strides, paddings and dilations along the two axes
  Conv2dShape& s = list.back();
  s.stride_height = 2, s.stride_width = 3, s.pad_top = 2, s.pad_left = 1, s.dilation_height = 1, s.dilation_width = 2;
  s.out_height = 6, s.out_width = 4;
  return list;
}

// Few channels or filters, and images enough to fill vectors of them, with and without a rest.
std::vector<Conv2dShape> shapes_of_few_channels() {
  std::vector<Conv2dShape> list = {
      shape(64, 28, 28, 1, 2, 5, 5, 2, 2),         // the layers of a small certified network,
      shape(33, 14, 14, 2, 2, 4, 4, 2, 1),         //
      shape(16, 28, 28, 1, 16, 5, 5, 2, 2),        // of a larger one,
      shape(40, 11, 11, 1, 2, 5, 5, 2, 0),         // and the windows of x that outputs of theirs read
      shape(40, 11, 11, 1, 16, 5, 5, 2, 0),        //
      shape(37, 4, 4, 16, 32, 4, 4, 2, 0),         // the kernel covers the image: a matrix product
      shape(19, 3, 4, 2, 3, 3, 4, 3, 0),           //
      shape(17, 7, 8, 3, 3, 3, 2, 1, 1, 1, 1, 1),  // uneven padding
      shape(18, 7, 7, 4, 5, 3, 3, 3, 1),           // stride 3
      shape(23, 9, 8, 5, 6, 3, 3, 1, 2, 2),        // dilation
      shape(23, 11, 10, 2, 7, 3, 2, 2, 2, 3),      // and stride without common divisor
      shape(47, 6, 5, 7, 4, 2, 3, 1, 1),           // a last block of images that is nearly full
      shape(50, 5, 4, 6, 1, 3, 3, 1, 1),           // one filter
      shape(16, 6, 6, 8, 12, 1, 1, 2, 0),          // inputs without gradient
      shape(20, 6, 7, 2, 4, 3, 3, 1, 1, 1, 2),     // groups
      shape(20, 2, 2, 1, 3, 3, 3, 1, 3),           // outputs that see padding alone
      shape(33, 1, 1, 3, 4, 1, 1),                 // one pixel
      shape(0, 6, 6, 1, 2, 3, 3, 1, 1),            // empty batch
  };
  return list;
}

template <class T>
class Conv2dKernel : public ::testing::Test {
 protected:
  ~Conv2dKernel() override {
    hwy::SetSupportedTargetsForTest(0);
    set_num_threads(threads_);
  }

  static void expect_near(const std::vector<T>& got, const std::vector<double>& sum,
                          const std::vector<double>& magnitude, const char* what) {
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], sum[i], std::numeric_limits<T>::epsilon() * (4 + 4 * magnitude[i])) << what << " at " << i;
    }
  }

  static void expect_like_loops(const Conv2dShape& s) {
    const Arrays<T> arrays = random_arrays<T>(s);
    const auto& [x, w, bias, g] = arrays;
    std::vector<double> y_sum(g.size()), y_size(g.size()), dx_sum(x.size()), dx_size(x.size()), dw_sum(w.size()),
        dw_size(w.size());
    for (size_t i = 0; i < g.size(); ++i) y_sum[i] = bias[i % bias.size()];
    const auto add = [](std::vector<double>& sum, std::vector<double>& size, int64_t at, double value) {
      sum[static_cast<size_t>(at)] += value;
      size[static_cast<size_t>(at)] += std::abs(value);
    };
    for_each_product(s, [&, &x = x, &w = w, &g = g](int64_t output, int64_t input, int64_t weight, int64_t) {
      const double xi = x[static_cast<size_t>(input)], wi = w[static_cast<size_t>(weight)],
                   gi = g[static_cast<size_t>(output)];
      add(y_sum, y_size, output, xi * wi);
      add(dx_sum, dx_size, input, gi * wi);
      add(dw_sum, dw_size, weight, gi * xi);
    });
    std::vector<T> y(g.size(), T{9}), dx(x.size(), T{9}), dw(w.size(), T{9});
    conv2d<T>(s, x.data(), w.data(), bias.data(), y.data());
    conv2d_input_gradient<T>(s, g.data(), w.data(), dx.data());
    conv2d_weight_gradient<T>(s, g.data(), x.data(), dw.data());
    expect_near(y, y_sum, y_size, "output");
    expect_near(dx, dx_sum, dx_size, "input gradient");
    expect_near(dw, dw_sum, dw_size, "weight gradient");
    conv2d<T>(s, x.data(), w.data(), nullptr, y.data());
    for (size_t i = 0; i < g.size(); ++i) y_sum[i] -= bias[i % bias.size()];
    expect_near(y, y_sum, y_size, "output without bias");
  }

  const int threads_ = num_threads();
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Conv2dKernel, Types);

TYPED_TEST(Conv2dKernel, MatchesLoopsOnEveryTarget) {
  const int64_t targets = hwy::SupportedTargets();
  std::vector<Conv2dShape> list = shapes();
  for (const Conv2dShape& s : shapes_of_few_channels()) list.push_back(s);
  for (int64_t rest = targets; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    SCOPED_TRACE(hwy::TargetName(rest & -rest));
    for (size_t i = 0; i < list.size(); ++i) {
      SCOPED_TRACE(i);
      this->expect_like_loops(list[i]);
    }
  }
}

TYPED_TEST(Conv2dKernel, SameBitsForAnyNumberOfThreads) {
  using T = TypeParam;
  for (const Conv2dShape& s : {shape(9, 16, 16, 24, 40, 3, 3, 1, 1), shape(16, 12, 12, 1, 32, 4, 4),
                               shape(4, 4, 4, 130, 70, 3, 3, 1, 1), shape(5, 14, 14, 48, 48, 3, 3, 1, 1, 1, 48),
                               shape(300, 14, 14, 2, 2, 4, 4, 2, 1), shape(150, 11, 11, 1, 16, 5, 5, 2)}) {
    const Arrays<T> arrays = random_arrays<T>(s);
    const auto& [x, w, bias, g] = arrays;
    std::vector<T> first[3];
    for (int threads : {1, 2, 4}) {
      set_num_threads(threads);
      std::vector<T> y(g.size()), dx(x.size()), dw(w.size());
      conv2d<T>(s, x.data(), w.data(), bias.data(), y.data());
      conv2d_input_gradient<T>(s, g.data(), w.data(), dx.data());
      conv2d_weight_gradient<T>(s, g.data(), x.data(), dw.data());
      if (threads == 1) {
        first[0] = y, first[1] = dx, first[2] = dw;
      } else {
        EXPECT_TRUE(y == first[0] && dx == first[1] && dw == first[2]) << threads << " threads";
      }
    }
  }
}

// Whether it stands in a full vector of images, in the last one or alone.
TYPED_TEST(Conv2dKernel, AnImageHasTheSameBitsInAnyBatch) {
  using T = TypeParam;
  const int64_t targets = hwy::SupportedTargets();
  for (int64_t rest = targets; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    SCOPED_TRACE(hwy::TargetName(rest & -rest));
    for (const Conv2dShape& whole : shapes_of_few_channels()) {
      if (whole.batch == 0) continue;
      const Arrays<T> arrays = random_arrays<T>(whole);
      const auto& [x, w, bias, g] = arrays;
      std::vector<T> y(g.size()), dx(x.size());
      conv2d<T>(whole, x.data(), w.data(), bias.data(), y.data());
      conv2d_input_gradient<T>(whole, g.data(), w.data(), dx.data());
      for (int64_t count : {1, 7, 13}) {
        for (int64_t first = 0; first + count <= whole.batch; first += 9) {
          Conv2dShape s = whole;
          s.batch = count;
          const size_t images = static_cast<size_t>(count),
                       x_size = x.size() / static_cast<size_t>(whole.batch) * images;
          const size_t y_size = y.size() / static_cast<size_t>(whole.batch) * images;
          const size_t x_first = x_size / images * static_cast<size_t>(first),
                       y_first = y_size / images * static_cast<size_t>(first);
          std::vector<T> y_part(y_size), dx_part(x_size);
          conv2d<T>(s, x.data() + x_first, w.data(), bias.data(), y_part.data());
          conv2d_input_gradient<T>(s, g.data() + y_first, w.data(), dx_part.data());
          EXPECT_TRUE(std::equal(y_part.begin(), y_part.end(), y.data() + y_first))
              << count << " images from " << first;
          EXPECT_TRUE(std::equal(dx_part.begin(), dx_part.end(), dx.data() + x_first))
              << count << " images from " << first;
        }
      }
    }
  }
}

// Infinite weights meet only finite non-zero inputs inside the image: outputs are infinite. A product with a padded
// zero would be NaN.
TYPED_TEST(Conv2dKernel, PaddingIsNotMultiplied) {
  using T = TypeParam;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  for (const Conv2dShape& s :
       {shape(2, 5, 6, 1, 4, 3, 3, 1, 1), shape(2, 6, 5, 20, 18, 3, 3, 2, 1), shape(1, 4, 4, 130, 40, 3, 3, 1, 1),
        shape(1, 6, 6, 19, 19, 3, 3, 1, 1, 1, 19), shape(21, 6, 6, 2, 3, 5, 5, 2, 2)}) {
    Arrays<T> arrays = random_arrays<T>(s);
    std::fill(arrays.x.begin(), arrays.x.end(), T{1});
    std::fill(arrays.w.begin(), arrays.w.end(), kInfinity);
    std::vector<T> y(arrays.y.size()), dx(arrays.x.size()), dw(arrays.w.size());
    conv2d<T>(s, arrays.x.data(), arrays.w.data(), nullptr, y.data());
    for (T value : y) EXPECT_EQ(value, kInfinity);
    std::fill(arrays.y.begin(), arrays.y.end(), T{1});
    conv2d_input_gradient<T>(s, arrays.y.data(), arrays.w.data(), dx.data());
    for (T value : dx) EXPECT_TRUE(value == kInfinity || value == T{0});
    std::fill(arrays.y.begin(), arrays.y.end(), kInfinity);
    conv2d_weight_gradient<T>(s, arrays.y.data(), arrays.x.data(), dw.data());
    for (T value : dw) EXPECT_EQ(value, kInfinity);
  }
}

TYPED_TEST(Conv2dKernel, NanReachesExactlyWhatReadsIt) {
  using T = TypeParam;
  constexpr T kNan = std::numeric_limits<T>::quiet_NaN();
  for (const Conv2dShape& s : {shape(1, 6, 5, 3, 4, 3, 3, 1, 1), shape(1, 7, 6, 20, 17, 3, 3, 2, 1),
                               shape(1, 6, 6, 19, 19, 3, 3, 1, 1, 1, 19), shape(21, 6, 6, 2, 3, 5, 5, 2, 2)}) {
    const Arrays<T> clean = random_arrays<T>(s);
    Arrays<T> arrays = clean;
    const int64_t input = 7 * s.channels + 1, output = 3 * s.filters + 2;
    arrays.x[static_cast<size_t>(input)] = kNan;
    arrays.y[static_cast<size_t>(output)] = kNan;
    std::vector<T> y(arrays.y.size()), dx(arrays.x.size()), dw(arrays.w.size());
    conv2d<T>(s, arrays.x.data(), arrays.w.data(), nullptr, y.data());
    conv2d_input_gradient<T>(s, arrays.y.data(), arrays.w.data(), dx.data());
    conv2d_weight_gradient<T>(s, arrays.y.data(), clean.x.data(), dw.data());
    std::vector<char> y_reads(y.size()), dx_reads(dx.size()), dw_reads(dw.size());
    for_each_product(s, [&](int64_t to, int64_t from, int64_t weight, int64_t) {
      if (from == input) y_reads[static_cast<size_t>(to)] = 1;
      if (to == output) dx_reads[static_cast<size_t>(from)] = dw_reads[static_cast<size_t>(weight)] = 1;
    });
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), y_reads[i] != 0);
    for (size_t i = 0; i < dx.size(); ++i) EXPECT_EQ(std::isnan(dx[i]), dx_reads[i] != 0);
    for (size_t i = 0; i < dw.size(); ++i) EXPECT_EQ(std::isnan(dw[i]), dw_reads[i] != 0);
  }
}

}  // namespace
}  // namespace mollify::cpu
