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

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/smoothing/ops.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

struct Order { int64_t value; };
struct Interval {
  double low, high;
  int64_t derivative;
};

constexpr Kernel kReluAntiderivative = MOLLIFY_POINTWISE_KERNEL(ReluSmoothedAntiderivative);
constexpr Kernel kReciprocal = MOLLIFY_POINTWISE_KERNEL(ScaleReciprocal);
constexpr Kernel kRelu = MOLLIFY_POINTWISE_KERNEL(ReluSmoothed);
constexpr Kernel kReluStep = MOLLIFY_POINTWISE_KERNEL(ReluSmoothedStep);
constexpr Kernel kReluDensity = MOLLIFY_POINTWISE_KERNEL(ReluSmoothedDensity);
constexpr Kernel kReluDerivative = MOLLIFY_POINTWISE_KERNEL(ReluSmoothedDerivative);
constexpr Kernel kRamp = MOLLIFY_POINTWISE_KERNEL(RampSmoothed);
constexpr Kernel kRampDerivative = MOLLIFY_POINTWISE_KERNEL(RampSmoothedDerivative);
constexpr Kernel kClip = MOLLIFY_POINTWISE_KERNEL(ClipSmoothed);

// Runs a kernel whose formula takes 1/s as its last operand, s being the op's last input.
template <Kernel kernel>
void with_reciprocal(const KernelArguments& a) {
  const size_t count = a.in.size();
  Tensors in(count + 1);
  for (size_t i = 0; i < count; ++i) in[i] = a.in[i];
  const Tensor &s = in[count - 1], &reciprocal = in[count] = Tensor::empty(Layout::packed(s.shape(), s.dtype(), s.device()));
  kReciprocal({s, {&reciprocal, 1}, a.attributes});
  kernel({in, a.out, a.attributes});
}

// ---- relu and its derivatives

void relu_kernel(const KernelArguments& a) {
  switch (const int64_t n = a.attributes.as<Order>().value; n) {
    case -1: return kReluAntiderivative(a);
    case 0: return with_reciprocal<kRelu>(a);
    case 1: return kReluStep(a);
    case 2: return kReluDensity(a);
    default: {
      const Tensor order = Tensor::scalar(static_cast<double>(n), a.in[0].dtype());
      return kReluDerivative({{a.in[0], a.in[1], order}, a.out, a.attributes});
    }
  }
}

Tensors relu_vjp(const VjpArguments& a) {
  const Tensor &x = a.in[0], &s = a.in[1];
  const int n = static_cast<int>(a.as<Order>().value);
  return {a.needs(0) ? a.g * relu_smoothed(x, s, n + 1) : Tensor(), a.needs(1) ? a.g * (s * relu_smoothed(x, s, n + 2)) : Tensor()};
}

// in: g, x, s
constexpr Kernel kReluGradient = MOLLIFY_POINTWISE_KERNEL(ReluSmoothedGradient);
const Op relu_gradient_op{.name = "relu_smoothed_gradient", .shape = broadcast_shape, .cpu = with_reciprocal<kReluGradient>};

Tensors relu_vjp_fast(const VjpArguments& a) {
  if (a.as<Order>().value != 0 || a.needs(1)) return relu_vjp(a);
  return apply(relu_gradient_op, {a.g, a.in[0], a.in[1]});
}

const Op relu_op{.name = "relu_smoothed", .shape = broadcast_shape, .cpu = relu_kernel, .vjp = relu_vjp, .vjp_fast = relu_vjp_fast};

const Op sign_op{.name = "sign_smoothed", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(SignSmoothed), .vjp = [](const VjpArguments& a) -> Tensors {
                   const Tensor &x = a.in[0], &s = a.in[1];
                   return {a.needs(0) ? a.g * (relu_smoothed(x, s, 2) * 2.0) : Tensor(), a.needs(1) ? a.g * (s * relu_smoothed(x, s, 3) * 2.0) : Tensor()};
                 }};
const Op abs_op{.name = "abs_smoothed", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(AbsSmoothed), .vjp = [](const VjpArguments& a) -> Tensors {
                  const Tensor &x = a.in[0], &s = a.in[1];
                  return {a.needs(0) ? a.g * sign_smoothed(x, s) : Tensor(), a.needs(1) ? a.g * (s * relu_smoothed(x, s, 2) * 2.0) : Tensor()};
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
    const Tensor density = s * relu_smoothed(x, s, 2);
    if (g_mean.defined()) ds = g_mean * density;
    if (g_variance.defined()) ds = sum_of(ds, g_variance * ((s * relu_smoothed(x, s, 1) - mean * density) * 2.0));
  }
  return {dx, ds};
}

// in: gradients of mean and variance, x, s
constexpr Kernel kMomentsGradient = MOLLIFY_POINTWISE_KERNEL(ReluMomentsGradient);
const Op moments_gradient_op{.name = "relu_moments_gradient", .shape = broadcast_shape, .cpu = with_reciprocal<kMomentsGradient>};

Tensors moments_vjp_fast(const VjpArguments& a) {
  if (a.needs(1)) return moments_vjp(a);
  const Tensor zero = Tensor::scalar(0, a.in[0].dtype());
  const Tensor &g_mean = a.gradients[0].defined() ? a.gradients[0] : zero, &g_variance = a.gradients[1].defined() ? a.gradients[1] : zero;
  return apply(moments_gradient_op, {g_mean, g_variance, a.in[0], a.in[1]});
}

