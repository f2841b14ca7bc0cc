// An activation of the user's own, registered by one call: from then on it is a layer, smoothed, and bounded like those
// of the library.
#pragma once

#include <mollify/nn/bounds/relaxations.h>

#include <functional>
#include <optional>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::nn {

using Function = std::function<Tensor(const Tensor&)>;
using SmoothedFunction = std::function<Tensor(const Tensor& x, const Tensor& s)>;

struct OwnActivation {
  std::string name;
  // h, elementwise, made of operations: results have the shape and dtype of x. They are what runs on any device and is
  // captured.
  Function function = {};
  // h', where differentiating the operations would lose digits or time; higher derivatives are its own. Empty: theirs.
  Function derivative = {};
  // E h(x + s z) and E h(x + s z)² for standard normal z (smoothing/ops.h). Without both, smoothing uses Gauss–Hermite
  // quadrature in place of what is missing, and counts as an approximation.
  SmoothedFunction smoothed = {}, square_smoothed = {};
  // The curve's features, by which lines are drawn around it. Empty: bounds refuse it, unless bounds::add_relaxation
  // gave it a rule.
  std::optional<bounds::CurveFeatures> curve = {};
};

// Returns h as an operation: gradients of any order, and one step of a trace. Afterwards activation(name) makes a layer
// of it. Throws ValueError for a name that is taken or a missing function; calls throw ShapeError where the function
// gives another shape or dtype.
Function register_activation(OwnActivation own);

// Those that were registered; empty where there is none of this name.
Function find_own_activation(const std::string& name);
std::vector<std::string> own_activation_names();

}  // namespace mollify::nn
#pragma GCC visibility pop
