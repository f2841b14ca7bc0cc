// Pooling over the height and width of [N, H, W, C].
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>
#include <limits>

namespace mollify {
namespace {

// The pooling, and the input's extents where only the gradient is given (else 0).
struct Setup { Pool2d how; int64_t height, width; };

Shape pooled(const char* name, const Shape& x, const Pool2d& p) {
  require<ValueError>(p.kernel_height >= 1 && p.kernel_width >= 1 && p.stride_height >= 1 && p.stride_width >= 1,
                      "{}: window {} x {}, strides {} and {}; all need at least 1", name, p.kernel_height, p.kernel_width, p.stride_height, p.stride_width);
  require<ValueError>(std::min({p.pad_top, p.pad_bottom, p.pad_left, p.pad_right}) >= 0 && std::max(p.pad_top, p.pad_bottom) < p.kernel_height &&
                          std::max(p.pad_left, p.pad_right) < p.kernel_width,
                      "{}: padding {}, {}, {}, {}; needs at least 0 and less than the window of {} x {}", name, p.pad_top, p.pad_bottom, p.pad_left,
                      p.pad_right, p.kernel_height, p.kernel_width);
  require(x.rank() == 4, "{}: input is {}; needs [N, H, W, C]", name, x);
  const int64_t height = x[1] + p.pad_top + p.pad_bottom, width = x[2] + p.pad_left + p.pad_right;
  require(p.kernel_height <= height && p.kernel_width <= width, "{}: input is {}; a window of {} x {} does not fit in a padded {} x {}", name, x,
          p.kernel_height, p.kernel_width, height, width);
  return {x[0], (height - p.kernel_height) / p.stride_height + 1, (width - p.kernel_width) / p.stride_width + 1, x[3]};
}

// Calls f(image, oh, ow, rows h0 … h1, columns w0 … w1) for the part of each output's window that is inside the image; images run in parallel.
template <class F>
void for_windows(const Shape& x, const Shape& y, const Pool2d& p, const F& f) {
  const int64_t work = std::max<int64_t>(1, x[1] * x[2] * x[3]);
  cpu::parallel_for(x[0], std::max<int64_t>(1, 16384 / work), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t oh = 0; oh < y[1]; ++oh)
        for (int64_t ow = 0; ow < y[2]; ++ow) {
          const int64_t top = oh * p.stride_height - p.pad_top, left = ow * p.stride_width - p.pad_left;
          f(n, oh, ow, std::max<int64_t>(0, top), std::min(x[1], top + p.kernel_height), std::max<int64_t>(0, left), std::min(x[2], left + p.kernel_width));
        }
  });
}

template <class T>
void average(const T* x, const Shape& xs, T* y, const Shape& ys, const Pool2d& p) {
  const int64_t channels = xs[3];
  const T share = T{1} / static_cast<T>(p.kernel_height * p.kernel_width);
  for_windows(xs, ys, p, [&](int64_t n, int64_t oh, int64_t ow, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
    T* out = y + ((n * ys[1] + oh) * ys[2] + ow) * channels;
    std::fill_n(out, channels, T{0});
    for (int64_t h = h0; h < h1; ++h)
      for (int64_t w = w0; w < w1; ++w) {
        const T* in = x + ((n * xs[1] + h) * xs[2] + w) * channels;
        for (int64_t c = 0; c < channels; ++c) out[c] += in[c];
      }
    for (int64_t c = 0; c < channels; ++c) out[c] *= share;
  });
}

template <class T>
void average_gradient(const T* g, const Shape& gs, T* dx, const Shape& xs, const Pool2d& p) {
  const int64_t channels = xs[3], image = xs[1] * xs[2] * channels;
  const T share = T{1} / static_cast<T>(p.kernel_height * p.kernel_width);
  cpu::parallel_for(xs[0], std::max<int64_t>(1, 16384 / std::max<int64_t>(1, image)), [&](int64_t begin, int64_t end) { std::fill(dx + begin * image, dx + end * image, T{0}); });
  for_windows(xs, gs, p, [&](int64_t n, int64_t oh, int64_t ow, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
    const T* in = g + ((n * gs[1] + oh) * gs[2] + ow) * channels;
    for (int64_t h = h0; h < h1; ++h)
      for (int64_t w = w0; w < w1; ++w) {
        T* out = dx + ((n * xs[1] + h) * xs[2] + w) * channels;
        for (int64_t c = 0; c < channels; ++c) out[c] += in[c] * share;
      }
  });
}

