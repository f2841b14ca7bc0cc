#include <mollify/nn/bounds/curved_relaxations.h>

#include <mollify/engine/grad.h>

#include <cmath>
#include <limits>
#include <string_view>

// A line of slope k lies on its side of h over a box when its intercept is the least (greatest) value of h(x) − kx. Rules pick k well: the
// slope at a point p where the box's hull touches the curve, or the chord's. The intercept is then found for that very number k, so that no
// error in p or k can make a line invalid, only less tight.

namespace mollify::nn::bounds {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// convex, concave: everywhere. sigmoidal: rising, symmetric about a point, convex at its left and concave at its right. dish: h(x) − x/2
// is even, convex on [−c, c], concave beyond, and rises toward a multiple of |x|/2.
enum class Form { convex, concave, sigmoidal, dish };

struct Curve {
  const char* operation;
  Form form;
  Tensor (*slope)(const Step& step, const Tensor& x);
  // Errors of the computed value h and slope k at x, in units of roundoff; null: 8|h| (4 ulp), 24|k|.
  Tensor (*value_error)(const Step& step, const Tensor& x, const Tensor& h) = nullptr;
  Tensor (*slope_error)(const Step& step, const Tensor& x, const Tensor& k) = nullptr;
  double least = -kInfinity, greatest = kInfinity;  // of h anywhere
  double bottom = -kInfinity;                       // h falls before it and rises after it
  double inflection = 0;                            // dish: c
  double length = 1;                                // over which the slope changes
};

// ---- The curves' slopes, each to a few units of its last place, and errors

Tensor sigmoid_slope(const Step&, const Tensor& x) { return sigmoid(x) * sigmoid(-x); }
Tensor tanh_slope(const Step&, const Tensor& x) { return sigmoid(x * 2.0) * sigmoid(x * -2.0) * 4.0; }
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
Tensor gelu_slope_error(const Step&, const Tensor& x, const Tensor&) { return (normal_cdf(x) + abs(x) * normal_pdf(x)) * 24.0; }
Tensor silu_slope_error(const Step&, const Tensor& x, const Tensor&) { return sigmoid(x) * (abs(x) * sigmoid(-x) + 1.0) * 24.0; }
// exp(−x²): the rounding of x² is a relative x² of the result, at most 1e3 before it vanishes.
Tensor erf_slope_error(const Step&, const Tensor& x, const Tensor& k) { return (minimum(square(x), number(1e3, x)) * 2.0 + 24.0) * k; }

// relu_s: documented relative errors of 32(1 + a²) at the left, where (1 + a²)h ≤ s²h'' and (1 + a²)h' ≤ h' + |x|h''; the kink's share
// likewise at the right.
Tensor smoothed_value_error(const Step& step, const Tensor& x, const Tensor& h) {
  const Tensor second = vjp([&](const Tensor& t) { return pulled_slope(step, t); }, x, ones_like(x)).second;
  return (abs(h) + square(step.in()[1]) * second) * 64.0;
}
Tensor smoothed_slope_error(const Step& step, const Tensor& x, const Tensor& k) {
  const Tensor second = vjp([&](const Tensor& t) { return pulled_slope(step, t); }, x, ones_like(x)).second;
  return (abs(k) + abs(x) * second) * 64.0;
}

constexpr Curve kCurves[] = {
    {.operation = "exp", .form = Form::convex, .slope = [](const Step&, const Tensor& x) { return exp(x); }, .least = 0},
    {.operation = "softplus", .form = Form::convex, .slope = [](const Step&, const Tensor& x) { return sigmoid(x); }, .least = 0},
    {.operation = "elu", .form = Form::convex, .slope = [](const Step&, const Tensor& x) { return exp(minimum(x, number(0, x))); }, .least = -1},
    {.operation = "square", .form = Form::convex, .slope = [](const Step&, const Tensor& x) { return x * 2.0; }, .least = 0, .bottom = 0},
    {.operation = "relu_smoothed", .form = Form::convex, .slope = pulled_slope, .value_error = smoothed_value_error,
     .slope_error = smoothed_slope_error, .least = 0, .length = 0},
    {.operation = "log", .form = Form::concave, .slope = [](const Step&, const Tensor& x) { return 1.0 / x; }, .length = 0},
    {.operation = "sigmoid", .form = Form::sigmoidal, .slope = sigmoid_slope, .least = 0, .greatest = 1},
    {.operation = "tanh", .form = Form::sigmoidal, .slope = tanh_slope, .least = -1, .greatest = 1},
    {.operation = "erf", .form = Form::sigmoidal,
     .slope = [](const Step&, const Tensor& x) { return exp(-square(x)) * 1.1283791670955126; }, .slope_error = erf_slope_error, .least = -1,
     .greatest = 1},
    {.operation = "gelu", .form = Form::dish, .slope = gelu_slope, .slope_error = gelu_slope_error, .bottom = -0.75179152469356446,
     .inflection = 1.4142135623730951},
    {.operation = "silu", .form = Form::dish, .slope = silu_slope, .slope_error = silu_slope_error, .bottom = -1.2784645427610738,
     .inflection = 2.3993572805154677},
};

const Curve& curve_of(const Step& step) {
  for (const Curve& c : kCurves)
    if (std::string_view(c.operation) == step.op().name) {
      require<ValueError>(c.slope != pulled_slope || step.node().attributes.as<int64_t>() == 0,
                          "{}: is the derivative of order {}; needs 0 for lines around it", c.operation, step.node().attributes.as<int64_t>());
      return c;
    }
  throw ValueError(format("{}: is not in the table of curves; needs a rule of its own", step.op().name));
}

// One call's curve, with what its points cost.
struct Point { Tensor x, value, slope; };

class Evaluation {
 public:
  Evaluation(const Step& step, double roundoff) : step_(step), curve_(curve_of(step)), roundoff_(roundoff) {}

