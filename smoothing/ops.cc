// Smoothed functions: kernels, and derivatives that stay within the family of relu_smoothed.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/smoothing/ops.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/pointwise-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
#include <mollify/engine/ops/special.inl>
#include <mollify/smoothing/smoothed.inl>
#include <mollify/smoothing/smoothed_activations.inl>
}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#ifdef MOLLIFY_CUDA
namespace mollify::cuda {  // the names of their CUDA kernels
#include <mollify/engine/ops/special.inl>
#include <mollify/smoothing/smoothed.inl>
#include <mollify/smoothing/smoothed_activations.inl>
}  // namespace mollify::cuda
#endif

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/nn/bounds/relaxations.h>
#include <mollify/smoothing/ops.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

using Interval = nn::bounds::SmoothedRamp;

const Op reciprocal_op{.name = "scale_reciprocal", .shape = broadcast_shape, MOLLIFY_POINTWISE(ScaleReciprocal)};

// The `operands` of formulas that take 1/s last, s being the op's last input.
Tensors with_reciprocal(Inputs in, const Attributes&) {
  Tensors out(in.size() + 1);
  for (size_t i = 0; i < in.size(); ++i) out[i] = in[i];
  out[in.size()] = apply(reciprocal_op, {in[in.size() - 1].detach()});
  return out;
}

const Op checked_op{.name = "checked_scale",
                    .shape = broadcast_shape,
                    MOLLIFY_POINTWISE(CheckedScale),
                    .vjp = [](const VjpArguments& a) -> Tensors { return a.g; }};
// in: s, h, which gets no gradient
const Op widened_op{.name = "widened_scale",
                    .shape = broadcast_shape,
                    MOLLIFY_POINTWISE(WidenedScale),
                    .vjp = [](const VjpArguments& a) -> Tensors {
                      return {a.g * (a.in[0] / a.out()), Tensor()};
                    }};

// ---- relu and its derivatives times powers of s, s^p ∂ⁿ/∂xⁿ relu_s: a formula each for n = −1, 0, 1 and 2 with p = 0,
// and one for n ≥ 2.
// The powers are part of the family, since ∂/∂s lowers the exponent of s in the denominator, which alone could
// overflow.

struct Derivative {
  using Prefix = int64_t;
  int64_t order, power;
};

Tensor scaled_derivative(const Tensor& x, const Tensor& s, int64_t order, int64_t power);

Tensors with_order(Inputs in, const Attributes& attributes) {
  const Derivative& d = attributes.as<Derivative>();
  const auto number = [&](int64_t value) { return Tensor::scalar(static_cast<double>(value), in[0].dtype()); };
  return {in[0], in[1], number(d.order), number(d.order - 1 - d.power)};
}

// ∂/∂s (s^p h⁽ⁿ⁾) = s^{p+1} h⁽ⁿ⁺²⁾ + p s^{p−1} h⁽ⁿ⁾
Tensors relu_vjp(const VjpArguments& a) {
  const Tensor &x = a.in[0], &s = a.in[1];
  const Derivative& d = a.as<Derivative>();
  Tensor dx, ds;
  if (a.needs(0)) dx = a.g * scaled_derivative(x, s, d.order + 1, d.power);
  if (a.needs(1)) {
    ds = scaled_derivative(x, s, d.order + 2, d.power + 1);
    if (d.power > 0) ds = ds + scaled_derivative(x, s, d.order, d.power - 1) * static_cast<double>(d.power);
    ds = a.g * ds;
  }
  return {dx, ds};
}

// in: g, x, s
const Op relu_gradient_op{.name = "relu_smoothed_gradient",
                          .shape = broadcast_shape,
                          MOLLIFY_POINTWISE(ReluSmoothedGradient),
                          .operands = with_reciprocal};

Tensors relu_vjp_fast(const VjpArguments& a) {
  if (a.needs(1)) return relu_vjp(a);
  return apply(relu_gradient_op, {a.g, a.in[0], a.in[1]});
}

const Op relu_antiderivative_op{
    .name = "relu_smoothed", .shape = broadcast_shape, MOLLIFY_POINTWISE(ReluSmoothedAntiderivative), .vjp = relu_vjp};
const Op relu_op{.name = "relu_smoothed",
                 .shape = broadcast_shape,
                 MOLLIFY_POINTWISE(ReluSmoothed),
                 .operands = with_reciprocal,
                 .vjp = relu_vjp,
                 .vjp_fast = relu_vjp_fast};
const Op relu_step_op{
    .name = "relu_smoothed", .shape = broadcast_shape, MOLLIFY_POINTWISE(ReluSmoothedStep), .vjp = relu_vjp};
