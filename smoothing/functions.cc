#include <mollify/smoothing/functions.h>

#include <mollify/engine/error.h>
#include <mollify/engine/ops.h>

#include <cmath>
#include <numbers>

namespace mollify::smoothing {
namespace {

using std::numbers::e;
using std::numbers::pi;

constexpr TestFunction kFunctions[] = {{"sphere", sphere, -5.12, 5.12, 0},
                                       {"rosenbrock", rosenbrock, -2.048, 2.048, 1, 2},
                                       {"rastrigin", rastrigin, -5.12, 5.12, 0},
                                       {"drop_wave", drop_wave, -5.12, 5.12, 0},
                                       {"ackley", ackley, -32.768, 32.768, 0}};

// The last extent of x, which must be `least` or more.
int64_t dimension(const char* name, const Tensor& x, int64_t least = 1) {
  require(x.rank() >= 1 && x.dim(-1) >= least, "{}: x is {}; needs a last axis of at least {}", name, x.shape(), least);
  return x.dim(-1);
}

// 1 − cos 2πx, without cancellation where it is small.
Tensor wave(const Tensor& x) { return square(sin(x * pi)) * 2.0; }

// 1 − cos(a·√q), with its derivatives in q of any order at q = 0: there by its series Σ −(−a²q)ᵏ/(2k)!, which is exact
// to the last bit below a²q = ¹⁄₁₀.
Tensor wave_of_root(const Tensor& q, double a) {
  const Tensor y = q * (a * a), limit = full(y.shape(), 0.1, y.dtype(), y.device());
  const Tensor small = less(y, limit);
  Tensor series = y * 0.0 + 1.0;
  for (int k = 7; k > 1; --k) series = 1.0 - series * y / ((2.0 * k - 1) * (2.0 * k));
  const Tensor far = square(sin(sqrt(where(small, limit, y)) * 0.5)) * 2.0;
  return where(small, series * y * 0.5, far);
}

}  // namespace

Tensor sphere(const Tensor& x) {
  dimension("sphere", x);
  return sum(square(x), {-1});
}

Tensor rosenbrock(const Tensor& x) {
  const int64_t d = dimension("rosenbrock", x, 2);
  const Tensor first = slice(x, -1, 0, d - 1), second = slice(x, -1, 1, d);
  return sum(square(second - square(first)) * 100.0 + square(1.0 - first), {-1});
}

Tensor rastrigin(const Tensor& x) {
  dimension("rastrigin", x);
  return sum(square(x) + wave(x) * 10.0, {-1});
}

// (q/2 + 1 − cos 12√q)/(q/2 + 2) with q = ‖x‖²: smooth at 0, where a norm is not.
Tensor drop_wave(const Tensor& x) {
  const Tensor q = sphere(x), half = q * 0.5;
  return (half + wave_of_root(q, 12)) / (half + 2.0);
}

Tensor ackley(const Tensor& x) {
  const int64_t d = dimension("ackley", x);
  const Tensor radius = norm(x, {-1}) / std::sqrt(static_cast<double>(d));
  return expm1(radius * -0.2) * -20.0 - expm1(-mean(wave(x), {-1})) * e;
}

std::span<const TestFunction> test_functions() { return kFunctions; }

const TestFunction& test_function(const std::string& name) {
  std::string names;
  for (const TestFunction& function : kFunctions) {
    if (name == function.name) return function;
    names += (names.empty() ? "" : ", ") + std::string(function.name);
  }
  throw ValueError(format("test_function: {} given; there are {}", name, names));
}

}  // namespace mollify::smoothing
