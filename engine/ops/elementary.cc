// Elementary functions.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/ops/elementary.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/pointwise-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
#include <mollify/engine/ops/elementary.inl>
}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#ifdef MOLLIFY_CUDA
namespace mollify::cuda {  // the names of their CUDA kernels
#include <mollify/engine/ops/elementary.inl>
}  // namespace mollify::cuda
#endif

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

const Op exp_op{
    .name = "exp", .shape = broadcast_shape, MOLLIFY_POINTWISE(Exp), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * a.out();
    }};
const Op expm1_op{
    .name = "expm1", .shape = broadcast_shape, MOLLIFY_POINTWISE(Expm1), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * exp(a.in[0]);
    }};
const Op log_op{
    .name = "log", .shape = broadcast_shape, MOLLIFY_POINTWISE(Log), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g / a.in[0];
    }};
const Op log1p_op{
    .name = "log1p", .shape = broadcast_shape, MOLLIFY_POINTWISE(Log1p), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g / (1.0 + a.in[0]);
    }};
const Op sin_op{
    .name = "sin", .shape = broadcast_shape, MOLLIFY_POINTWISE(Sin), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * cos(a.in[0]);
    }};
const Op cos_op{
    .name = "cos", .shape = broadcast_shape, MOLLIFY_POINTWISE(Cos), .vjp = [](const VjpArguments& a) -> Tensors {
      return -(a.g * sin(a.in[0]));
    }};
const Op tanh_op{
    .name = "tanh", .shape = broadcast_shape, MOLLIFY_POINTWISE(Tanh), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * (logistic_pdf(a.in[0] * 2.0) * 4.0);  // 1 − tanh² without cancellation
    }};
const Op pow_op{
    .name = "pow", .shape = broadcast_shape, MOLLIFY_POINTWISE(Pow), .vjp = [](const VjpArguments& a) -> Tensors {
      const Tensor &x = a.in[0], &y = a.in[1], zero = Tensor::scalar(0, x.dtype()), one = Tensor::scalar(1, x.dtype());
      // ∂x: y·x^(y−1), but 0·x⁰ for y = 0, so that no derivative of it meets 0·∞; of a variable y, whose mixed
      // derivative is 1/x there, at x = 0 only. ∂y: x^y·log x, whose limit at x = 0 is 0 for y ≥ 0.
      const auto exponent = [&] {
        return where(equal(y, zero), y.needs_grad() ? where(equal(x, zero), zero, y - 1.0) : zero, y - 1.0);
      };
      const auto base = [&] { return where(equal(x, zero), where(less(y, zero), x, one), x); };
      return {a.needs(0) ? a.g * (y * pow(x, exponent())) : Tensor(),
              a.needs(1) ? a.g * (a.out() * log(base())) : Tensor()};
    }};

}  // namespace

Tensor exp(const Tensor& x) { return apply(exp_op, {x}); }
Tensor expm1(const Tensor& x) { return apply(expm1_op, {x}); }
Tensor log(const Tensor& x) { return apply(log_op, {x}); }
Tensor log1p(const Tensor& x) { return apply(log1p_op, {x}); }
Tensor sin(const Tensor& x) { return apply(sin_op, {x}); }
Tensor cos(const Tensor& x) { return apply(cos_op, {x}); }
Tensor tanh(const Tensor& x) { return apply(tanh_op, {x}); }
Tensor pow(const Tensor& x, const Tensor& exponent) { return apply(pow_op, {x, exponent}); }
Tensor pow(const Tensor& x, double exponent) { return pow(x, Tensor::scalar(exponent, x.dtype())); }

}  // namespace mollify

#endif  // HWY_ONCE