  const Curve& curve() const { return curve_; }
  double roundoff() const { return roundoff_; }
  Tensor value(const Tensor& x) const { return replay(step_, x); }
  Tensor slope(const Tensor& x) const { return curve_.slope(step_, x); }
  Point point(const Tensor& x) const { return {x, value(x), slope(x)}; }
  Tensor value_error(const Tensor& x, const Tensor& h) const { return curve_.value_error ? curve_.value_error(step_, x, h) : abs(h) * 8.0; }
  Tensor slope_error(const Point& p) const { return curve_.slope_error ? curve_.slope_error(step_, p.x, p.slope) : abs(p.slope) * 24.0; }
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
  double roundoff_;
};

double sign_of(Side side) { return side == Side::lower ? 1 : -1; }

// A stretch of the box on which the curve bends toward the line (convex for a lower one), and a point of it. For any slope k,
//   h(x) − kx ≥ h(p) − kp + (h'(p) − k)(x − p) ≥ h(p) − kp − max((k − h'(p))(high − p), (h'(p) − k)(p − low), 0)
// there; elsewhere h − kx bends the other way and is least at the ends. Likewise with signs changed for an upper line.
struct Stretch { Tensor low, high; Point support; };

Tensor intercept_on(const Evaluation& e, Side side, const Tensor& k, const Stretch& s) {
  const Tensor at_support = e.intercept(side, k, s.support.x, s.support.value);
  if (e.roundoff() == 0) return at_support;
  const double sign = sign_of(side);
  const Tensor excess = (k - s.support.slope) * sign;
  const Tensor overshoot = maximum(relu(excess) * (s.high - s.support.x), relu(-excess) * (s.support.x - s.low)) * (1 + 8 * e.roundoff());
  const Tensor uncertain = (e.slope_error(s.support) * (e.roundoff() * 1.01) + 4 * smallest_normal(k.dtype())) * (s.high - s.low);
  return at_support - (overshoot + uncertain) * sign;
}

// ---- Where the hull touches the curve: at tangents from a to b, or along the chord where a ≥ b

struct Contact { Tensor from, to; };

// The point nearest to `inner` of [inner, outer] or [outer, inner] whose tangent has the pivot's point on the right side; inner's has it on
// the wrong one. `outer` itself where there is none. Its derivative is that of the implicit equation F = h(t) − h(q) − h'(t)(t − q) = 0,
// ∂F/∂t = −h''(t)(t − q). An error in it makes a line less tight only, and to second order.
Tensor touching_point(const Evaluation& e, Side side, const Tensor& pivot, const Tensor& inner, const Tensor& outer) {
  const auto gap = [&](const Tensor& t, const Tensor& q) { return e.value(t) - e.value(q) - e.slope(t) * (t - q); };
  const Tensor zero = number(0, pivot), q = pivot.detach();
  const Tensor found = no_grad([&] {
    Tensor wrong = inner.detach(), right = outer.detach();
    for (int i = 0, steps = pivot.dtype() == DType::f32 ? 32 : 61; i < steps; ++i) {
      const Tensor t = (wrong + right) * 0.5, fits = less_equal(gap(t, q) * sign_of(side), zero);
      right = where(fits, t, right);
      wrong = where(fits, wrong, t);
    }
    return right;
  });
  Tensor touching = found;
  if (is_recording()) {
    const Tensor bend = e.second_derivative(found) * (found - q), usable = less(number(smallest_normal(q.dtype()), q), abs(bend));
    const Tensor step = gap(found, pivot) / where(usable, bend, number(1, q));
    touching = found + where(usable, step - step.detach(), zero);
  }
  return where(equal(found, outer), outer, touching);
}

// The curve's slope is almost constant beyond this many lengths: no touching point of a finite pivot is farther out.
double reach(const Tensor& x) { return x.dtype() == DType::f32 ? 128 : 1024; }

// ---- Slopes and intercepts

// The tangent's point on the way from `from` (α = 0) by the best one (½) to `to` (1), in two linear parts. A line's area over the box is
// least when it is closest at the middle. Along the chord it is an end of the box. maximum and minimum pass half of a gradient on at α = ½, so that it is never stuck there.
Tensor tangent_point(const Contact& c, const Tensor& best_anywhere, const Tensor& alpha) {
  const Tensor best = clip(best_anywhere, c.from, c.to), zero = number(0, best), t = clip(alpha, 0, 1) * 2.0 - 1.0;
  const Tensor point = clip(best + maximum(t, zero) * (c.to - best) + minimum(t, zero) * (best - c.from), c.from, c.to);
  return where(less(c.from, c.to), point, c.to);
}

struct Ends { Point l, u; Tensor chord; };

// The chord's slope. Over a box so narrow that rounding would spoil it, the slope in the middle, which differs by the width's square.
Ends ends_of(const Evaluation& e, const Tensor& l, const Tensor& u) {
  Ends ends{{l, e.value(l), {}}, {u, e.value(u), {}}, {}};
  const Tensor width = u - l, roundoff_root = number(l.dtype() == DType::f32 ? 4e-3 : 5e-6, l);
  const Tensor narrow = less_equal(width, e.curve().length > 0 ? roundoff_root : number(0, l));
  ends.chord = where(narrow, e.slope(l + width * 0.5), (ends.u.value - ends.l.value) / where(narrow, number(1, width), width));
  return ends;
}

Tensor intercept_at_ends(const Evaluation& e, Side side, const Tensor& k, const Ends& ends) {
  return looser(side, e.intercept(side, k, ends.l.x, ends.l.value), e.intercept(side, k, ends.u.x, ends.u.value));
}

struct Line { Tensor slope, intercept; };

// One stretch [low, high], where the hull touches the curve within it.
Line hull_line(const Evaluation& e, Side side, const Ends& ends, const Contact& contact, const Tensor& low, const Tensor& high,
               const Tensor& best, const Tensor& alpha) {
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

Lines join(const Line& lower, const Line& upper) { return {lower.slope, lower.intercept, upper.slope, upper.intercept}; }

// The lower line touches left of the centre, from l to the tangent through the upper end; the upper line likewise at the right. By symmetry
// no touching point is farther from the centre than its pivot.
Lines sigmoidal_lines(const Evaluation& e, const Ends& ends, const Tensor& middle, const Tensor& alpha) {
  const Tensor &l = ends.l.x, &u = ends.u.x, centre = number(0, l), limit = number(reach(l), l), inner = clip(centre, l, u);
  const Tensor left = maximum(l, maximum(-u, -limit)), right = minimum(u, minimum(-l, limit));
  const Contact below{l, where(less_equal(u, centre), u, touching_point(e, Side::lower, u, inner, minimum(left, inner)))};
  const Contact above{where(less_equal(centre, l), l, touching_point(e, Side::upper, l, inner, maximum(right, inner))), u};
  return join(hull_line(e, Side::lower, ends, below, l, inner, middle, alpha), hull_line(e, Side::upper, ends, above, inner, u, middle, alpha));
}

// Lower: between the tangents through the ends beyond ±c; by evenness they touch on either side of 0. Upper: where l < 0 < u the chord, as
// the even part is below its asymptote and rises faster than it beyond c; else as for a sigmoidal curve about ±c.
Lines dish_lines(const Evaluation& e, const Ends& ends, const Tensor& middle, const Tensor& alpha) {
  const Tensor &l = ends.l.x, &u = ends.u.x, zero = number(0, l), limit = number(reach(l), l);
  const Tensor c = number(e.curve().inflection, l), left = clip(-c, l, u), right = clip(c, l, u), inside = clip(zero, l, u);
  const Contact below{where(less_equal(-c, l), l, touching_point(e, Side::lower, l, left, inside)),
                      where(less_equal(u, c), u, touching_point(e, Side::lower, u, right, inside))};
  const Line lower = hull_line(e, Side::lower, ends, below, left, right, middle, alpha);

  const Tensor positive = less(zero, l), negative = less(u, zero);
  const Tensor from_l = where(less_equal(c, l), l, touching_point(e, Side::upper, l, right, maximum(right, minimum(u, limit))));
  const Tensor from_u = where(less_equal(u, -c), u, touching_point(e, Side::upper, u, left, minimum(left, maximum(l, -limit))));
  const Contact above{where(positive, from_l, where(negative, l, u)), where(positive, u, where(negative, from_u, l))};
  const Tensor touching = tangent_point(above, middle, alpha);
  const Point p = e.point(where(negative, touching, l)), q = e.point(where(positive, touching, u));
  const Tensor k = where(less(above.from, above.to), where(positive, q.slope, p.slope), ends.chord);
  const Tensor on_stretches = looser(Side::upper, intercept_on(e, Side::upper, k, {l, left, p}), intercept_on(e, Side::upper, k, {right, u, q}));
  return join(lower, {k, looser(Side::upper, intercept_at_ends(e, Side::upper, k, ends), on_stretches)});
}

Box curved_interval(const Step& step, const Box& x, double roundoff) {
  const Evaluation e(step, roundoff);
  const Curve& curve = e.curve();
  Box at{x.lower, x.upper};
  if (curve.form == Form::concave) at = {relu(x.lower), x.upper};  // log, −∞ where the box reaches 0
  Tensor low = e.value(at.lower), high = e.value(at.upper);
  if (curve.bottom > -kInfinity) {
    high = maximum(low, high);
    at.lower = clip(number(curve.bottom, x.lower), x.lower, x.upper);
    low = e.value(at.lower);
  }
  if (roundoff == 0) return {low, high};
  const Tensor low_error = e.value_error(at.lower, low) + abs(low) * 2.0;
  const Tensor high_error = (curve.bottom > -kInfinity ? maximum(e.value_error(x.lower, high), e.value_error(x.upper, high)) : e.value_error(x.upper, high)) +
                            abs(high) * 2.0;
  return {maximum(outward(Side::lower, low, low_error, roundoff), number(curve.least, low)),
          minimum(outward(Side::upper, high, high_error, roundoff), number(curve.greatest, high))};
}

Lines curved_lines(const Step& step, const Box& x, const Tensor& given_alpha, double roundoff) {
  const Evaluation e(step, roundoff);
  const Box range = curved_interval(step, x, roundoff);
  // Boxes on which something is not finite take constant lines; they stand at 1 meanwhile, where every curve is defined.
  const Tensor one = number(1, x.lower), finite = no_grad([&] {
    return less(abs(range.lower) + abs(range.upper) + abs(x.upper - x.lower), number(kInfinity, one));
  });
  const Tensor l = where(finite, x.lower, one), u = where(finite, x.upper, one);
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
    case Form::concave: lines = join(chord_line(e, Side::lower, ends), tangent_line(e, Side::upper, ends, middle, alpha)); break;
    case Form::sigmoidal: lines = sigmoidal_lines(e, ends, middle, alpha); break;
    case Form::dish: lines = dish_lines(e, ends, middle, alpha); break;
  }
  const Tensor zero = number(0, one);
  lines = {where(finite, lines.lower_slope, zero), where(finite, lines.lower_intercept, range.lower), where(finite, lines.upper_slope, zero),
           where(finite, lines.upper_intercept, range.upper)};
  return or_constant(lines, range);
}

Tensor curved_alpha(const Step&, const Box& x, LowerLine) { return number(0.5, x.lower); }

}  // namespace

std::span<const Relaxation> curved_relaxations() {
  static const std::vector<Relaxation> all = [] {
    std::vector<Relaxation> list;
    for (const Curve& c : kCurves) list.push_back({c.operation, curved_interval, curved_lines, curved_alpha});
    return list;
  }();
  return all;
}

}  // namespace mollify::nn::bounds
