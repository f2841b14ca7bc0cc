// Matrix products and convolutions on CUDA, every algorithm on whatever it accepts, against the CPU's in f64.
#include "../devices.h"

#include <mollify/engine/cpu/conv2d.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/precision.h>
#include <mollify/engine/random.h>

#ifdef MOLLIFY_CUDA
#include <mollify/engine/cuda/conv2d.h>
#include <mollify/engine/cuda/gemm.h>

#include <cmath>
#include <map>

namespace mollify {
namespace {

using cpu::Conv2dShape;
using cuda::Conv2dKind;

class CudaProducts : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    MOLLIFY_SKIP_WITHOUT_CUDA();
    set_precision(GetParam());
  }
  void TearDown() override { set_precision(Precision::fp32); }
};
INSTANTIATE_TEST_SUITE_P(Precisions, CudaProducts, ::testing::Values(Precision::fp32, Precision::tf32, Precision::bf16),
                         [](const auto& info) { return to_string(info.param); });

// Largest error allowed in proportion to Σ|products|: of sums in the dtype, and of operands rounded to 10 or 7 bits.
template <class T>
double tolerance(Precision precision) {
  if (sizeof(T) == 8) return 1e-14;
  return precision == Precision::fp32 ? 3e-6 : precision == Precision::tf32 ? std::ldexp(1.0, -9) : std::ldexp(1.0, -6);
}

// Numbers on the host and, `shift` elements behind an aligned address, on the device.
template <class T>
struct Values {
  Values(RandomSequence& random, int64_t count, int64_t shift) : host(static_cast<size_t>(count)) {
    std::vector<T> shifted(static_cast<size_t>(count + shift));
    for (int64_t i = 0; i < count; ++i)
      shifted[static_cast<size_t>(i + shift)] =
          static_cast<T>(host[static_cast<size_t>(i)] = static_cast<float>(random.uniform(-1, 1)));
    tensor = to(Tensor::from(shifted, {count + shift}), Device::cuda);
    data = tensor.address<T>() + shift;
  }
  std::vector<double> host;
  Tensor tensor;
  const T* data;
};

// Room for results between numbers that must not change.
template <class T>
struct Room {
  Room(int64_t count, int64_t shift)
      : count(count),
        shift(shift),
        tensor(full({count + shift + 1}, 77, dtype_of<T>, Device::cuda)),
        data(tensor.address<T>() + shift) {}
  std::vector<T> values() const {
    const std::vector<T> all = tensor.template to_vector<T>();
    for (int64_t i = 0; i < shift; ++i) EXPECT_EQ(all[static_cast<size_t>(i)], 77) << "before the result";
    EXPECT_EQ(all.back(), 77) << "behind the result";
    return {all.begin() + shift, all.end() - 1};
  }
  int64_t count, shift;
  Tensor tensor;
  T* data;
};

int64_t input_size(const Conv2dShape& s) { return s.batch * s.height * s.width * s.channels; }
int64_t output_size(const Conv2dShape& s) { return s.batch * s.out_height * s.out_width * s.filters; }
int64_t weight_size(const Conv2dShape& s) {
  return s.filters * s.kernel_height * s.kernel_width * (s.channels / s.groups);
}

std::vector<double> on_cpu(Conv2dKind kind, const Conv2dShape& s, const std::vector<double>& left,
                           const std::vector<double>& right, const double* bias) {
  const int64_t size = kind == Conv2dKind::forward          ? output_size(s)
                       : kind == Conv2dKind::input_gradient ? input_size(s)
                                                            : weight_size(s);
  std::vector<double> out(static_cast<size_t>(size));
  if (kind == Conv2dKind::forward) cpu::conv2d<double>(s, left.data(), right.data(), bias, out.data());
  else if (kind == Conv2dKind::input_gradient)
    cpu::conv2d_input_gradient<double>(s, left.data(), right.data(), out.data());
  else cpu::conv2d_weight_gradient<double>(s, left.data(), right.data(), out.data());
  return out;
}

std::vector<double> magnitudes(std::vector<double> values) {
  for (double& x : values) x = std::abs(x);
  return values;
}

std::string describe(const Conv2dShape& s) {
  return format("[{}, {}, {}, {}] with [{}, {}, {}, {}], strides {} {}, padding {} {}, dilations {} {}, {} groups",
                s.batch, s.height, s.width, s.channels, s.filters, s.kernel_height, s.kernel_width,
                s.channels / s.groups, s.stride_height, s.stride_width, s.pad_top, s.pad_left, s.dilation_height,
                s.dilation_width, s.groups);
}

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& wanted, const std::vector<double>& scale,
                 double allowed) {
  ASSERT_EQ(got.size(), wanted.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - wanted[i]) / (scale[i] + 1e-30);
    if (scale[i] == 0 && got[i] == 0) continue;
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  EXPECT_LE(worst, allowed);
}

using Tally = std::map<std::string, int>;