const Op relu_density_op{
    .name = "relu_smoothed", .shape = broadcast_shape, MOLLIFY_POINTWISE(ReluSmoothedDensity), .vjp = relu_vjp};
const Op relu_derivative_op{.name = "relu_smoothed",
                            .shape = broadcast_shape,
                            MOLLIFY_POINTWISE(ReluSmoothedDerivative),
                            .operands = with_order,
                            .vjp = relu_vjp};

const Op& relu_op_of(int64_t order, int64_t power) {
  if (power > 0 || order > 2) return relu_derivative_op;
  return order == -1 ? relu_antiderivative_op : order == 0 ? relu_op : order == 1 ? relu_step_op : relu_density_op;
}

Tensor scaled_derivative(const Tensor& x, const Tensor& s, int64_t order, int64_t power) {
  if (order < 2 && power > 0) return s * scaled_derivative(x, s, order, power - 1);
  return apply(relu_op_of(order, power), {x, s}, Derivative{order, power});
}

const Op sign_op{.name = "sign_smoothed",
                 .shape = broadcast_shape,
                 MOLLIFY_POINTWISE(SignSmoothed),
                 .vjp = [](const VjpArguments& a) -> Tensors {
                   const Tensor &x = a.in[0], &s = a.in[1];
                   return {a.needs(0) ? a.g * (relu_smoothed(x, s, 2) * 2.0) : Tensor(),
                           a.needs(1) ? a.g * (scaled_derivative(x, s, 3, 1) * 2.0) : Tensor()};
                 }};
const Op abs_op{.name = "abs_smoothed",
                .shape = broadcast_shape,
                MOLLIFY_POINTWISE(AbsSmoothed),
                .vjp = [](const VjpArguments& a) -> Tensors {
                  const Tensor &x = a.in[0], &s = a.in[1];
                  return {a.needs(0) ? a.g * sign_smoothed(x, s) : Tensor(),
                          a.needs(1) ? a.g * (scaled_derivative(x, s, 2, 1) * 2.0) : Tensor()};
                }};

// ---- relu's moments. out: mean, and the variance or the sum of the variances

Layouts moments_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Layout layout = broadcast_shape(op, in, attributes)[0];
  return {layout, layout};
}
Layouts totals_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Layout layout = broadcast_shape(op, in, attributes)[0];
  return {layout, Layout::packed({}, layout.dtype, layout.device)};
}

Tensor sum_of(const Tensor& a, const Tensor& b) { return a.defined() ? (b.defined() ? a + b : a) : b; }

// With R the mean: ∂V/∂x = 2RΦ(−a), ∂V/∂s = 2(sΦ(a) − Rφ(a)).
Tensors moments_vjp(const VjpArguments& a) {
  const Tensor &x = a.in[0], &s = a.in[1], &g_mean = a.gradients[0], &g_variance = a.gradients[1];
  Tensor dx, ds;
  const Tensor mean = g_variance.defined() ? a.out(0) : Tensor();
  if (a.needs(0)) {
    if (g_mean.defined()) dx = g_mean * relu_smoothed(x, s, 1);
    if (g_variance.defined()) dx = sum_of(dx, g_variance * (mean * relu_smoothed(-x, s, 1) * 2.0));
  }
  if (a.needs(1)) {
    const Tensor density = scaled_derivative(x, s, 2, 1);
    if (g_mean.defined()) ds = g_mean * density;
    if (g_variance.defined()) ds = sum_of(ds, g_variance * ((s * relu_smoothed(x, s, 1) - mean * density) * 2.0));
  }
  return {dx, ds};
}

// in: gradients of mean and variance, x, s
const Op moments_gradient_op{.name = "relu_moments_gradient",
                             .shape = broadcast_shape,
                             MOLLIFY_POINTWISE(ReluMomentsGradient),
                             .operands = with_reciprocal};

Tensors moments_vjp_fast(const VjpArguments& a) {
  if (a.needs(1)) return moments_vjp(a);
  const Tensor zero = Tensor::scalar(0, a.in[0].dtype());
  const Tensor &g_mean = a.gradients[0].defined() ? a.gradients[0] : zero,
               &g_variance = a.gradients[1].defined() ? a.gradients[1] : zero;
  return apply(moments_gradient_op, {g_mean, g_variance, a.in[0], a.in[1]});
}

const Op moments_op{.name = "relu_moments",
                    .shape = moments_shape,
                    MOLLIFY_POINTWISE(ReluMoments),
                    .operands = with_reciprocal,
                    .vjp = moments_vjp,
                    .vjp_fast = moments_vjp_fast};
const Op totals_op{.name = "relu_total_variance",
                   .shape = totals_shape,
                   MOLLIFY_POINTWISE_SUM(ReluTotalVariance),
                   .operands = with_reciprocal,
                   .vjp = moments_vjp,
                   .vjp_fast = moments_vjp_fast};

