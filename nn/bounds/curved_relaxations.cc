#include <mollify/nn/bounds/curved_relaxations.h>

#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/curves.h>

#include <limits>
#include <string_view>

// A line of slope k lies on its side of h over a box when its intercept is the least (greatest) value of h(x) − kx.
// Rules pick k well: the slope at a point p where the box's hull touches the curve, or the chord's. The intercept is
// then found for that very number k, so that no error in p or k can make a line invalid, only less tight.

namespace mollify::nn::bounds {
namespace {

// One call's curve, with what its points cost.
struct Point { Tensor x, value, slope; };

class Evaluation {
 public:
  Evaluation(const TracedStep& step, const Tensor& l, double roundoff)
      : step_(step),
        curve_(curve_of(step)),
        places_(curve_.places ? curve_.places(step, l) : Places{number(0, l), number(1, l), Tensor()}),
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
  const TracedStep& step_;
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

Box curved_interval(const TracedStep& step, const Box& x, double roundoff) {
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

Lines curved_lines(const TracedStep& step, const Box& x, const Tensor& given_alpha, double roundoff) {
  const Box range = curved_interval(step, x, roundoff);
  // Boxes on which something is not finite take constant lines; they stand at 1 meanwhile, where every curve is
  // defined.
  const Tensor one = number(1, x.lower), infinity = number(std::numeric_limits<double>::infinity(), one);
  const Tensor finite =
      no_grad([&] { return less(abs(range.lower) + abs(range.upper) + abs(x.upper - x.lower), infinity); });
  const Tensor l = where(finite, x.lower, one), u = where(finite, x.upper, one);
  const Evaluation e(step, l, roundoff);
  const Tensor alpha = given_alpha.defined() ? given_alpha : number(0.5, one), middle = l + (u - l) * 0.5;
  const Ends ends = ends_of(e, l, u);
  Lines lines;
  switch (e.curve().form) {
    case CurveForm::convex: {
      // exp's line is positive all over the box for a tangent within 1 of its lower end.
      const Tensor best = step.op().name == std::string_view("exp") ? minimum(middle, l + 0.99) : middle;
      lines = join(tangent_line(e, Side::lower, ends, best, alpha), chord_line(e, Side::upper, ends));
      break;
    }
    case CurveForm::concave:
      lines = join(chord_line(e, Side::lower, ends), tangent_line(e, Side::upper, ends, middle, alpha));
      break;
    case CurveForm::sigmoidal: lines = sigmoidal_lines(e, ends, middle, alpha); break;
    case CurveForm::dish: lines = dish_lines(e, ends, middle, alpha); break;
  }
  const Tensor zero = number(0, one);
  lines = {where(finite, lines.lower_slope, zero), where(finite, lines.lower_intercept, range.lower),
           where(finite, lines.upper_slope, zero), where(finite, lines.upper_intercept, range.upper)};
  return or_constant(lines, range);
}

Tensor curved_alpha(const TracedStep&, const Box& x, LowerLine) { return number(0.5, x.lower); }

}  // namespace

std::vector<Relaxation> curved_relaxations() {
  std::vector<Relaxation> list;
  for (const Curve& c : known_curves()) list.push_back({c.operation, curved_interval, curved_lines, curved_alpha});
  return list;
}

Relaxation curved_relaxation(const char* operation, const CurveFeatures& features) {
  add_own_curve(operation, features);
  return {operation, curved_interval, curved_lines, curved_alpha};
}

}  // namespace mollify::nn::bounds
