// Smooth curves as data: what drawing lines around them takes. Inner header of nn/bounds/curved_relaxations.cc.
#pragma once

#include <mollify/nn/bounds/curved_relaxations.h>

#include <functional>
#include <limits>
#include <vector>

namespace mollify::nn::bounds {

// Where a curve's features are. turn: a sigmoidal curve's centre, a dish's c. length: over which the slope changes.
// bottom: h falls before it and rises after it; empty where h rises everywhere.
struct Places { Tensor turn, length, bottom; };

struct Curve {
  const char* operation;
  CurveForm form;
  std::function<Tensor(const TracedStep& step, const Tensor& x)> slope;
  // Errors of the computed value h and slope k at x, in units of roundoff; null: 8|h| (4 ulp), 24|k|.
  std::function<Tensor(const TracedStep& step, const Tensor& x, const Tensor& h)> value_error = {};
  std::function<Tensor(const TracedStep& step, const Tensor& x, const Tensor& k)> slope_error = {};
  std::function<Places(const TracedStep& step, const Tensor& l)> places = {};  // empty: turn 0, length 1, no bottom
  double least = -std::numeric_limits<double>::infinity(),
         greatest = std::numeric_limits<double>::infinity();  // of h anywhere
  bool positive = false;                                      // defined for x ≥ 0 only
};

const std::vector<Curve>& known_curves();                              // of the library's operations
void add_own_curve(const char* operation, const CurveFeatures& features);  // one more for curve_of

// The curve of the step's operation. Throws ValueError where there is none, and for derivatives of smoothed functions.
const Curve& curve_of(const TracedStep& step);

}  // namespace mollify::nn::bounds
