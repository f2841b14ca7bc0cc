// Gradients. A function takes tensors and returns tensors; nothing has to be declared differentiable beforehand.
#pragma once

#include <mollify/engine/op.h>

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

}  // namespace detail

// value_and_grad(f)(x) is {f(x), ∇f(x)} for a scalar f.
template <class F>
auto value_and_grad(F f) {
  return [f = std::move(f)](const Tensor& x) {
    detail::Value result = detail::differentiate(f, x, nullptr);
    return std::pair<Tensor, Tensor>{std::move(result.value), std::move(result.gradient)};
  };
}

// grad(f)(x) is ∇f(x) for a scalar f; grad(grad(f)) and so on work for every operation.
template <class F>
auto grad(F f) {
  return [f = std::move(f)](const Tensor& x) { return detail::differentiate(f, x, nullptr).gradient; };
}

// vjp(f, x, v) is {f(x), vᵀ ∂f(x)/∂x}; v has the shape of f(x).
template <class F>
std::pair<Tensor, Tensor> vjp(const F& f, const Tensor& x, const Tensor& v) {
  detail::Value result = detail::differentiate(f, x, &v);
  return {std::move(result.value), std::move(result.gradient)};
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

}  // namespace mollify
