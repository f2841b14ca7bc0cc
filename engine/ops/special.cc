// The normal distribution's functions and the smooth activations.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/ops/special.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/pointwise-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
#include <mollify/engine/ops/special.inl>
}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#ifdef MOLLIFY_CUDA
namespace mollify::cuda {  // the names of their CUDA kernels
#include <mollify/engine/ops/special.inl>
}  // namespace mollify::cuda
#endif

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

// x where φ is not 0 in either dtype, so that no product with φ or its derivatives is ∞·0.
Tensor in_reach(const Tensor& x) { return clip(x, -40, 40); }

// d/dx erf(x) = 2√2·φ(√2·x)
Tensor erf_derivative(const Tensor& x) { return normal_pdf(x * 1.4142135623730951) * 2.8284271247461903; }

// dⁿ/dxⁿ erfcx(x)·(−1)ⁿ for the 0-d n.
extern const Op erfcx_derivative_op;
Tensor erfcx_derivative(const Tensor& x, const Tensor& n) { return apply(erfcx_derivative_op, {x, n}); }

const Op erf_op{
    .name = "erf", .shape = broadcast_shape, MOLLIFY_POINTWISE(Erf), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * erf_derivative(a.in[0]);
    }};
const Op erfc_op{
    .name = "erfc", .shape = broadcast_shape, MOLLIFY_POINTWISE(Erfc), .vjp = [](const VjpArguments& a) -> Tensors {
      return -(a.g * erf_derivative(a.in[0]));
    }};
const Op erfcx_op{
    .name = "erfcx", .shape = broadcast_shape, MOLLIFY_POINTWISE(Erfcx), .vjp = [](const VjpArguments& a) -> Tensors {
      return -(a.g * erfcx_derivative(a.in[0], Tensor::scalar(1, a.g.dtype())));
    }};
const Op erfcx_derivative_op{.name = "erfcx_derivative", .shape = broadcast_shape, MOLLIFY_POINTWISE(ErfcxDerivative),
                             .vjp = [](const VjpArguments& a) -> Tensors {
                               return {-(a.g * erfcx_derivative(a.in[0], a.in[1] + 1.0)), Tensor()};
                             }};
const Op normal_cdf_op{.name = "normal_cdf",
                       .shape = broadcast_shape,
                       MOLLIFY_POINTWISE(NormalCdf),
                       .vjp = [](const VjpArguments& a) -> Tensors { return a.g * normal_pdf(a.in[0]); }};
const Op normal_pdf_op{.name = "normal_pdf",
                       .shape = broadcast_shape,
                       MOLLIFY_POINTWISE(NormalPdf),
                       .vjp = [](const VjpArguments& a) -> Tensors { return -(a.g * (in_reach(a.in[0]) * a.out())); }};
const Op normal_quantile_op{
    .name = "normal_quantile",
    .shape = broadcast_shape,
    MOLLIFY_POINTWISE(NormalQuantile),
    .vjp = [](const VjpArguments& a) -> Tensors {  // 1/φ, in which no term of a derivative cancels
      return a.g * (exp(square(a.out()) * 0.5) * 2.5066282746310002);
    }};
const Op sigmoid_op{.name = "sigmoid",
                    .shape = broadcast_shape,
                    MOLLIFY_POINTWISE(Sigmoid),
                    .vjp = [](const VjpArguments& a) -> Tensors { return a.g * logistic_pdf(a.in[0]); }};
const Op logistic_pdf_op{
    .name = "logistic_pdf",
    .shape = broadcast_shape,
    MOLLIFY_POINTWISE(LogisticPdf),
    .vjp = [](const VjpArguments& a) -> Tensors { return -(a.g * (a.out() * tanh(a.in[0] * 0.5))); }};
const Op softplus_op{.name = "softplus",
                     .shape = broadcast_shape,
                     MOLLIFY_POINTWISE(Softplus),
                     .vjp = [](const VjpArguments& a) -> Tensors { return a.g * sigmoid(a.in[0]); }};
const Op log_sigmoid_op{.name = "log_sigmoid",
                        .shape = broadcast_shape,
                        MOLLIFY_POINTWISE(LogSigmoid),
                        .vjp = [](const VjpArguments& a) -> Tensors { return a.g * sigmoid(-a.in[0]); }};
const Op silu_op{
    .name = "silu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Silu), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * (sigmoid(a.in[0]) + clip(a.in[0], -1000, 1000) * logistic_pdf(a.in[0]));
    }};
const Op elu_op{
    .name = "elu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Elu), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * exp(minimum(a.in[0], Tensor::scalar(0, a.g.dtype())));
    }};
const Op gelu_op{
    .name = "gelu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Gelu), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * (normal_cdf(a.in[0]) + in_reach(a.in[0]) * normal_pdf(a.in[0]));
    }};

}  // namespace

Tensor erf(const Tensor& x) { return apply(erf_op, {x}); }
Tensor erfc(const Tensor& x) { return apply(erfc_op, {x}); }
Tensor erfcx(const Tensor& x) { return apply(erfcx_op, {x}); }
Tensor normal_cdf(const Tensor& x) { return apply(normal_cdf_op, {x}); }
Tensor normal_pdf(const Tensor& x) { return apply(normal_pdf_op, {x}); }
Tensor normal_quantile(const Tensor& p) { return apply(normal_quantile_op, {p}); }
Tensor logistic_pdf(const Tensor& x) { return apply(logistic_pdf_op, {x}); }
Tensor sigmoid(const Tensor& x) { return apply(sigmoid_op, {x}); }
Tensor softplus(const Tensor& x) { return apply(softplus_op, {x}); }
Tensor log_sigmoid(const Tensor& x) { return apply(log_sigmoid_op, {x}); }
Tensor silu(const Tensor& x) { return apply(silu_op, {x}); }
Tensor elu(const Tensor& x) { return apply(elu_op, {x}); }
Tensor gelu(const Tensor& x) { return apply(gelu_op, {x}); }

}  // namespace mollify

#endif  // HWY_ONCE