// ---- Ramp and clip

// The ends as operands of the formula.
Tensors with_interval(Inputs in, const Attributes& attributes) {
  const Interval& interval = attributes.as<Interval>();
  return {in[0], in[1], Tensor::scalar(interval.low, in[0].dtype()), Tensor::scalar(interval.high, in[0].dtype())};
}

// The derivatives of ramp_smoothed and of clip_smoothed are one family.
Tensors ramp_vjp(const VjpArguments& a) {
  const Tensor &x = a.in[0], &s = a.in[1];
  const Interval& i = a.as<Interval>();
  const int n = static_cast<int>(i.derivative);
  return {a.needs(0) ? a.g * ramp_smoothed(x, s, i.low, i.high, n + 1) : Tensor(),
          a.needs(1) ? a.g * (scaled_derivative(x - i.low, s, n + 2, 1) - scaled_derivative(x - i.high, s, n + 2, 1))
                     : Tensor()};
}

const Op ramp_op{.name = "ramp_smoothed",
                 .shape = broadcast_shape,
                 MOLLIFY_POINTWISE(RampSmoothed),
                 .operands = with_interval,
                 .vjp = ramp_vjp};
const Op ramp_derivative_op{.name = "ramp_smoothed",
                            .shape = broadcast_shape,
                            MOLLIFY_POINTWISE(RampSmoothedDerivative),
                            .operands = with_interval,
                            .vjp = ramp_vjp};
const Op clip_op{.name = "clip_smoothed",
                 .shape = broadcast_shape,
                 MOLLIFY_POINTWISE(ClipSmoothed),
                 .operands = with_interval,
                 .vjp = ramp_vjp};

Interval interval_of(const char* operation, double low, double high, int derivative) {
  require<ValueError>(std::isfinite(low) && std::isfinite(high) && low <= high,
                      "{}: the interval is [{}, {}]; needs finite ends, low <= high", operation, low, high);
  return {low, high, derivative};
}

// ---- Exponential activations

// T' = T − φ(a)/s
const Op exp_below_op{.name = "exp_below_smoothed", .shape = broadcast_shape, MOLLIFY_POINTWISE(ExpBelowSmoothed),
                      .vjp = [](const VjpArguments& a) -> Tensors {
                        const Tensor &x = a.in[0], &s = a.in[1];
                        const Tensor slope = a.out() - relu_smoothed(x, s, 2);
                        return {a.needs(0) ? a.g * slope : Tensor(),
                                a.needs(1) ? a.g * (s * slope - scaled_derivative(x, s, 3, 1)) : Tensor()};
                      }};
// The densities cancel: elu_s' = Φ(a) + T, elu_s'' = T.
const Op elu_op{.name = "elu_smoothed",
                .shape = broadcast_shape,
                MOLLIFY_POINTWISE(EluSmoothed),
                .vjp = [](const VjpArguments& a) -> Tensors {
                  const Tensor &x = a.in[0], &s = a.in[1], below = exp_below_smoothed(x, s);
                  return {a.needs(0) ? a.g * (relu_smoothed(x, s, 1) + below) : Tensor(),
                          a.needs(1) ? a.g * (s * below) : Tensor()};
                }};
// gelu_s = relu_q − relu_q'' with q = √(1 + s²).
const Op gelu_op{
    .name = "gelu_smoothed",
    .shape = broadcast_shape,
    MOLLIFY_POINTWISE(GeluSmoothed),
    .vjp = [](const VjpArguments& a) -> Tensors {
      const Tensor &x = a.in[0], &s = a.in[1], q = widened_scale(s, 1);
      const auto derivative = [&](int n, int power) {
        return scaled_derivative(x, q, n, power) - scaled_derivative(x, q, n + 2, power);
      };
      return {a.needs(0) ? a.g * derivative(1, 0) : Tensor(), a.needs(1) ? a.g * (s / q * derivative(2, 1)) : Tensor()};
    }};

const Op max_op{.name = "max_smoothed",
                .shape = broadcast_shape,
                MOLLIFY_POINTWISE(MaxSmoothed),
                .vjp = [](const VjpArguments& a) -> Tensors {
                  const Tensor &theta = a.in[2], distance = a.in[0] - a.in[1];
                  return {a.needs(0) ? a.g * relu_smoothed(distance, theta, 1) : Tensor(),
                          a.needs(1) ? a.g * relu_smoothed(-distance, theta, 1) : Tensor(),
                          a.needs(2) ? a.g * scaled_derivative(distance, theta, 2, 1) : Tensor()};
                }};

