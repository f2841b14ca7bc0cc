// Arithmetic, comparisons and the piecewise-linear functions.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/ops/arithmetic.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/pointwise-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
#include <mollify/engine/ops/arithmetic.inl>
}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#ifdef MOLLIFY_CUDA
namespace mollify::cuda {  // the names of their CUDA kernels
#include <mollify/engine/ops/arithmetic.inl>
}  // namespace mollify::cuda
#endif

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <cmath>

namespace mollify {
namespace {

Tensor like(const Tensor& x, double value) { return Tensor::scalar(value, x.dtype()); }

Layouts compare_shape(const Op& op, Inputs in, const Attributes&) {
  require_same_dtype(op.name, in[0], in[1]);
  return Layout::packed(broadcast(op.name, in[0].shape(), in[1].shape()), DType::u8, in[0].device());
}

Layouts where_shape(const Op& op, Inputs in, const Attributes&) {
  require<TypeError>(in[0].dtype() == DType::u8, "{}: the condition is {}; needs u8, as comparisons return", op.name,
                     in[0].dtype());
  require_same_dtype(op.name, in[1], in[2]);
  const Shape choices = broadcast(op.name, in[1].shape(), in[2].shape());
  return Layout::packed(broadcast(op.name, in[0].shape(), choices), in[1].dtype(), in[0].device());
}

// What an extreme of two passes on to the one of them: all where it wins, half at equality.
Tensor share(const Tensor& g, const Tensor& wins, const Tensor& equals) {
  return where(wins, g, where(equals, g * 0.5, like(g, 0)));
}

const Op add_op{.name = "add",
                .linearity = Linearity::sum,
                .shape = broadcast_shape,
                MOLLIFY_POINTWISE(Add),
                .vjp = [](const VjpArguments& a) -> Tensors {
                  return {a.g, a.g};
                }};
const Op subtract_op{.name = "subtract",
                     .linearity = Linearity::sum,
                     .shape = broadcast_shape,
                     MOLLIFY_POINTWISE(Subtract),
                     .vjp = [](const VjpArguments& a) -> Tensors {
                       return {a.g, a.needs(1) ? -a.g : Tensor()};
                     }};
const Op multiply_op{.name = "multiply",
                     .linearity = Linearity::product,
                     .shape = broadcast_shape,
                     MOLLIFY_POINTWISE(Multiply),
                     .vjp = [](const VjpArguments& a) -> Tensors {
                       return {a.needs(0) ? a.g * a.in[1] : Tensor(), a.needs(1) ? a.g * a.in[0] : Tensor()};
                     }};
const Op divide_op{.name = "divide",
                   .linearity = Linearity::product,
                   .shape = broadcast_shape,
                   MOLLIFY_POINTWISE(Divide),
                   .vjp = [](const VjpArguments& a) -> Tensors {
                     return {a.needs(0) ? a.g / a.in[1] : Tensor(), a.needs(1) ? -(a.g * a.out() / a.in[1]) : Tensor()};
                   }};
const Op negative_op{.name = "negative",
                     .linearity = Linearity::sum,
                     .shape = broadcast_shape,
                     MOLLIFY_POINTWISE(Negative),
                     .vjp = [](const VjpArguments& a) -> Tensors { return -a.g; }};
const Op square_op{
    .name = "square", .shape = broadcast_shape, MOLLIFY_POINTWISE(Square), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * (a.in[0] * 2.0);
    }};
const Op sum_of_squares_op{.name = "sum_of_squares",
                           .shape = [](const Op& op, Inputs in, const Attributes&) -> Layouts {
                             require_floating(op.name, in[0]);
                             return Layout::packed({}, in[0].dtype(), in[0].device());
                           },
                           MOLLIFY_POINTWISE_SUM(SumOfSquares),
                           .vjp = [](const VjpArguments& a) -> Tensors { return a.in[0] * (a.g * 2.0); }};
const Op sqrt_op{
    .name = "sqrt", .shape = broadcast_shape, MOLLIFY_POINTWISE(Sqrt), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g / (a.out() * 2.0);
    }};
