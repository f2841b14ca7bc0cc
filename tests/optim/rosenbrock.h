// Rosenbrock's function of two numbers, and its gradient by hand.
#pragma once

#include <mollify/engine/ops.h>

#include <vector>

namespace mollify::optim {

inline Tensor rosenbrock(const Tensor& w) {
  const Tensor x = slice(w, 0, 0, 1), y = slice(w, 0, 1, 2);
  return sum(square(1.0 - x) + square(y - square(x)) * 100.0);
}
inline std::vector<double> rosenbrock_gradient(const std::vector<double>& w) {
  return {-2 * (1 - w[0]) - 400 * w[0] * (w[1] - w[0] * w[0]), 200 * (w[1] - w[0] * w[0])};
}

inline const std::vector<double> kStart{-0.5, 0.7};

}  // namespace mollify::optim
