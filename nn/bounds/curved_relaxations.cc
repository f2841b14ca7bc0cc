#include <mollify/nn/bounds/curved_relaxations.h>

#include <mollify/engine/grad.h>

#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <mutex>
#include <string_view>

// A line of slope k lies on its side of h over a box when its intercept is the least (greatest) value of h(x) − kx.
// Rules pick k well: the slope at a point p where the box's hull touches the curve, or the chord's. The intercept is
// then found for that very number k, so that no error in p or k can make a line invalid, only less tight.

namespace mollify::nn::bounds {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Form = CurveForm;

// Where a curve's features are. turn: a sigmoidal curve's centre, a dish's c. length: over which the slope changes.
// bottom: h falls before it and rises after it; empty where h rises everywhere.
struct Places { Tensor turn, length, bottom; };

struct Curve {
  const char* operation;
  Form form;
  std::function<Tensor(const Step& step, const Tensor& x)> slope;
  // Errors of the computed value h and slope k at x, in units of roundoff; null: 8|h| (4 ulp), 24|k|.
  std::function<Tensor(const Step& step, const Tensor& x, const Tensor& h)> value_error = {};
  std::function<Tensor(const Step& step, const Tensor& x, const Tensor& k)> slope_error = {};
  std::function<Places(const Step& step, const Tensor& l)> places = {};  // empty: turn 0, length 1, no bottom
  double least = -kInfinity, greatest = kInfinity;                // of h anywhere
  bool positive = false;                                          // defined for x ≥ 0 only
};

// ---- The curves' slopes, each to a few units of its last place, and errors

Tensor sigmoid_slope(const Step&, const Tensor& x) { return sigmoid(x) * sigmoid(-x); }
Tensor tanh_slope(const Step&, const Tensor& x) { return sigmoid(x * 2.0) * sigmoid(x * -2.0) * 4.0; }
Tensor elu_slope(const Step&, const Tensor& x) { return exp(minimum(x, number(0, x))); }
Tensor erf_slope(const Step&, const Tensor& x) { return exp(-square(x)) * 1.1283791670955126; }
Tensor gelu_slope(const Step&, const Tensor& x) { return normal_cdf(x) + x * normal_pdf(x); }
Tensor silu_slope(const Step&, const Tensor& x) { return sigmoid(x) * (x * sigmoid(-x) + 1.0); }
Tensor pulled_slope(const Step& step, const Tensor& x) {
  const Inputs given = step.in();
  Tensors in(given.size());
  in[0] = x;
  for (size_t i = 1; i < in.size(); ++i) in[i] = given[i];
  return pull_back(step, in, 0, ones_like(x));
}

// What is added within a slope does not cancel in its error.
Tensor gelu_slope_error(const Step&, const Tensor& x, const Tensor&) {
  return (normal_cdf(x) + abs(x) * normal_pdf(x)) * 24.0;
}
Tensor silu_slope_error(const Step&, const Tensor& x, const Tensor&) {
  return sigmoid(x) * (abs(x) * sigmoid(-x) + 1.0) * 24.0;
}
// exp(−x²): the rounding of x² is a relative x² of the result, at most 1e3 before it vanishes.
Tensor erf_slope_error(const Step&, const Tensor& x, const Tensor& k) {
  return (minimum(square(x), number(1e3, x)) * 2.0 + 24.0) * k;
}

Places places_of(const Tensor& l, double turn, double length) { return {number(turn, l), number(length, l), Tensor()}; }
Places places_of(const Tensor& l, double turn, double length, double bottom) {
  return {number(turn, l), number(length, l), number(bottom, l)};
}

// ---- Curves smoothed by noise of standard deviation s, input 1, whose errors smoothing/ops.h states: a = x/s

const Tensor& noise(const Step& step) { return step.in()[1]; }
Tensor bend(const Step& step, const Tensor& x) {
  return abs(vjp([&](const Tensor& t) { return pulled_slope(step, t); }, x, ones_like(x)).second);
}

// relu_s: relative errors of 32(1 + a²) at the left, where (1 + a²)h ≤ s²h'' and (1 + a²)h' ≤ h' + |x|h''; at the right
// the kink's share has such an error.
Tensor relu_smoothed_value_error(const Step& step, const Tensor& x, const Tensor& h) {
  return (abs(h) + square(noise(step)) * bend(step, x)) * 64.0;
}
Tensor relu_smoothed_slope_error(const Step& step, const Tensor& x, const Tensor& k) {
  return (abs(k) + abs(x) * bend(step, x)) * 64.0;
}
// |a| times the slope is less than the value: nothing is lost in rounding a.
Tensor relative_error(const Step&, const Tensor&, const Tensor& value) { return abs(value) * 64.0; }
Tensor density_error(const Step& step, const Tensor& x, const Tensor& k) {
  const Tensor a = x / maximum(noise(step), number(smallest_normal(x.dtype()), x));
  return (minimum(square(a), number(2e3, x)) + 1.0) * k * 64.0;
}
// Absolute ones: 16(1 + |F| + |xF_x| + |sF_s|), with |sF_s| = s²|h''| ≤ s for values and at most 1 for slopes.
Tensor absolute_value_error(const Step& step, const Tensor& x, const Tensor& h) {
  return (abs(h) + abs(x) * abs(pulled_slope(step, x)) + noise(step) + 1.0) * 64.0;
}
Tensor absolute_slope_error(const Step& step, const Tensor& x, const Tensor& k) {
  return (abs(k) + abs(x) * bend(step, x) + 2.0) * 64.0;
}

Places noise_places(const Step& step, const Tensor& l) { return {number(0, l), noise(step), Tensor()}; }
Places abs_smoothed_places(const Step& step, const Tensor& l) { return {number(0, l), noise(step), number(0, l)}; }
Places ramp_places(const Step& step, const Tensor& l) {
  const SmoothedRamp& ramp = step.node().attributes.as<SmoothedRamp>();
  return {number((ramp.low + ramp.high) / 2, l), noise(step), Tensor()};
}
// gelu_s'' = φ(r)/q·(1 + 1/q² − r²/q²) with q = √(1 + s²), r = x/q. The bottom is bisected: the value's error is of
// second order in its.
Places gelu_smoothed_places(const Step& step, const Tensor& l) {
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

const std::vector<Curve>& known_curves() {
  static const std::vector<Curve> all = {
      {.operation = "exp",
       .form = Form::convex,
       .slope = [](const Step&, const Tensor& x) { return exp(x); },
       .least = 0},
      {.operation = "softplus",
       .form = Form::convex,
       .slope = [](const Step&, const Tensor& x) { return sigmoid(x); },
       .least = 0},
      {.operation = "elu", .form = Form::convex, .slope = elu_slope, .least = -1},
      {.operation = "square",
       .form = Form::convex,
       .slope = [](const Step&, const Tensor& x) { return x * 2.0; },
       .places = [](const Step&, const Tensor& l) { return places_of(l, 0, 0, 0); },
       .least = 0},
      {.operation = "log",
       .form = Form::concave,
       .slope = [](const Step&, const Tensor& x) { return 1.0 / x; },
       .places =
           [](const Step&, const Tensor& l) {
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
       .places = [](const Step&,
                    const Tensor& l) { return places_of(l, 1.4142135623730951, 1, -0.75179152469356446); }},
      {.operation = "silu",
       .form = Form::dish,
       .slope = silu_slope,
       .slope_error = silu_slope_error,
       .places = [](const Step&, const Tensor& l) { return places_of(l, 2.3993572805154677, 1, -1.2784645427610738); }},
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

// A deque, since rules hold on to curves while others are added.
struct Added {
  std::mutex mutex;
  std::deque<Curve> curves;
};
Added& added() {
  static Added all;
  return all;
}

Curve curve_with(const char* operation, const CurveFeatures& f) {
  Curve curve{.operation = operation, .form = f.form, .slope = pulled_slope, .least = f.least, .greatest = f.greatest};
  curve.value_error = [e = f.error](const Step& step, const Tensor& x, const Tensor& h) {
    return (abs(h) + abs(x * pulled_slope(step, x)) + 1.0) * e;
  };
  curve.slope_error = [e = f.error](const Step& step, const Tensor& x, const Tensor& k) {
    return (abs(k) + abs(x) * bend(step, x) + 1.0) * e;
  };
  curve.places = [f](const Step&, const Tensor& l) {
    return Places{number(f.turn, l), number(f.length, l), f.bottom ? number(*f.bottom, l) : Tensor()};
  };
  return curve;
}

// Derivatives of smoothed functions are the same operations with another order, and other curves.
void require_order_zero(const Step& step) {
  const std::string_view name = step.op().name;
  const Attributes& attributes = step.node().attributes;
  const int64_t order = name == "relu_smoothed"   ? attributes.as<int64_t>()
                        : name == "ramp_smoothed" ? attributes.as<SmoothedRamp>().derivative
                                                  : 0;
  require<ValueError>(order == 0, "{}: is the derivative of order {}; needs 0 for lines around it", step.op().name,
                      order);
}

const Curve& curve_of(const Step& step) {
  const std::string_view name = step.op().name;
  for (const Curve& c : known_curves())
    if (name == c.operation) {
      require_order_zero(step);
      return c;
    }
  const std::lock_guard lock(added().mutex);
  for (const Curve& c : added().curves)
    if (name == c.operation) return c;
  throw ValueError(format("{}: is not in the table of curves; needs a rule of its own", step.op().name));
}

// One call's curve, with what its points cost.
struct Point { Tensor x, value, slope; };

class Evaluation {
 public:
  Evaluation(const Step& step, const Tensor& l, double roundoff)
      : step_(step),
        curve_(curve_of(step)),
        places_(curve_.places ? curve_.places(step, l) : places_of(l, 0, 1)),
        roundoff_(roundoff) {}

  const Curve& curve() const { return curve_; }
  const Places& places() const { return places_; }
  double roundoff() const { return roundoff_; }
  Tensor value(const Tensor& x) const { return replay(step_, x); }
  Tensor slope(const Tensor& x) const { return curve_.slope(step_, x); }
  Point point(const Tensor& x) const { return {x, value(x), slope(x)}; }
  Tensor value_error(const Tensor& x, const Tensor& h) const {
    return curve_.value_error ? curve_.value_error(step_, x, h) : abs(h) * 8.0;
  }
  Tensor slope_error(const Point& p) const {
    return curve_.slope_error ? curve_.slope_error(step_, p.x, p.slope) : abs(p.slope) * 24.0;
  }
  Tensor second_derivative(const Tensor& x) const {
    return vjp([&](const Tensor& t) { return slope(t); }, x, ones_like(x)).second.detach();
  }

  // Of h less the line of this slope at x, moved outward.
  Tensor intercept(Side side, const Tensor& slope, const Tensor& x, const Tensor& h) const {
    return intercept_at(side, slope, x, h, roundoff_ > 0 ? value_error(x, h) : Tensor(), roundoff_);
  }

 private:
  const Step& step_;
  const Curve& curve_;
  Places places_;
  double roundoff_;
};

double sign_of(Side side) { return side == Side::lower ? 1 : -1; }

// A stretch of the box on which the curve bends toward the line (convex for a lower one), and a point of it. For any
//   slope k, h(x) − kx ≥ h(p) − kp + (h'(p) − k)(x − p) ≥ h(p) − kp − max((k − h'(p))(high − p), (h'(p) − k)(p − low),
//   0)
// there; elsewhere h − kx bends the other way and is least at the ends. Likewise with signs changed for an upper line.
struct Stretch { Tensor low, high; Point support; };

Tensor intercept_on(const Evaluation& e, Side side, const Tensor& k, const Stretch& s) {
  const Tensor at_support = e.intercept(side, k, s.support.x, s.support.value);
  if (e.roundoff() == 0) return at_support;
  const double sign = sign_of(side);
  const Tensor excess = (k - s.support.slope) * sign;
  const Tensor overshoot =
      maximum(relu(excess) * (s.high - s.support.x), relu(-excess) * (s.support.x - s.low)) * (1 + 8 * e.roundoff());
  const Tensor uncertain =
      (e.slope_error(s.support) * (e.roundoff() * 1.01) + 4 * smallest_normal(k.dtype())) * (s.high - s.low);
  return at_support - (overshoot + uncertain) * sign;
}

// ---- Where the hull touches the curve: at tangents from a to b, or along the chord where a ≥ b

struct Contact { Tensor from, to; };

// The point nearest to `inner` of [inner, outer] or [outer, inner] whose tangent has the pivot's point on the right
// side; inner's has it on the wrong one. `outer` itself where there is none. It solves F(t) = h(t) − h(q) − h'(t)(t −
// q) = 0, ∂F/∂t = −h''(t)(t − q), by bisection and a step of Newton's, and its derivative is the implicit one. An error
// in it makes no line invalid, and hardly less tight.
Tensor touching_point(const Evaluation& e, Side side, const Tensor& pivot, const Tensor& inner, const Tensor& outer) {
  const auto gap = [&](const Tensor& t, const Tensor& q, const Tensor& h) {
    return e.value(t) - h - e.slope(t) * (t - q);
  };
  const auto newton_step = [&](const Tensor& t, const Tensor& q, const Tensor& h) {
    const Tensor bend = e.second_derivative(t) * (t - q.detach());
    // Where the curve is straight to rounding the derivative is taken to be 0.
    const double rounding = t.dtype() == DType::f32 ? 4e-6 : 1e-14;
    const Tensor usable = less(abs(e.slope(t)) * rounding + smallest_normal(t.dtype()), abs(bend));
    return where(usable, gap(t, q, h) / where(usable, bend, number(1, t)), number(0, t));
  };
  const Tensor found = no_grad([&] {
    const Tensor q = pivot.detach(), h = e.value(q), zero = number(0, q);
    Tensor wrong = inner.detach(), right = outer.detach();
    for (int i = 0, steps = q.dtype() == DType::f32 ? 14 : 26; i < steps; ++i) {
      const Tensor t = (wrong + right) * 0.5, rest = gap(t, q, h);
      const Tensor fits = side == Side::lower ? less_equal(rest, zero) : less_equal(zero, rest);
      right = where(fits, t, right);
      wrong = where(fits, wrong, t);
    }
    const Tensor better = clip(right + newton_step(right, q, h), minimum(wrong, right), maximum(wrong, right));
    return where(equal(right, outer), outer, better);
  });
  if (!is_recording()) return found;
  const Tensor step = newton_step(found, pivot, e.value(pivot));
  return where(equal(found, outer), outer, found + (step - step.detach()));
}

// How far out from the turn the slope is constant to rounding: no touching point of a finite pivot is farther.
Tensor reach(const Evaluation& e, const Tensor& x) {
  return e.places().length * (x.dtype() == DType::f32 ? 128 : 1024);
}

// ---- Slopes and intercepts

// The tangent's point on the way from `from` (α = 0) by the best one (½) to `to` (1), in two linear parts. A line's
// area over the box is least when it is closest at the middle. Along the chord it is an end of the box. maximum and
// minimum pass half of a gradient on at α = ½, so that it is never stuck there.
Tensor tangent_point(const Contact& c, const Tensor& best_anywhere, const Tensor& alpha) {
  const Tensor best = clip(best_anywhere, c.from, c.to), zero = number(0, best), t = clip(alpha, 0, 1) * 2.0 - 1.0;
  const Tensor point = clip(best + maximum(t, zero) * (c.to - best) + minimum(t, zero) * (best - c.from), c.from, c.to);
  return where(less(c.from, c.to), point, c.to);
}

struct Ends { Point l, u; Tensor chord; };

// The chord's slope. Over a box so narrow that rounding would spoil it, the slope in the middle, which differs by the
// width's square.
Ends ends_of(const Evaluation& e, const Tensor& l, const Tensor& u) {
  Ends ends{{l, e.value(l), {}}, {u, e.value(u), {}}, {}};
  const Tensor width = u - l,
               narrow = less_equal(width, e.places().length * (l.dtype() == DType::f32 ? 4e-3 : 5e-6));  // ∛roundoff
  ends.chord =
      where(narrow, e.slope(l + width * 0.5), (ends.u.value - ends.l.value) / where(narrow, number(1, width), width));
  return ends;
}

Tensor intercept_at_ends(const Evaluation& e, Side side, const Tensor& k, const Ends& ends) {
  return looser(side, e.intercept(side, k, ends.l.x, ends.l.value), e.intercept(side, k, ends.u.x, ends.u.value));
}

struct Line { Tensor slope, intercept; };

// One stretch [low, high], where the hull touches the curve within it.
Line hull_line(const Evaluation& e, Side side, const Ends& ends, const Contact& contact, const Tensor& low,
               const Tensor& high, const Tensor& best, const Tensor& alpha) {
  const Point p = e.point(tangent_point(contact, best, alpha));
  const Tensor k = where(less(contact.from, contact.to), p.slope, ends.chord);
  return {k, looser(side, intercept_at_ends(e, side, k, ends), intercept_on(e, side, k, {low, high, p}))};
}

// A line on the curve's open side over the whole box, and the chord on the other.
Line tangent_line(const Evaluation& e, Side side, const Ends& ends, const Tensor& best, const Tensor& alpha) {
  const Tensor &l = ends.l.x, &u = ends.u.x;
  const Point p = e.point(tangent_point({l, u}, best, alpha));
  return {p.slope, intercept_on(e, side, p.slope, {l, u, p})};
}
Line chord_line(const Evaluation& e, Side side, const Ends& ends) {
  return {ends.chord, intercept_at_ends(e, side, ends.chord, ends)};
}

Lines join(const Line& lower, const Line& upper) {
  return {lower.slope, lower.intercept, upper.slope, upper.intercept};
}

// The lower line touches left of the centre, from l to the tangent through the upper end; the upper line likewise at
// the right. By symmetry no touching point is farther from the centre than its pivot.
Lines sigmoidal_lines(const Evaluation& e, const Ends& ends, const Tensor& middle, const Tensor& alpha) {
  const Tensor &l = ends.l.x, &u = ends.u.x, &centre = e.places().turn, limit = reach(e, l), inner = clip(centre, l, u);
  const Tensor left = maximum(l, centre - minimum(u - centre, limit)),
               right = minimum(u, centre + minimum(centre - l, limit));
  const Contact below{l,
                      where(less_equal(u, centre), u, touching_point(e, Side::lower, u, inner, minimum(left, inner)))};
  const Contact above{where(less_equal(centre, l), l, touching_point(e, Side::upper, l, inner, maximum(right, inner))),
                      u};
  return join(hull_line(e, Side::lower, ends, below, l, inner, middle, alpha),
              hull_line(e, Side::upper, ends, above, inner, u, middle, alpha));
}

// Lower: between the tangents through the ends beyond ±c; by evenness they touch on either side of 0. Upper: where l <
// 0 < u the chord, as the even part is below its asymptote and rises faster than it beyond c; else as for a sigmoidal
// curve about ±c.
Lines dish_lines(const Evaluation& e, const Ends& ends, const Tensor& middle, const Tensor& alpha) {
  const Tensor &l = ends.l.x, &u = ends.u.x, &c = e.places().turn, zero = number(0, l), limit = reach(e, l);
  const Tensor left = clip(-c, l, u), right = clip(c, l, u), inside = clip(zero, l, u);
  const Contact below{where(less_equal(-c, l), l, touching_point(e, Side::lower, l, left, inside)),
                      where(less_equal(u, c), u, touching_point(e, Side::lower, u, right, inside))};
  const Line lower = hull_line(e, Side::lower, ends, below, left, right, middle, alpha);

  const Tensor positive = less(zero, l), negative = less(u, zero);
  const Tensor from_l =
      where(less_equal(c, l), l, touching_point(e, Side::upper, l, right, maximum(right, minimum(u, limit))));
  const Tensor from_u =
      where(less_equal(u, -c), u, touching_point(e, Side::upper, u, left, minimum(left, maximum(l, -limit))));
  const Contact above{where(positive, from_l, where(negative, l, u)), where(positive, u, where(negative, from_u, l))};
  const Tensor touching = tangent_point(above, middle, alpha);
  const Point p = e.point(where(negative, touching, l)), q = e.point(where(positive, touching, u));
  const Tensor k = where(less(above.from, above.to), where(positive, q.slope, p.slope), ends.chord);
  const Tensor on_stretches = looser(Side::upper, intercept_on(e, Side::upper, k, {l, left, p}),
                                     intercept_on(e, Side::upper, k, {right, u, q}));
  return join(lower, {k, looser(Side::upper, intercept_at_ends(e, Side::upper, k, ends), on_stretches)});
}

Box curved_interval(const Step& step, const Box& x, double roundoff) {
  const Evaluation e(step, x.lower, roundoff);
  const Curve& curve = e.curve();
  const Tensor& bottom = e.places().bottom;
  Box at = x;
  if (curve.positive) at = {relu(x.lower), x.upper};  // log, −∞ where the box reaches 0
  Tensor low = e.value(at.lower), high = e.value(at.upper);
  if (bottom.defined()) {
    high = maximum(low, high);
    at.lower = clip(bottom, x.lower, x.upper);
    low = e.value(at.lower);
  }
  if (roundoff == 0) return {low, high};
  const Tensor low_error = e.value_error(at.lower, low) + abs(low) * 2.0;
  Tensor high_error = e.value_error(at.upper, high) + abs(high) * 2.0;
  if (bottom.defined()) high_error = maximum(high_error, e.value_error(x.lower, high) + abs(high) * 2.0);
  return {maximum(outward(Side::lower, low, low_error, roundoff), number(curve.least, low)),
          minimum(outward(Side::upper, high, high_error, roundoff), number(curve.greatest, high))};
}

Lines curved_lines(const Step& step, const Box& x, const Tensor& given_alpha, double roundoff) {
  const Box range = curved_interval(step, x, roundoff);
  // Boxes on which something is not finite take constant lines; they stand at 1 meanwhile, where every curve is
  // defined.
  const Tensor one = number(1, x.lower), finite = no_grad([&] {
    return less(abs(range.lower) + abs(range.upper) + abs(x.upper - x.lower), number(kInfinity, one));
  });
  const Tensor l = where(finite, x.lower, one), u = where(finite, x.upper, one);
  const Evaluation e(step, l, roundoff);
  const Tensor alpha = given_alpha.defined() ? given_alpha : number(0.5, one), middle = l + (u - l) * 0.5;
  const Ends ends = ends_of(e, l, u);
  Lines lines;
  switch (e.curve().form) {
    case Form::convex: {
      // exp's line is positive all over the box for a tangent within 1 of its lower end.
      const Tensor best = step.op().name == std::string_view("exp") ? minimum(middle, l + 0.99) : middle;
      lines = join(tangent_line(e, Side::lower, ends, best, alpha), chord_line(e, Side::upper, ends));
      break;
    }
    case Form::concave:
      lines = join(chord_line(e, Side::lower, ends), tangent_line(e, Side::upper, ends, middle, alpha));
      break;
    case Form::sigmoidal: lines = sigmoidal_lines(e, ends, middle, alpha); break;
    case Form::dish: lines = dish_lines(e, ends, middle, alpha); break;
  }
  const Tensor zero = number(0, one);
  lines = {where(finite, lines.lower_slope, zero), where(finite, lines.lower_intercept, range.lower),
           where(finite, lines.upper_slope, zero), where(finite, lines.upper_intercept, range.upper)};
  return or_constant(lines, range);
}

Tensor curved_alpha(const Step&, const Box& x, LowerLine) { return number(0.5, x.lower); }

}  // namespace

std::vector<Relaxation> curved_relaxations() {
  std::vector<Relaxation> list;
  for (const Curve& c : known_curves()) list.push_back({c.operation, curved_interval, curved_lines, curved_alpha});
  return list;
}

Relaxation curved_relaxation(const char* operation, const CurveFeatures& features) {
  const std::lock_guard lock(added().mutex);
  added().curves.push_back(curve_with(operation, features));
  return {operation, curved_interval, curved_lines, curved_alpha};
}

}  // namespace mollify::nn::bounds