const Op abs_op{
    .name = "abs", .shape = broadcast_shape, MOLLIFY_POINTWISE(Abs), .vjp = [](const VjpArguments& a) -> Tensors {
      return a.g * sign(a.in[0]);
    }};
const Op sign_op{
    .name = "sign", .shape = broadcast_shape, MOLLIFY_POINTWISE(Sign), .vjp = [](const VjpArguments&) -> Tensors {
      return {};
    }};

const Op floor_op{
    .name = "floor", .shape = broadcast_shape, MOLLIFY_POINTWISE(Floor), .vjp = [](const VjpArguments&) -> Tensors {
      return {};
    }};

const Op less_op{.name = "less", .shape = compare_shape, MOLLIFY_POINTWISE(Less)};
const Op less_equal_op{.name = "less_equal", .shape = compare_shape, MOLLIFY_POINTWISE(LessEqual)};
const Op equal_op{.name = "equal", .shape = compare_shape, MOLLIFY_POINTWISE(Equal)};
const Op not_equal_op{.name = "not_equal", .shape = compare_shape, MOLLIFY_POINTWISE(NotEqual)};

const Op where_op{.name = "where",
                  .linearity = Linearity::sum,
                  .shape = where_shape,
                  MOLLIFY_POINTWISE(Where),
                  .vjp = [](const VjpArguments& a) -> Tensors {
                    const Tensor zero = like(a.g, 0);
                    return {Tensor(), a.needs(1) ? where(a.in[0], a.g, zero) : Tensor(),
                            a.needs(2) ? where(a.in[0], zero, a.g) : Tensor()};
                  }};
const Op minimum_op{.name = "minimum",
                    .shape = broadcast_shape,
                    MOLLIFY_POINTWISE(Minimum),
                    .vjp = [](const VjpArguments& a) -> Tensors {
                      const Tensor equals = equal(a.in[0], a.in[1]);
                      return {a.needs(0) ? share(a.g, less(a.in[0], a.in[1]), equals) : Tensor(),
                              a.needs(1) ? share(a.g, less(a.in[1], a.in[0]), equals) : Tensor()};
                    }};
const Op maximum_op{.name = "maximum",
                    .shape = broadcast_shape,
                    MOLLIFY_POINTWISE(Maximum),
                    .vjp = [](const VjpArguments& a) -> Tensors {
                      const Tensor equals = equal(a.in[0], a.in[1]);
                      return {a.needs(0) ? share(a.g, less(a.in[1], a.in[0]), equals) : Tensor(),
                              a.needs(1) ? share(a.g, less(a.in[0], a.in[1]), equals) : Tensor()};
                    }};
const Op clip_op{
    .name = "clip", .shape = broadcast_shape, MOLLIFY_POINTWISE(Clip), .vjp = [](const VjpArguments& a) -> Tensors {
      const Tensor &x = a.in[0], &low = a.in[1], &high = a.in[2], zero = like(a.g, 0);
      return {a.needs(0) ? where(less(x, low), zero, where(greater(x, high), zero, a.g)) : Tensor(),
              a.needs(1) ? where(less(maximum(x, low), high), where(less(x, low), a.g, zero), zero) : Tensor(),
              a.needs(2) ? where(greater(maximum(x, low), high), a.g, zero) : Tensor()};
    }};

const Op relu_op{
    .name = "relu", .shape = broadcast_shape, MOLLIFY_POINTWISE(Relu), .vjp = [](const VjpArguments& a) -> Tensors {
      return gate(a.g, a.in[0]);
    }};
const Op gate_op{
    .name = "gate", .shape = broadcast_shape, MOLLIFY_POINTWISE(Gate), .vjp = [](const VjpArguments& a) -> Tensors {
      return {gate(a.g, a.in[1]), Tensor()};
    }};
const Op leaky_relu_op{.name = "leaky_relu",
                       .shape = broadcast_shape,
                       MOLLIFY_POINTWISE(LeakyRelu),
                       .vjp = [](const VjpArguments& a) -> Tensors {
                         const Tensor positive = greater(a.in[0], like(a.g, 0));
                         return {a.needs(0) ? where(positive, a.g, a.g * a.in[1]) : Tensor(),
                                 a.needs(1) ? where(positive, like(a.g, 0), a.g * a.in[0]) : Tensor()};
                       }};