template <class T>
void check_convolution(const Conv2dShape& s, RandomSequence& random, Tally& tally) {
  SCOPED_TRACE(describe(s) + (sizeof(T) == 4 ? " f32" : " f64"));
  for (const Conv2dKind kind : {Conv2dKind::forward, Conv2dKind::input_gradient, Conv2dKind::weight_gradient}) {
    const bool forward = kind == Conv2dKind::forward;
    const int64_t shift = static_cast<int64_t>(random.below(2));  // addresses on 16 bytes and beside them
    const Values<T> left(random, forward ? input_size(s) : output_size(s), shift), bias(random, s.filters, shift);
    const Values<T> right(random, kind == Conv2dKind::weight_gradient ? input_size(s) : weight_size(s), shift);
    const bool biased = forward && random.below(2) == 1;
    const std::vector<double> wanted = on_cpu(kind, s, left.host, right.host, biased ? bias.host.data() : nullptr);
    const std::vector<double> bias_size = magnitudes(bias.host);
    const std::vector<double> scale =
        on_cpu(kind, s, magnitudes(left.host), magnitudes(right.host), biased ? bias_size.data() : nullptr);
    for (const char* algorithm : cuda::conv2d_algorithms(kind)) {
      SCOPED_TRACE(algorithm);
      const Room<T> out(static_cast<int64_t>(wanted.size()), shift);
      if (!cuda::run_conv2d<T>(kind, algorithm, {s, left.data, right.data, biased ? bias.data : nullptr, out.data}))
        continue;
      ++tally[algorithm];
      expect_near(out.values(), wanted, scale, tolerance<T>(precision()));
    }
  }
}

// Extents that do not fit tiles, groups, strides, dilations, padding on one side; kernels as large as the image.
bool draw_shape(RandomSequence& random, Conv2dShape& s) {
  const auto pick = [&](std::initializer_list<int64_t> of) { return of.begin()[random.below(of.size())]; };
  s.groups = pick({1, 1, 1, 2, 3});
  s.channels = s.groups * pick({1, 3, 4, 8, 16, 17, 36});
  s.filters = s.groups * pick({1, 2, 3, 8, 16, 33, 70});
  s.batch = pick({1, 2, 3});
  s.height = pick({1, 4, 5, 9}), s.width = pick({1, 3, 8, 11});
  s.kernel_height = pick({1, 2, 3, 5}), s.kernel_width = pick({1, 2, 3});
  s.stride_height = pick({1, 1, 2, 3}), s.stride_width = pick({1, 1, 2});
  s.dilation_height = pick({1, 1, 2}), s.dilation_width = pick({1, 1, 2});
  s.pad_top = pick({0, 1, 2}), s.pad_left = pick({0, 1});
  if (random.below(6) == 0) {
    s.kernel_height = s.height, s.kernel_width = s.width;
    s.pad_top = s.pad_left = 0, s.dilation_height = s.dilation_width = 1;
  }
  const int64_t height = s.height + s.pad_top + pick({0, 1}), width = s.width + s.pad_left + pick({0, 1});
  const int64_t covered_height = s.dilation_height * (s.kernel_height - 1) + 1,
                covered_width = s.dilation_width * (s.kernel_width - 1) + 1;
  if (covered_height > height || covered_width > width) return false;
  s.out_height = (height - covered_height) / s.stride_height + 1;
  s.out_width = (width - covered_width) / s.stride_width + 1;
  return true;
}

TEST_P(CudaProducts, ConvolutionsByEveryAlgorithm) {
  RandomSequence random({11, static_cast<uint64_t>(GetParam())});
  Tally tally;
  for (int i = 0; i < 25;) {
    Conv2dShape shape{};
    if (!draw_shape(random, shape)) continue;
    if (i++ % 3 == 2) check_convolution<double>(shape, random, tally);
    else check_convolution<float>(shape, random, tally);
  }
  check_convolution<float>({0, 4, 4, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 4, 4}, random, tally);
  for (const Conv2dKind kind : {Conv2dKind::forward, Conv2dKind::input_gradient, Conv2dKind::weight_gradient})
    for (const char* algorithm : cuda::conv2d_algorithms(kind))
      EXPECT_TRUE(tally[algorithm] > 0 || GetParam() == Precision::fp32) << algorithm << " never ran";
}

