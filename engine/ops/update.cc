// The operations that overwrite: assign, and the optimisers' fused passes over flat vectors.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/ops/update.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/pointwise-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
#include <mollify/engine/ops/update.inl>
}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#ifdef MOLLIFY_CUDA
namespace mollify::cuda {  // the names of their CUDA kernels
#include <mollify/engine/ops/update.inl>
}  // namespace mollify::cuda
#endif

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/cuda/copy.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

// The overwritten tensors must be packed and alike; whatever else is not like them is a single number.
template <int targets>
Layouts update_shape(const Op& op, Inputs in, const Attributes&) {
  require_floating(op.name, in[0]);
  Layouts layouts;
  for (size_t i = 0; i < in.size(); ++i) {
    require_same_dtype(op.name, in[0], in[i]);
    require(in[i].shape() == in[0].shape() || (i >= targets && in[i].size() == 1),
            "{}: weights are {}, input {} is {}; needs the same shape, or one number", op.name, in[0].shape(), i,
            in[i].shape());
    if (i >= targets) continue;
    require(in[i].is_packed(), "{}: input {} of shape {} has strides {}; what is overwritten must be packed", op.name,
            i, in[i].shape(), in[i].strides());
    layouts.push_back(in[i].layout());
  }
  return layouts;
}

void assign_kernel(const KernelArguments& a) { MOLLIFY_ON(a.out[0].device(), copy(a.in[1], a.out[0])); }

const Op assign_op{.name = "assign", .shape = [](const Op& op, Inputs in, const Attributes&) -> Layouts {
                     require_same_dtype(op.name, in[0], in[1]);
                     require(broadcast(op.name, in[0].shape(), in[1].shape()) == in[0].shape(),
                             "{}: {} into {}; the value must broadcast to the target", op.name, in[1].shape(),
                             in[0].shape());
                     for (int axis = 0; axis < in[0].rank(); ++axis)
                       require(in[0].strides()[axis] != 0 || in[0].shape()[axis] <= 1,
                               "{}: the target {} repeats its elements along axis {}; needs one place for each",
                               op.name, in[0].shape(), axis);
                     return in[0].layout();
                   }, .cpu = assign_kernel, .cuda = MOLLIFY_CUDA_KERNEL(assign_kernel), .assigns = 1};
const Op sgd_plain_op{.name = "sgd_step", .shape = update_shape<1>, MOLLIFY_POINTWISE(SgdPlain), .assigns = 1};
const Op sgd_momentum_op{.name = "sgd_step", .shape = update_shape<2>, MOLLIFY_POINTWISE(SgdMomentum), .assigns = 2};
const Op adam_op{.name = "adam_step", .shape = update_shape<3>, MOLLIFY_POINTWISE(Adam), .assigns = 3};

}  // namespace

const Op& assign_operation() { return assign_op; }

void assign(const Tensor& target, const Tensor& value) { apply_all(assign_op, {target, value}); }

void sgd_step(const Tensor& weights, const Tensor& gradient, const Tensor& velocity, const SgdStep& how) {
  if (!velocity.defined()) {
    apply_all(sgd_plain_op, {weights, gradient, how.learning_rate, how.weight_decay});
  } else {
    const Tensor nesterov = Tensor::scalar(how.nesterov, weights.dtype());
    apply_all(sgd_momentum_op,
              Tensors{weights, velocity, gradient, how.learning_rate, how.momentum, how.weight_decay, nesterov});
  }
}

void adam_step(const Tensor& weights, const Tensor& gradient, const Tensor& first, const Tensor& second,
               const AdamStep& how) {
  // 1 − βᵗ in f64: near β = 1 it would lose digits in f32.
  const auto over_correction = [&](const Tensor& numerator, const Tensor& beta) {
    const Tensor correction = -expm1(cast(how.step, DType::f64) * log(cast(beta, DType::f64)));
    return cast(cast(numerator, DType::f64) / correction, weights.dtype());
  };
  const Tensor rate = over_correction(how.learning_rate, how.beta1),
               inverse = over_correction(ones({}, weights.dtype()), how.beta2);
  apply_all(adam_op, Tensors{weights, first, second, gradient, how.learning_rate, how.beta1, how.beta2, how.epsilon,
                             how.weight_decay, how.decoupled_decay, rate, inverse,
                             how.epsilon_inside.defined() ? how.epsilon_inside : Tensor::scalar(0, weights.dtype())});
}

}  // namespace mollify

#endif  // HWY_ONCE