// Of i32 by way of f64, where results are exact unless they are no i32, and then the cast throws.
Tensor arithmetic(const Op& op, const Tensor& a, const Tensor& b) {
  if (a.dtype() != DType::i32 || b.dtype() != DType::i32) return apply(op, {a, b});
  return cast(apply(op, {cast(a, DType::f64), cast(b, DType::f64)}), DType::i32);
}

// A fraction beside integers is refused: it would be cut off.
Tensor number_beside(const Tensor& x, double value) {
  require<ValueError>(is_floating(x.dtype()) || std::trunc(value) == value,
                      "arithmetic: {} beside {}; needs a whole number, or a cast", value, x.dtype());
  return like(x, value);
}

}  // namespace

Tensor operator+(const Tensor& a, const Tensor& b) { return arithmetic(add_op, a, b); }
Tensor operator-(const Tensor& a, const Tensor& b) { return arithmetic(subtract_op, a, b); }
Tensor operator*(const Tensor& a, const Tensor& b) { return arithmetic(multiply_op, a, b); }
Tensor operator/(const Tensor& a, const Tensor& b) { return apply(divide_op, {a, b}); }
Tensor operator-(const Tensor& x) { return x.dtype() == DType::i32 ? 0.0 - x : apply(negative_op, {x}); }
Tensor operator+(const Tensor& a, double b) { return a + number_beside(a, b); }
Tensor operator-(const Tensor& a, double b) { return a - number_beside(a, b); }
Tensor operator*(const Tensor& a, double b) { return a * number_beside(a, b); }
Tensor operator/(const Tensor& a, double b) { return a / like(a, b); }
Tensor operator+(double a, const Tensor& b) { return number_beside(b, a) + b; }
Tensor operator-(double a, const Tensor& b) { return number_beside(b, a) - b; }
Tensor operator*(double a, const Tensor& b) { return number_beside(b, a) * b; }
Tensor operator/(double a, const Tensor& b) { return like(b, a) / b; }
Tensor square(const Tensor& x) { return apply(square_op, {x}); }
Tensor sum_of_squares(const Tensor& x) { return apply(sum_of_squares_op, {x}); }
Tensor sqrt(const Tensor& x) { return apply(sqrt_op, {x}); }
Tensor abs(const Tensor& x) { return apply(abs_op, {x}); }
Tensor sign(const Tensor& x) { return apply(sign_op, {x}); }
Tensor floor(const Tensor& x) { return apply(floor_op, {x}); }

Tensor less(const Tensor& a, const Tensor& b) { return apply(less_op, {a, b}); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return apply(less_equal_op, {a, b}); }
Tensor greater(const Tensor& a, const Tensor& b) { return less(b, a); }
Tensor greater_equal(const Tensor& a, const Tensor& b) { return less_equal(b, a); }
Tensor equal(const Tensor& a, const Tensor& b) { return apply(equal_op, {a, b}); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return apply(not_equal_op, {a, b}); }
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) { return apply(where_op, {condition, a, b}); }
Tensor minimum(const Tensor& a, const Tensor& b) { return apply(minimum_op, {a, b}); }
Tensor maximum(const Tensor& a, const Tensor& b) { return apply(maximum_op, {a, b}); }
Tensor clip(const Tensor& x, const Tensor& low, const Tensor& high) { return apply(clip_op, {x, low, high}); }
Tensor clip(const Tensor& x, double low, double high) { return clip(x, like(x, low), like(x, high)); }

Tensor relu(const Tensor& x) { return apply(relu_op, {x}); }
Tensor gate(const Tensor& g, const Tensor& x) { return apply(gate_op, {g, x}); }
Tensor leaky_relu(const Tensor& x, double slope) { return apply(leaky_relu_op, {x, like(x, slope)}); }

}  // namespace mollify

#endif  // HWY_ONCE
