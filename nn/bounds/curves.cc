#include <mollify/nn/bounds/curves.h>

#include <mollify/engine/grad.h>

#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace mollify::nn::bounds {
namespace {

using Form = CurveForm;

// ---- The curves' slopes, each to a few units of its last place, and errors

Tensor sigmoid_slope(const TracedStep&, const Tensor& x) { return sigmoid(x) * sigmoid(-x); }
Tensor tanh_slope(const TracedStep&, const Tensor& x) { return sigmoid(x * 2.0) * sigmoid(x * -2.0) * 4.0; }
Tensor elu_slope(const TracedStep&, const Tensor& x) { return exp(minimum(x, number(0, x))); }
Tensor erf_slope(const TracedStep&, const Tensor& x) { return exp(-square(x)) * 1.1283791670955126; }
Tensor gelu_slope(const TracedStep&, const Tensor& x) { return normal_cdf(x) + x * normal_pdf(x); }
Tensor silu_slope(const TracedStep&, const Tensor& x) { return sigmoid(x) * (x * sigmoid(-x) + 1.0); }
Tensor pulled_slope(const TracedStep& step, const Tensor& x) {
  const Inputs given = step.in();
  Tensors in(given.size());
  in[0] = x;
  for (size_t i = 1; i < in.size(); ++i) in[i] = given[i];
  return pull_back(step, in, 0, ones_like(x));
}

// What is added within a slope does not cancel in its error.
Tensor gelu_slope_error(const TracedStep&, const Tensor& x, const Tensor&) {
  return (normal_cdf(x) + abs(x) * normal_pdf(x)) * 24.0;
}
Tensor silu_slope_error(const TracedStep&, const Tensor& x, const Tensor&) {
  return sigmoid(x) * (abs(x) * sigmoid(-x) + 1.0) * 24.0;
}
// exp(−x²): the rounding of x² is a relative x² of the result, at most 1e3 before it vanishes.
Tensor erf_slope_error(const TracedStep&, const Tensor& x, const Tensor& k) {
  return (minimum(square(x), number(1e3, x)) * 2.0 + 24.0) * k;
}

Places places_of(const Tensor& l, double turn, double length, double bottom) {
  return {number(turn, l), number(length, l), number(bottom, l)};
}

// ---- Curves smoothed by noise of standard deviation s, input 1, whose errors smoothing/ops.h states: a = x/s

const Tensor& noise(const TracedStep& step) { return step.in()[1]; }
Tensor bend(const TracedStep& step, const Tensor& x) {
  return abs(vjp([&](const Tensor& t) { return pulled_slope(step, t); }, x, ones_like(x)).second);
}

// relu_s: relative errors of 32(1 + a²) at the left, where (1 + a²)h ≤ s²h'' and (1 + a²)h' ≤ h' + |x|h''; at the right
// the kink's share has such an error.
Tensor relu_smoothed_value_error(const TracedStep& step, const Tensor& x, const Tensor& h) {
  return (abs(h) + square(noise(step)) * bend(step, x)) * 64.0;
}
Tensor relu_smoothed_slope_error(const TracedStep& step, const Tensor& x, const Tensor& k) {
  return (abs(k) + abs(x) * bend(step, x)) * 64.0;
}
// |a| times the slope is less than the value: nothing is lost in rounding a.
Tensor relative_error(const TracedStep&, const Tensor&, const Tensor& value) { return abs(value) * 64.0; }
Tensor density_error(const TracedStep& step, const Tensor& x, const Tensor& k) {
  const Tensor a = x / maximum(noise(step), number(smallest_normal(x.dtype()), x));
  return (minimum(square(a), number(2e3, x)) + 1.0) * k * 64.0;
}
// Absolute ones: 16(1 + |F| + |xF_x| + |sF_s|), with |sF_s| = s²|h''| ≤ s for values and at most 1 for slopes.
Tensor absolute_value_error(const TracedStep& step, const Tensor& x, const Tensor& h) {
  return (abs(h) + abs(x) * abs(pulled_slope(step, x)) + noise(step) + 1.0) * 64.0;
}
Tensor absolute_slope_error(const TracedStep& step, const Tensor& x, const Tensor& k) {
  return (abs(k) + abs(x) * bend(step, x) + 2.0) * 64.0;
}

Places noise_places(const TracedStep& step, const Tensor& l) { return {number(0, l), noise(step), Tensor()}; }
Places abs_smoothed_places(const TracedStep& step, const Tensor& l) {
  return {number(0, l), noise(step), number(0, l)};
}
Places ramp_places(const TracedStep& step, const Tensor& l) {
  const SmoothedRamp& ramp = step.node().attributes.as<SmoothedRamp>();
  return {number((ramp.low + ramp.high) / 2, l), noise(step), Tensor()};
}
// gelu_s'' = φ(r)/q·(1 + 1/q² − r²/q²) with q = √(1 + s²), r = x/q. The bottom is bisected: the value's error is of
// second order in its.
Places gelu_smoothed_places(const TracedStep& step, const Tensor& l) {
  const Tensor q2 = square(noise(step)) + 1.0, q = sqrt(q2);
  const Tensor bottom = no_grad([&] {
    Tensor falling = q * -40.0, rising = number(0, l);
    for (int i = 0; i < 60; ++i) {
      const Tensor middle = (falling + rising) * 0.5,
                   rises = less(number(0, l), pulled_slope(step, middle));  // far left it is 0
      rising = where(rises, middle, rising);
      falling = where(rises, falling, middle);
    }
    return rising;
  });
  return {q * sqrt(q2 + 1.0), q, bottom};
}

}  // namespace

