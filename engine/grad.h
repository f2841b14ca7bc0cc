// Gradients. A function takes tensors and returns tensors; nothing has to be declared differentiable beforehand.
#pragma once

#include <mollify/engine/node.h>

#include <array>
#include <functional>
#include <tuple>

#pragma GCC visibility push(default)
namespace mollify {

// Vector–Jacobian product over the record: Σ_j seeds[j]ᵀ ∂outputs[j]/∂inputs[i] for each i, zeros where nothing depends
// on it. `inputs` are variables, or anything computed from one. With `create_graph` the result is recorded and can be
// differentiated again. Throws GraphError when an input has no history or when an operation's input was overwritten
// since.
Tensors vjp_of(Inputs outputs, Inputs seeds, Inputs inputs, bool create_graph);

namespace detail {

struct Value {
  Tensor value;
  Tensors gradients;
};

// Pulls the seed (null: one, of a single number) back from `value` to the variables. Value and gradients are recorded
// when something else that they depend on has a history, so that gradients nest. Else the record is freed on the way,
// as far as the caller has moved it here.
Value pull_back(Tensor value, Inputs variables, const Tensor* seed, bool outer_recording);
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
  const bool outer_recording = is_recording();
  NoGrad recording(/*record=*/true);
  const Tensor x_variable = variable(x);
  detail::Value result = detail::pull_back(f(x_variable), x_variable, &v, outer_recording);
  return {std::move(result.value), std::move(result.gradients[0])};
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

namespace detail {

// A scalar alone, or with what else the function returns.
inline Tensor& scalar_of(Tensor& result) { return result; }
template <class More>
Tensor& scalar_of(std::pair<Tensor, More>& result) {
  return result.first;
}

}  // namespace detail

template <class F, class... Rest>
auto detail::value_and_gradients(const F& f, const Tensor& x, const Rest&... rest) {
  constexpr size_t kCount = 1 + sizeof...(Rest);
  const bool outer_recording = is_recording();
  NoGrad recording(/*record=*/true);
  const std::array<Tensor, kCount> variables{variable(x), variable(rest)...};
  auto result = std::apply(f, variables);
  Tensor& scalar = scalar_of(result);
  Value found = pull_back(std::move(scalar), std::span<const Tensor>(variables), nullptr, outer_recording);
  scalar = std::move(found.value);
  if constexpr (kCount == 1) {
    return std::pair{std::move(result), std::move(found.gradients[0])};
  } else {
    std::array<Tensor, kCount> gradients;
    std::move(found.gradients.begin(), found.gradients.end(), gradients.begin());
    return std::pair{std::move(result), std::move(gradients)};
  }
}

}  // namespace mollify
#pragma GCC visibility pop