constexpr Kernel kMoments = MOLLIFY_POINTWISE_KERNEL(ReluMoments), kTotals = MOLLIFY_POINTWISE_SUM_KERNEL(ReluTotalVariance);
const Op moments_op{.name = "relu_moments", .shape = moments_shape, .cpu = with_reciprocal<kMoments>, .vjp = moments_vjp,
                    .vjp_fast = moments_vjp_fast};
const Op totals_op{.name = "relu_total_variance", .shape = totals_shape, .cpu = with_reciprocal<kTotals>, .vjp = moments_vjp,
                   .vjp_fast = moments_vjp_fast};

// ---- Ramp and clip

// The ends as operands of the formula.
template <Kernel kernel>
void with_interval(const KernelArguments& a) {
  const Interval& interval = a.attributes.as<Interval>();
  const Tensor low = Tensor::scalar(interval.low, a.in[0].dtype()), high = Tensor::scalar(interval.high, a.in[0].dtype());
  kernel({{a.in[0], a.in[1], low, high}, a.out, a.attributes});
}

// The derivatives of ramp_smoothed and of clip_smoothed are one family.
Tensors ramp_vjp(const VjpArguments& a) {
  const Tensor &x = a.in[0], &s = a.in[1];
  const Interval& i = a.as<Interval>();
  const int n = static_cast<int>(i.derivative);
  return {a.needs(0) ? a.g * ramp_smoothed(x, s, i.low, i.high, n + 1) : Tensor(),
          a.needs(1) ? a.g * (s * ramp_smoothed(x, s, i.low, i.high, n + 2)) : Tensor()};
}

const Op ramp_op{.name = "ramp_smoothed", .shape = broadcast_shape, .cpu = with_interval<kRamp>, .vjp = ramp_vjp};
const Op ramp_derivative_op{.name = "ramp_smoothed", .shape = broadcast_shape, .cpu = with_interval<kRampDerivative>, .vjp = ramp_vjp};
const Op clip_op{.name = "clip_smoothed", .shape = broadcast_shape, .cpu = with_interval<kClip>, .vjp = ramp_vjp};

Interval interval_of(const char* operation, double low, double high, int derivative) {
  require<ValueError>(std::isfinite(low) && std::isfinite(high) && low <= high, "{}: the interval is [{}, {}]; needs finite ends, low <= high",
                      operation, low, high);
  return {low, high, derivative};
}

// ---- Exponential activations

// T' = T − φ(a)/s
const Op exp_below_op{.name = "exp_below_smoothed", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(ExpBelowSmoothed),
                      .vjp = [](const VjpArguments& a) -> Tensors {
                        const Tensor &x = a.in[0], &s = a.in[1];
                        const Tensor slope = a.out() - relu_smoothed(x, s, 2);
                        return {a.needs(0) ? a.g * slope : Tensor(), a.needs(1) ? a.g * (s * (slope - relu_smoothed(x, s, 3))) : Tensor()};
                      }};
// The densities cancel: elu_s' = Φ(a) + T, elu_s'' = T.
const Op elu_op{.name = "elu_smoothed", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(EluSmoothed), .vjp = [](const VjpArguments& a) -> Tensors {
                  const Tensor &x = a.in[0], &s = a.in[1], below = exp_below_smoothed(x, s);
                  return {a.needs(0) ? a.g * (relu_smoothed(x, s, 1) + below) : Tensor(), a.needs(1) ? a.g * (s * below) : Tensor()};
                }};
// gelu_s = relu_q − relu_q'' with q = √(1 + s²).
const Op gelu_op{.name = "gelu_smoothed", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(GeluSmoothed), .vjp = [](const VjpArguments& a) -> Tensors {
                   const Tensor &x = a.in[0], &s = a.in[1], q = sqrt(square(s) + 1.0);
                   const auto derivative = [&](int n) { return relu_smoothed(x, q, n) - relu_smoothed(x, q, n + 2); };
                   return {a.needs(0) ? a.g * derivative(1) : Tensor(), a.needs(1) ? a.g * (s * derivative(2)) : Tensor()};
                 }};

const Op max_op{.name = "max_smoothed", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(MaxSmoothed), .vjp = [](const VjpArguments& a) -> Tensors {
                  const Tensor &theta = a.in[2], distance = a.in[0] - a.in[1];
                  return {a.needs(0) ? a.g * relu_smoothed(distance, theta, 1) : Tensor(), a.needs(1) ? a.g * relu_smoothed(-distance, theta, 1) : Tensor(),
                          a.needs(2) ? a.g * (theta * relu_smoothed(distance, theta, 2)) : Tensor()};
                }};

// ∂T/∂h = −φ(h) erf(ah/√2)/2, ∂T/∂a = e^{−h²(1+a²)/2}/(2π(1 + a²))
const Op owens_t_op{.name = "owens_t", .shape = broadcast_shape, .cpu = MOLLIFY_POINTWISE_KERNEL(OwensT), .vjp = [](const VjpArguments& v) -> Tensors {
                      const Tensor &h = v.in[0], &a = v.in[1];
                      Tensor dh, da;
                      if (v.needs(0)) dh = v.g * (normal_pdf(h) * erf(a * h * 0.70710678118654752) * -0.5);
                      if (v.needs(1)) {
                        const Tensor factor = square(a) + 1.0;
                        da = v.g * (exp(square(h) * factor * -0.5) / factor * 0.15915494309189534);
                      }
                      return {dh, da};
                    }};

}  // namespace

Tensor relu_smoothed(const Tensor& x, const Tensor& s, int derivative) {
  require<ValueError>(derivative >= -1, "relu_smoothed: the derivative is {}; needs at least -1, the antiderivative", derivative);
  return apply(relu_op, {x, s}, Order{derivative});
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

}  // namespace mollify::smoothing

#endif  // HWY_ONCE
