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

constexpr double kTwoOverSqrtPi = 1.1283791670955126;

// d/dx erf(x) = 2/√π·exp(−x²)
Tensor erf_derivative(const Tensor& x) { return exp(-square(x)) * kTwoOverSqrtPi; }

const Op erf_op{.name = "erf", .shape = broadcast_shape, MOLLIFY_POINTWISE(Erf), .vjp = [](const VjpArguments& a) -> Tensors {
                  return a.g * erf_derivative(a.in[0]);
                }};
const Op erfc_op{.name = "erfc", .shape = broadcast_shape, MOLLIFY_POINTWISE(Erfc), .vjp = [](const VjpArguments& a) -> Tensors {
                   return -(a.g * erf_derivative(a.in[0]));
                 }};
const Op erfcx_op{.name = "erfcx", .shape = broadcast_shape, MOLLIFY_POINTWISE(Erfcx), .vjp = [](const VjpArguments& a) -> Tensors {
                    return a.g * (a.in[0] * a.out() * 2.0 - kTwoOverSqrtPi);
                  }};
const Op normal_cdf_op{.name = "normal_cdf", .shape = broadcast_shape, MOLLIFY_POINTWISE(NormalCdf), .vjp = [](const VjpArguments& a) -> Tensors {
                         return a.g * normal_pdf(a.in[0]);
                       }};
const Op normal_pdf_op{.name = "normal_pdf", .shape = broadcast_shape, MOLLIFY_POINTWISE(NormalPdf), .vjp = [](const VjpArguments& a) -> Tensors {
                         return -(a.g * a.in[0] * a.out());
                       }};
const Op normal_quantile_op{.name = "normal_quantile", .shape = broadcast_shape, MOLLIFY_POINTWISE(NormalQuantile),
                            .vjp = [](const VjpArguments& a) -> Tensors { return a.g / normal_pdf(a.out()); }};
const Op sigmoid_op{.name = "sigmoid", .shape = broadcast_shape, MOLLIFY_POINTWISE(Sigmoid), .vjp = [](const VjpArguments& a) -> Tensors {
                      return a.g * (a.out() * sigmoid(-a.in[0]));
                    }};
const Op softplus_op{.name = "softplus", .shape = broadcast_shape, MOLLIFY_POINTWISE(Softplus), .vjp = [](const VjpArguments& a) -> Tensors {
                       return a.g * sigmoid(a.in[0]);
                     }};
const Op log_sigmoid_op{.name = "log_sigmoid", .shape = broadcast_shape, MOLLIFY_POINTWISE(LogSigmoid), .vjp = [](const VjpArguments& a) -> Tensors {
                          return a.g * sigmoid(-a.in[0]);
                        }};
const Op silu_op{.name = "silu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Silu), .vjp = [](const VjpArguments& a) -> Tensors {
                   const Tensor s = sigmoid(a.in[0]);
                   return a.g * (s + a.out() * (1.0 - s));
                 }};
const Op elu_op{.name = "elu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Elu), .vjp = [](const VjpArguments& a) -> Tensors {
                  return a.g * exp(minimum(a.in[0], Tensor::scalar(0, a.g.dtype())));
                }};
const Op gelu_op{.name = "gelu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Gelu), .vjp = [](const VjpArguments& a) -> Tensors {
                   return a.g * (normal_cdf(a.in[0]) + a.in[0] * normal_pdf(a.in[0]));
                 }};

}  // namespace

Tensor erf(const Tensor& x) { return apply(erf_op, {x}); }
Tensor erfc(const Tensor& x) { return apply(erfc_op, {x}); }
Tensor erfcx(const Tensor& x) { return apply(erfcx_op, {x}); }
Tensor normal_cdf(const Tensor& x) { return apply(normal_cdf_op, {x}); }
Tensor normal_pdf(const Tensor& x) { return apply(normal_pdf_op, {x}); }
Tensor normal_quantile(const Tensor& p) { return apply(normal_quantile_op, {p}); }
Tensor sigmoid(const Tensor& x) { return apply(sigmoid_op, {x}); }
Tensor softplus(const Tensor& x) { return apply(softplus_op, {x}); }
Tensor log_sigmoid(const Tensor& x) { return apply(log_sigmoid_op, {x}); }
Tensor silu(const Tensor& x) { return apply(silu_op, {x}); }
Tensor elu(const Tensor& x) { return apply(elu_op, {x}); }
Tensor gelu(const Tensor& x) { return apply(gelu_op, {x}); }

}  // namespace mollify

#endif  // HWY_ONCE
