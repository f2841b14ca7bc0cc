// Values and derivatives of the elementary functions in extended precision, from formulas that do not cancel where it
// could matter.
#pragma once

#if __has_include(<quadmath.h>)
#define MOLLIFY_HAS_QUAD 1
#include <quadmath.h>

#include <mollify/engine/ops.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace mollify::op_table {

using Quad = __float128;

struct ScannedFunction {
  std::string name;
  Tensor (*run)(const Tensor& x);
  std::function<Quad(int k, Quad x)> derivative;  // of order k from 0 to 4
  double low = -std::numeric_limits<double>::infinity(),
         high = std::numeric_limits<double>::infinity();  // where it is looked at
  std::vector<double> kinks = {};                 // left out
  double (*growth)(double x) = nullptr;           // of the errors of derivatives, where they are known to grow
};

// ∂^k/∂x^k and ∂^j/∂y^j of x^y, for k + j ≤ 4 and j ≤ 2, x > 0.
Quad power_derivative(int k, int j, Quad x, Quad y);

std::vector<ScannedFunction> scanned_functions();

}  // namespace mollify::op_table
#endif
