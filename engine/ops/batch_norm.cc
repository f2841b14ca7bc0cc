// Batch normalisation (Ioffe & Szegedy 2015): y = (x − mean)/√(variance + ε)·scale + shift over all axes but the last.
#include <mollify/engine/cpu/batch_norm.h>
#include <mollify/engine/cuda/batch_norm.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

struct Epsilon { double value; };

int64_t rows_of(const Tensor& x) { return extent_product(x.shape(), 0, x.rank() - 1); }

Layouts batch_norm_shape(const Op& op, Inputs in, const Attributes&) {
  const Tensor& x = in[0];
  require_floating(op.name, x);
  require(x.rank() >= 2 && rows_of(x) > 0, "{}: input is {}; needs rows of channels", op.name, x.shape());
  const Shape channels{x.shape().back()};
  for (size_t i = 1; i < 3; ++i) {
    require_same_dtype(op.name, x, in[i]);
    require(in[i].shape() == channels, "{}: input is {}, {} is {}; needs one number per channel", op.name, x.shape(),
            i == 1 ? "scale" : "shift", in[i].shape());
  }
  const Layout statistics = Layout::packed(channels, x.dtype(), x.device());
  return {Layout::packed(x.shape(), x.dtype(), x.device()), statistics, statistics};
}

// Memory of one kernel's run, on its device.
Tensor scratch(int64_t count, const Tensor& like) {
  return Tensor::empty(Layout::packed({count}, like.dtype(), like.device()));
}

void batch_norm_kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  const int64_t channels = x.shape().back(), rows = rows_of(x);
  const Tensor factors = scratch(channels, x);
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = x.address<T>();
    T *mean = a.out[1].address<T>(), *variance = a.out[2].address<T>(), *factor = factors.address<T>();
    MOLLIFY_ON(x.device(), channel_moments<T>(from, rows, channels, mean, variance));
    MOLLIFY_ON(x.device(), batch_norm_factor<T>(channels, a.in[1].address<T>(), variance,
                                                a.attributes.as<Epsilon>().value, factor));
    MOLLIFY_ON(x.device(),
               normalize_channels<T>(from, rows, channels, mean, factor, a.in[2].address<T>(), a.out[0].address<T>()));
  });
}

Tensor sum_rows(const Tensor& x) { return sum_to(x, {x.shape().back()}); }

Tensors batch_norm_vjp(const VjpArguments& a) {
  const Tensor &x = a.in[0], &scale = a.in[1];
  const Tensor &g_mean = a.gradients[1], &g_variance = a.gradients[2];
  const double share = 1.0 / static_cast<double>(rows_of(x));
  const Tensor g = a.g.defined() ? a.g : repeated(0, x.shape(), x);
  const Tensor centred = x - a.out(1);
  const Tensor inverse = 1.0 / sqrt(a.out(2) + a.as<Epsilon>().value);
  const Tensor normal = centred * inverse, g_normal = g * scale;
  Tensor dx;
  if (a.needs(0)) {
    dx = inverse * (g_normal - sum_rows(g_normal) * share - normal * (sum_rows(g_normal * normal) * share));
    if (g_mean.defined()) dx = dx + g_mean * share;
    if (g_variance.defined()) dx = dx + g_variance * centred * (2 * share);
  }
  return {dx, a.needs(1) ? sum_rows(g * normal) : Tensor(), a.needs(2) ? sum_rows(g) : Tensor()};
}

// The same in two passes over memory. in: g, x, scale, mean, variance; out: dx, dscale, dshift
void batch_norm_gradient_kernel(const KernelArguments& a) {
  const Tensor &g = a.in[0], &x = a.in[1];
  const int64_t rows = rows_of(x), channels = x.shape().back();
  const Tensor factors = scratch(3 * channels, x);
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T *mean = a.in[3].address<T>(), *variance = a.in[4].address<T>();
    T *d_scale = a.out[1].address<T>(), *d_shift = a.out[2].address<T>();
    T *factor = factors.address<T>(), *offset = factor + channels, *slope = offset + channels;
    MOLLIFY_ON(x.device(),
               channel_gradient_sums<T>(g.address<T>(), x.address<T>(), rows, channels, mean, d_shift, d_scale));
    MOLLIFY_ON(x.device(), batch_norm_gradient_factors<T>(channels, rows, a.in[2].address<T>(), variance,
                                                          a.attributes.as<Epsilon>().value, d_scale, d_shift, factor,
                                                          offset, slope));
    MOLLIFY_ON(x.device(), normalize_channels_gradient<T>(g.address<T>(), x.address<T>(), rows, channels, mean, factor,
                                                          offset, slope, a.out[0].address<T>()));
  });
}

const Op batch_norm_gradient_op{
    .name = "batch_norm_gradient",
    .shape = [](const Op&, Inputs in, const Attributes&) -> Layouts {
      const Layout channels = Layout::packed({in[1].shape().back()}, in[1].dtype(), in[1].device());
      return {Layout::packed(in[1].shape(), in[1].dtype(), in[1].device()), channels, channels};
    },
    .cpu = batch_norm_gradient_kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(batch_norm_gradient_kernel),
    .operands = packed_operands};

Tensors batch_norm_vjp_fast(const VjpArguments& a) {
  if (a.gradients[1].defined() || a.gradients[2].defined()) return batch_norm_vjp(a);
  return apply_all(batch_norm_gradient_op, {a.g, a.in[0], a.in[1], a.saved(1), a.saved(2)}, a.attributes);
}

const Op batch_norm_op{.name = "batch_norm",
                       .shape = batch_norm_shape,
                       .cpu = batch_norm_kernel,
                       .cuda = MOLLIFY_CUDA_KERNEL(batch_norm_kernel),
                       .operands = packed_operands,
                       .vjp = batch_norm_vjp,
                       .vjp_fast = batch_norm_vjp_fast,
                       .saved_outputs = 0b110};

}  // namespace

Normalized batch_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double epsilon) {
  require<ValueError>(epsilon >= 0, "batch_norm: epsilon is {}; needs at least 0", epsilon);
  const Tensors out = apply_all(batch_norm_op, {x, scale, shift}, Epsilon{epsilon});
  return {out[0], out[1], out[2]};
}

}  // namespace mollify
