// Test functions of optimisation, over the last axis of x: […, d] → […]. f32 or f64, differentiable by grad.
#pragma once

#include <mollify/engine/tensor.h>

#include <span>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

Tensor sphere(const Tensor& x);  // Σ x²
Tensor rosenbrock(const Tensor& x);  // Σ 100·(x_{i+1} − x_i²)² + (1 − x_i)², of two numbers and more: a curved valley
Tensor rastrigin(const Tensor& x);  // Σ x² + 10·(1 − cos 2πx): minima near all whole numbers
Tensor drop_wave(const Tensor& x);  // 1 − (1 + cos 12‖x‖)/(‖x‖²/2 + 2): rings around the minimum, flat far from it
// 20·(1 − e^(−‖x‖/(5√d))) + e − e^(mean cos 2πx): a funnel with minima all over it and a kink at its own. The gradient
// there is 0.
Tensor ackley(const Tensor& x);

// The minimum of each is 0, at one point; rounding leaves it exactly 0 there.
struct TestFunction {
  const char* name;
  Tensor (*function)(const Tensor& x);
  double low, high;       // of each number of x: the box in which the minimum is usually searched
  double minimiser;       // each number of it
  int64_t dimension = 1;  // the least
};
std::span<const TestFunction> test_functions();
const TestFunction& test_function(const std::string& name);  // throws ValueError, naming those there are

}  // namespace mollify::smoothing
#pragma GCC visibility pop
