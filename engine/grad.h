// Gradients. A function takes tensors and returns tensors; nothing has to be declared differentiable beforehand.
#pragma once

#include <mollify/engine/op.h>

#include <array>
#include <functional>
#include <tuple>

namespace mollify {

// Vector–Jacobian product over the record: Σ_j seeds[j]ᵀ ∂outputs[j]/∂inputs[i] for each i, zeros where nothing depends
// on it.
// `inputs` are variables, or anything computed from one. With `create_graph` the result is recorded and can be
// differentiated again.
// Throws GraphError when an input has no history or when an operation's input was overwritten since.
Tensors vjp_of(Inputs outputs, Inputs seeds, Inputs inputs, bool create_graph);

namespace detail {

struct Value { Tensor value, gradient; };

// Runs f on variables made of `x` and pulls the seed (null: one) back. The gradient is recorded when something else
// that it depends on has a history, so that gradients nest.
template <class F>
Value differentiate(const F& f, const Tensor& x, const Tensor* seed);
Value pull_back(const char* operation, Tensor value, const Tensor& x, const Tensor* seed, bool outer_recording);
// Gradients of a scalar with respect to variables, recorded where something else that it depends on has a history.
Tensors pull_back_all(const Tensor& value, Inputs variables, bool outer_recording);
Tensor zeros_of(const Tensor& y);
Tensor jacobian(const Shape& y, const Tensor& x, const std::function<Tensor(const Tensor& seed)>& pulled);

template <class F, class... Rest>
auto value_and_gradients(const F& f, const Tensor& x, const Rest&... rest);

}  // namespace detail

// value_and_grad(f)(x) is {f(x), ∇f(x)} for a scalar f. Of several arguments, value_and_grad(f)(x, y), the gradients
// are an array, one for each. f may return a pair of the scalar and anything else, which comes back beside the value:
// {{f's scalar, the rest}, ∇f}.
template <class F>
auto value_and_grad(F f) {
  return [f = std::move(f)](const auto&... x) { return detail::value_and_gradients(f, x...); };
}

// grad(f)(x) is ∇f(x) for a scalar f, grad(f)(x, y) the array of both; grad(grad(f)) and so on work for every
// operation.
template <class F>
auto grad(F f) {
  return [f = std::move(f)](const auto&... x) { return detail::value_and_gradients(f, x...).second; };
}

// vjp(f, x, v) is {f(x), vᵀ ∂f(x)/∂x}; v has the shape of f(x).
template <class F>
std::pair<Tensor, Tensor> vjp(const F& f, const Tensor& x, const Tensor& v) {
  detail::Value result = detail::differentiate(f, x, &v);
  return {std::move(result.value), std::move(result.gradient)};
}

// jvp(f, x, v) is {f(x), ∂f(x)/∂x v}; v has the shape of x. Two reverse passes: the first is linear in its seed.
template <class F>
std::pair<Tensor, Tensor> jvp(const F& f, const Tensor& x, const Tensor& v) {
  const Tensor y = f(x);
  const auto pulled = [&](const Tensor& seed) { return vjp(f, x, seed).second; };
  return {y, vjp(pulled, detail::zeros_of(y), v).second};
}

// ∂f(x)/∂x as [f(x)'s axes, x's axes], a reverse pass for each number of f(x); and of a scalar f the Hessian, as
// [x's axes, x's axes].
template <class F>
Tensor jacobian(const F& f, const Tensor& x) {
  return detail::jacobian(f(x.detach()).shape(), x, [&](const Tensor& seed) { return vjp(f, x, seed).second; });
}
template <class F>
Tensor hessian(const F& f, const Tensor& x) {
  return jacobian(grad(f), x);
}

// Hessian–vector product ∇²f(x)·v of a scalar f, by differentiating vᵀ∇f(x).
template <class F>
Tensor hvp(const F& f, const Tensor& x, const Tensor& v) {
  return vjp(grad(f), x, v).second;
}

template <class F>
detail::Value detail::differentiate(const F& f, const Tensor& x, const Tensor* seed) {
  const bool outer_recording = is_recording();
  NoGrad recording(/*record=*/true);
  const Tensor x_variable = variable(x);
  return pull_back("grad", f(x_variable), x_variable, seed, outer_recording);
}

// A scalar alone, or with what else the function returns.
inline const Tensor& scalar_of(const Tensor& value) { return value; }
template <class More>
const Tensor& scalar_of(const std::pair<Tensor, More>& value) {
  return value.first;
}
inline Tensor with_scalar(const Tensor&, Tensor scalar) { return scalar; }
template <class More>
std::pair<Tensor, More> with_scalar(std::pair<Tensor, More> value, Tensor scalar) {
  value.first = std::move(scalar);
  return value;
}

template <class F, class... Rest>
auto detail::value_and_gradients(const F& f, const Tensor& x, const Rest&... rest) {
  constexpr size_t kCount = 1 + sizeof...(Rest);
  const bool outer_recording = is_recording();
  NoGrad recording(/*record=*/true);
  const std::array<Tensor, kCount> variables{variable(x), variable(rest)...};
  auto value = std::apply(f, variables);
  if constexpr (kCount == 1 && std::is_same_v<std::remove_cvref_t<decltype(value)>, Tensor>) {
    Value found = pull_back("grad", value, variables[0], nullptr, outer_recording);
    return std::pair<Tensor, Tensor>{std::move(found.value), std::move(found.gradient)};
  } else {
    const Tensors found = pull_back_all(scalar_of(value), std::span<const Tensor>(variables), outer_recording);
    const Tensor scalar = found[kCount];
    if constexpr (kCount == 1) {
      return std::pair{with_scalar(std::move(value), scalar), found[0]};
    } else {
      std::array<Tensor, kCount> gradients;
      for (size_t i = 0; i < kCount; ++i) gradients[i] = found[i];
      return std::pair{with_scalar(std::move(value), scalar), gradients};
    }
  }
}

}  // namespace mollify