template <class T>
void check_product(int64_t count, int64_t m, int64_t n, int64_t k, RandomSequence& random) {
  SCOPED_TRACE(format("{} products of [{}, {}] and [{}, {}]", count, m, k, k, n));
  for (const int layout : {0, 1, 2, 3}) {
    const bool turned_a = layout & 1, turned_b = layout & 2, biased = count == 1 && random.below(2);
    const int64_t shift = static_cast<int64_t>(random.below(2)), pad = static_cast<int64_t>(random.below(3));
    const int64_t a_stride = (turned_a ? m : k) + pad, b_stride = (turned_b ? k : n) + pad,
                  c_stride = count == 1 ? n + pad : n;
    const int64_t a_size = a_stride * (turned_a ? k : m), b_size = b_stride * (turned_b ? n : k);
    const bool shared = random.below(3) == 0;  // one b for all
    const Values<T> a(random, a_size * count, shift), b(random, b_size * (shared ? 1 : count), shift),
        bias(random, n, shift);
    const Room<T> c(m * c_stride * count, shift);
    const cpu::Matrix<T> left{a.data, turned_a ? 1 : a_stride, turned_a ? a_stride : 1},
        right{b.data, turned_b ? 1 : b_stride, turned_b ? b_stride : 1};
    if (count == 1) cuda::gemm<T>(m, n, k, left, right, biased ? bias.data : nullptr, c.data, c_stride);
    else cuda::gemm_batched<T>(count, m, n, k, left, a_size, right, shared ? 0 : b_size, c.data, m * n);
    const std::vector<T> got = c.values();
    double worst = 0;
    for (int64_t q = 0; q < count; ++q)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < c_stride; ++j) {
          double wanted = biased ? bias.host[static_cast<size_t>(std::min(j, n - 1))] : 0,
                 scale = std::abs(wanted) + 1e-3;
          for (int64_t t = 0; t < k && j < n; ++t) {
            const double product =
                a.host[static_cast<size_t>(q * a_size + i * left.row_stride + t * left.column_stride)] *
                b.host[static_cast<size_t>((shared ? 0 : q * b_size) + t * right.row_stride + j * right.column_stride)];
            wanted += product;
            scale += std::abs(product);
          }
          if (j >= n) wanted = 77;
          worst = std::max(
              worst,
              std::abs(static_cast<double>(got[static_cast<size_t>((q * m + i) * c_stride + j)]) - wanted) / scale);
        }
    EXPECT_LE(worst, tolerance<T>(precision())) << "layout " << layout;
  }
}

TEST_P(CudaProducts, Matrices) {
  RandomSequence random({12, static_cast<uint64_t>(GetParam())});
  for (const int64_t m : {1, 5, 70, 130})
    for (const int64_t n : {1, 10, 65})
      for (const int64_t k : {0, 1, 33, 300}) {
        check_product<float>(1, m, n, k, random);
        check_product<double>(1, m, n, k, random);
        if (m < 100) check_product<float>(3, m, n, k, random);
      }
}

// The same numbers at an address that is no multiple of 16, as views and the memory of captured steps have.
template <class T>
struct Elsewhere {
  explicit Elsewhere(const Values<T>& values) {
    std::vector<T> shifted(values.host.size() + 1);
    for (size_t i = 0; i < values.host.size(); ++i) shifted[i + 1] = static_cast<T>(values.host[i]);
    tensor = to(Tensor::from(shifted, {static_cast<int64_t>(shifted.size())}), Device::cuda);
    data = tensor.address<T>() + 1;
  }
  Tensor tensor;
  const T* data;
};

template <class T>
void expect_same_bits_elsewhere(RandomSequence& random) {
  for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{70, 65, 300}, {130, 40, 33}, {5, 96, 256}}) {
    const Values<T> a(random, m * k, 0), b(random, k * n, 0), bias(random, n, 0);
    const Elsewhere<T> a2(a), b2(b), bias2(bias);
    const Room<T> c(m * n, 0), c2(m * n, 1);
    cuda::gemm<T>(m, n, k, {a.data, k, 1}, {b.data, n, 1}, bias.data, c.data, n);
    cuda::gemm<T>(m, n, k, {a2.data, k, 1}, {b2.data, n, 1}, bias2.data, c2.data, n);
    EXPECT_EQ(c.values(), c2.values()) << m << " " << n << " " << k;
  }
  for (int i = 0; i < 12;) {
    Conv2dShape shape{};
    if (!draw_shape(random, shape)) continue;
    ++i;
    const Values<T> x(random, input_size(shape), 0), w(random, weight_size(shape), 0), g(random, output_size(shape), 0);
    const Elsewhere<T> x2(x), w2(w), g2(g);
    const Room<T> y(output_size(shape), 0), y2(output_size(shape), 1), dx(input_size(shape), 0),
        dx2(input_size(shape), 1), dw(weight_size(shape), 0), dw2(weight_size(shape), 1);
    cuda::conv2d<T>(shape, x.data, w.data, nullptr, y.data);
    cuda::conv2d<T>(shape, x2.data, w2.data, nullptr, y2.data);
    EXPECT_EQ(y.values(), y2.values()) << i;
    cuda::conv2d_input_gradient<T>(shape, g.data, w.data, dx.data);
    cuda::conv2d_input_gradient<T>(shape, g2.data, w2.data, dx2.data);
    EXPECT_EQ(dx.values(), dx2.values()) << i;
    cuda::conv2d_weight_gradient<T>(shape, g.data, x.data, dw.data);
    cuda::conv2d_weight_gradient<T>(shape, g2.data, x2.data, dw2.data);
    EXPECT_EQ(dw.values(), dw2.values()) << i;
  }
}

TEST_P(CudaProducts, BitsDoNotDependOnWhereOperandsLie) {
  RandomSequence random({13, static_cast<uint64_t>(GetParam())});
  expect_same_bits_elsewhere<float>(random);
  expect_same_bits_elsewhere<double>(random);
}

}  // namespace
}  // namespace mollify
#else
TEST(CudaProducts, AreNotInThisBuild) { GTEST_SKIP() << "CUDA: " << mollify::cuda::unavailable_reason(); }
#endif