template <class T>
void maximum_with_indices(const T* x, const Shape& xs, T* y, int32_t* indices, const Shape& ys, const Pool2d& p) {
  const int64_t channels = xs[3];
  for_windows(xs, ys, p, [&](int64_t n, int64_t oh, int64_t ow, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
    const int64_t at = ((n * ys[1] + oh) * ys[2] + ow) * channels;
    for (int64_t c = 0; c < channels; ++c) {
      y[at + c] = -std::numeric_limits<T>::infinity();
      indices[at + c] = static_cast<int32_t>((h0 * xs[2] + w0) * channels + c);
    }
    for (int64_t h = h0; h < h1; ++h)
      for (int64_t w = w0; w < w1; ++w) {
        const int64_t place = (h * xs[2] + w) * channels;
        const T* in = x + n * xs[1] * xs[2] * channels + place;
        for (int64_t c = 0; c < channels; ++c) {
          const bool wins = in[c] > y[at + c] || (in[c] != in[c] && y[at + c] == y[at + c]);  // the first NaN stays
          y[at + c] = wins ? in[c] : y[at + c];
          indices[at + c] = wins ? static_cast<int32_t>(place + c) : indices[at + c];
        }
      }
  });
}

const Op average_pool2d_op{.name = "average_pool2d", .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
                             require_floating(op.name, in[0]);
                             return Layout::packed(pooled(op.name, in[0].shape(), attributes.as<Setup>().how), in[0].dtype(), in[0].device());
                           }, .cpu = [](const KernelArguments& a) {
                             const Tensor x = packed_values(a.in[0]);
                             for_floating(x.dtype(), [&](auto zero) {
                               using T = decltype(zero);
                               average(x.data<T>(), x.shape(), a.out[0].data<T>(), a.out[0].shape(), a.attributes.as<Setup>().how);
                             });
                           }, .vjp = [](const VjpArguments& a) -> Tensors {
                             const Shape& x = a.in[0].shape();
                             return average_pool2d_gradient(a.g, x[1], x[2], a.as<Setup>().how);
                           }};

const Op average_pool2d_gradient_op{.name = "average_pool2d_gradient", .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
                                      require_floating(op.name, in[0]);
                                      const Setup& s = attributes.as<Setup>();
                                      const Shape& g = in[0].shape();
                                      require(g.rank() == 4, "{}: gradient is {}; needs [N, OH, OW, C]", op.name, g);
                                      const Shape x{g[0], s.height, s.width, g[3]}, expected = pooled(op.name, x, s.how);
                                      require(expected == g, "{}: gradient is {}; an input of {} x {} gives {}", op.name, g, s.height, s.width, expected);
                                      return Layout::packed(x, in[0].dtype(), in[0].device());
                                    }, .cpu = [](const KernelArguments& a) {
                                      const Tensor g = packed_values(a.in[0]);
                                      for_floating(g.dtype(), [&](auto zero) {
                                        using T = decltype(zero);
                                        average_gradient(g.data<T>(), g.shape(), a.out[0].data<T>(), a.out[0].shape(), a.attributes.as<Setup>().how);
                                      });
                                    }, .vjp = [](const VjpArguments& a) -> Tensors { return average_pool2d(a.g, a.as<Setup>().how); }};

const Op max_pool2d_op{.name = "max_pool2d", .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
                         require_floating(op.name, in[0]);
                         const Shape y = pooled(op.name, in[0].shape(), attributes.as<Setup>().how);
                         require(extent_product(in[0].shape(), 1, 4) <= INT32_MAX, "{}: input is {}; an image of at most 2^31 numbers can be indexed", op.name,
                                 in[0].shape());
                         return {Layout::packed(y, in[0].dtype(), in[0].device()), Layout::packed(y, DType::i32, in[0].device())};
                       }, .cpu = [](const KernelArguments& a) {
                         const Tensor x = packed_values(a.in[0]);
                         for_floating(x.dtype(), [&](auto zero) {
                           using T = decltype(zero);
                           maximum_with_indices(x.data<T>(), x.shape(), a.out[0].data<T>(), a.out[1].data<int32_t>(), a.out[0].shape(), a.attributes.as<Setup>().how);
                         });
                       }, .vjp = [](const VjpArguments& a) -> Tensors {
                         const Shape& x = a.in[0].shape();
                         const Tensor flat = scatter_add({x[0], extent_product(x, 1, 4)}, flatten(a.saved(1), 1), flatten(a.g, 1));
                         return reshape(flat, x);
                       }};

}  // namespace

Tensor average_pool2d(const Tensor& x, const Pool2d& how) { return apply(average_pool2d_op, {x}, Setup{how, 0, 0}); }

Tensor average_pool2d_gradient(const Tensor& g, int64_t height, int64_t width, const Pool2d& how) {
  return apply(average_pool2d_gradient_op, {g}, Setup{how, height, width});
}

ValuesAndIndices max_pool2d_with_indices(const Tensor& x, const Pool2d& how) {
  const Tensors both = apply_all(max_pool2d_op, {x}, Setup{how, 0, 0});
  return {both[0], both[1]};
}

Tensor max_pool2d(const Tensor& x, const Pool2d& how) { return max_pool2d_with_indices(x, how).values; }

}  // namespace mollify