// ∂T/∂h = −φ(h) erf(ah/√2)/2, ∂T/∂a = e^{−h²(1+a²)/2}/(2π(1 + a²))
const Op owens_t_op{.name = "owens_t",
                    .shape = broadcast_shape,
                    MOLLIFY_POINTWISE(OwensT),
                    .vjp = [](const VjpArguments& v) -> Tensors {
                      const Tensor &h = v.in[0], &a = v.in[1];
                      Tensor dh, da;
                      if (v.needs(0)) dh = v.g * (normal_pdf(h) * erf(a * h * 0.70710678118654752) * -0.5);
                      if (v.needs(1)) {
                        const Tensor factor = square(a) + 1.0;
                        da = v.g * (exp(square(h) * factor * -0.5) / factor * 0.15915494309189534);
                      }
                      return {dh, da};
                    }};

extern const Op owens_t_to_one_op;
Tensor owens_t_to_one(const Tensor& h, const Tensor& width, const Tensor& power) {
  return apply(owens_t_to_one_op, {h, width, power});
}

// in: h, width, power. ∂/∂h = −h·(the same with a power less), and ∂/∂width is the integrand at 1 − width.
const Op owens_t_to_one_op{.name = "owens_t_to_one",
                           .shape = broadcast_shape,
                           MOLLIFY_POINTWISE(OwensTToOne),
                           .vjp = [](const VjpArguments& v) -> Tensors {
                             const Tensor &h = v.in[0], &width = v.in[1], &power = v.in[2];
                             Tensor dh, dwidth;
                             if (v.needs(0)) dh = -(v.g * (h * owens_t_to_one(h, width, power - 1.0)));
                             if (v.needs(1)) {
                               const Tensor factor = square(1.0 - width) + 1.0;
                               dwidth =
                                   v.g * (exp(square(h) * factor * -0.5) * pow(factor, -power) * 0.15915494309189534);
                             }
                             return {dh, dwidth, Tensor()};
                           }};

}  // namespace

Tensor relu_smoothed(const Tensor& x, const Tensor& s, int derivative) {
  require<ValueError>(derivative >= -1, "relu_smoothed: the derivative is {}; needs at least -1, the antiderivative",
                      derivative);
  return scaled_derivative(x, s, derivative, 0);
}
Tensor sign_smoothed(const Tensor& x, const Tensor& s) { return apply(sign_op, {x, s}); }
Tensor abs_smoothed(const Tensor& x, const Tensor& s) { return apply(abs_op, {x, s}); }

Moments relu_moments(const Tensor& x, const Tensor& s) {
  const Tensors out = apply_all(moments_op, {x, s});
  return {out[0], out[1]};
}
Moments relu_total_variance(const Tensor& x, const Tensor& s) {
  const Tensors out = apply_all(totals_op, {x, s});
  return {out[0], out[1]};
}

Tensor ramp_smoothed(const Tensor& x, const Tensor& s, double low, double high, int derivative) {
  require<ValueError>(derivative >= 0, "ramp_smoothed: the derivative is {}; needs at least 0", derivative);
  const Interval interval = interval_of("ramp_smoothed", low, high, derivative);
  if (derivative > 1) return relu_smoothed(x - low, s, derivative) - relu_smoothed(x - high, s, derivative);
  return apply(derivative == 0 ? ramp_op : ramp_derivative_op, {x, s}, interval);
}
Tensor clip_smoothed(const Tensor& x, const Tensor& s, double low, double high) {
  return apply(clip_op, {x, s}, interval_of("clip_smoothed", low, high, 0));
}

Tensor exp_below_smoothed(const Tensor& x, const Tensor& s) { return apply(exp_below_op, {x, s}); }
Tensor elu_smoothed(const Tensor& x, const Tensor& s) { return apply(elu_op, {x, s}); }
Tensor gelu_smoothed(const Tensor& x, const Tensor& s) { return apply(gelu_op, {x, s}); }
Tensor max_smoothed(const Tensor& x, const Tensor& y, const Tensor& theta) { return apply(max_op, {x, y, theta}); }
Tensor owens_t(const Tensor& h, const Tensor& a) { return apply(owens_t_op, {h, a}); }
Tensor owens_t_to_one(const Tensor& h, const Tensor& width, int power) {
  require<ValueError>(power <= 1, "owens_t_to_one: the power is {}; needs at most 1", power);
  return owens_t_to_one(h, width, Tensor::scalar(power, h.dtype()));
}
Tensor checked_scale(const Tensor& s) { return apply(checked_op, {s}); }
Tensor widened_scale(const Tensor& s, double h) {
  require<ValueError>(h > 0 && std::isfinite(h), "widened_scale: h is {}; needs a finite number above 0", h);
  return apply(widened_op, {s, Tensor::scalar(h, s.dtype())});
}

}  // namespace mollify::smoothing

#endif  // HWY_ONCE