const std::vector<Curve>& known_curves() {
  static const std::vector<Curve> all = {
      {.operation = "exp",
       .form = Form::convex,
       .slope = [](const TracedStep&, const Tensor& x) { return exp(x); },
       .least = 0},
      {.operation = "softplus",
       .form = Form::convex,
       .slope = [](const TracedStep&, const Tensor& x) { return sigmoid(x); },
       .least = 0},
      {.operation = "elu", .form = Form::convex, .slope = elu_slope, .least = -1},
      {.operation = "square",
       .form = Form::convex,
       .slope = [](const TracedStep&, const Tensor& x) { return x * 2.0; },
       .places = [](const TracedStep&, const Tensor& l) { return places_of(l, 0, 0, 0); },
       .least = 0},
      {.operation = "log",
       .form = Form::concave,
       .slope = [](const TracedStep&, const Tensor& x) { return 1.0 / x; },
       .places =
           [](const TracedStep&, const Tensor& l) {
             return Places{number(0, l), l, Tensor()};
           },
       .positive = true},
      {.operation = "sigmoid", .form = Form::sigmoidal, .slope = sigmoid_slope, .least = 0, .greatest = 1},
      {.operation = "tanh", .form = Form::sigmoidal, .slope = tanh_slope, .least = -1, .greatest = 1},
      {.operation = "erf",
       .form = Form::sigmoidal,
       .slope = erf_slope,
       .slope_error = erf_slope_error,
       .least = -1,
       .greatest = 1},
      {.operation = "gelu",
       .form = Form::dish,
       .slope = gelu_slope,
       .slope_error = gelu_slope_error,
       .places = [](const TracedStep&,
                    const Tensor& l) { return places_of(l, 1.4142135623730951, 1, -0.75179152469356446); }},
      {.operation = "silu",
       .form = Form::dish,
       .slope = silu_slope,
       .slope_error = silu_slope_error,
       .places = [](const TracedStep&,
                    const Tensor& l) { return places_of(l, 2.3993572805154677, 1, -1.2784645427610738); }},
      {.operation = "relu_smoothed",
       .form = Form::convex,
       .slope = pulled_slope,
       .value_error = relu_smoothed_value_error,
       .slope_error = relu_smoothed_slope_error,
       .places = noise_places,
       .least = 0},
      {.operation = "abs_smoothed",
       .form = Form::convex,
       .slope = pulled_slope,
       .value_error = relative_error,
       .slope_error = relative_error,
       .places = abs_smoothed_places,
       .least = 0},
      {.operation = "elu_smoothed",
       .form = Form::convex,
       .slope = pulled_slope,
       .value_error = absolute_value_error,
       .slope_error = absolute_slope_error,
       .places = noise_places,
       .least = -1},
      {.operation = "sign_smoothed",
       .form = Form::sigmoidal,
       .slope = pulled_slope,
       .value_error = relative_error,
       .slope_error = density_error,
       .places = noise_places,
       .least = -1,
       .greatest = 1},
      {.operation = "clip_smoothed",
       .form = Form::sigmoidal,
       .slope = pulled_slope,
       .value_error = absolute_value_error,
       .slope_error = absolute_slope_error,
       .places = ramp_places},
      {.operation = "ramp_smoothed",
       .form = Form::sigmoidal,
       .slope = pulled_slope,
       .value_error = absolute_value_error,
       .slope_error = absolute_slope_error,
       .places = ramp_places,
       .least = 0},
      {.operation = "gelu_smoothed",
       .form = Form::dish,
       .slope = pulled_slope,
       .value_error = absolute_value_error,
       .slope_error = absolute_slope_error,
       .places = gelu_smoothed_places},
  };
  return all;
}

namespace {

struct Table {
  std::mutex mutex;
  std::map<std::string, Curve, std::less<>> curves;
  Table() {
    for (const Curve& c : known_curves()) curves.emplace(c.operation, c);
  }
};
Table& table() {
  static Table all;
  return all;
}

Curve curve_with(const char* operation, const CurveFeatures& f) {
  Curve curve{.operation = operation, .form = f.form, .slope = pulled_slope, .least = f.least, .greatest = f.greatest};
  curve.value_error = [e = f.error](const TracedStep& step, const Tensor& x, const Tensor& h) {
    return (abs(h) + abs(x * pulled_slope(step, x)) + 1.0) * e;
  };
  curve.slope_error = [e = f.error](const TracedStep& step, const Tensor& x, const Tensor& k) {
    return (abs(k) + abs(x) * bend(step, x) + 1.0) * e;
  };
  curve.places = [f](const TracedStep&, const Tensor& l) {
    return Places{number(f.turn, l), number(f.length, l), f.bottom ? number(*f.bottom, l) : Tensor()};
  };
  return curve;
}

// Derivatives of smoothed functions are the same operations with another order, and other curves.
void require_order_zero(const TracedStep& step) {
  const std::string_view name = step.op().name;
  const Attributes& attributes = step.node().attributes;
  const int64_t order = name == "relu_smoothed"   ? attributes.as<int64_t>()
                        : name == "ramp_smoothed" ? attributes.as<SmoothedRamp>().derivative
                                                  : 0;
  require<ValueError>(order == 0, "{}: is the derivative of order {}; needs 0 for lines around it", step.op().name,
                      order);
}

}  // namespace

void add_own_curve(const char* operation, const CurveFeatures& features) {
  const std::lock_guard lock(table().mutex);
  table().curves.emplace(operation, curve_with(operation, features));
}

const Curve& curve_of(const TracedStep& step) {
  const std::lock_guard lock(table().mutex);
  const auto found = table().curves.find(std::string_view(step.op().name));
  require<ValueError>(found != table().curves.end(), "{}: is not in the table of curves; needs a rule of its own",
                      step.op().name);
  require_order_zero(step);
  return found->second;
}

}  // namespace mollify::nn::bounds
