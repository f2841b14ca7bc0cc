#include <mollify/nn/bounds/relaxations.h>

#include <mollify/engine/ops.h>
#include <mollify/nn/bounds/curved_relaxations.h>

#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <string>

namespace mollify::nn::bounds {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---- relu: upper line λx + μ with λ = u/(u − l), μ = −λl where l < 0 < u, lower line αx; the identity or 0 elsewhere.

// 1 where u ≥ −l, else 0: the lower slope of smallest area, and the one of a tie.
Tensor adaptive_slope(const Tensor& minus_l, const Tensor& u) {
  return where(less_equal(minus_l, u), number(1, u), number(0, u));
}

struct ReluUpper {
  Tensor slope, intercept, minus_l, negative, positive;
};  // negative: max(−l, 0); positive: max(u, 0)

// The box is cut to half of the largest number; d + the smallest positive number is d but for subnormal d and keeps 0/0
// away.
ReluUpper relu_upper(const Box& x) {
  const double half = largest(x.lower.dtype()) / 2;
  ReluUpper r;
  r.minus_l = -x.lower;
  r.negative = clip(r.minus_l, 0, half);
  r.positive = clip(x.upper, 0, half);
  r.slope = r.positive / (r.negative + r.positive + smallest_positive(x.lower.dtype()));
  r.intercept = r.slope * r.negative;
  return r;
}

// For any slope λ ∈ [0, 1] the line is valid when it is at both ends: μ ≥ −λl and μ ≥ u − λu. Computed, each of them
// and the sum with the margin lack at most 4·roundoff·u. An infinite side, or a width that overflows, takes the line of
// slope 1 or 0, which is exact.
ReluUpper relu_upper_outward(const Box& x, double roundoff) {
  ReluUpper r;
  r.minus_l = -x.lower;
  r.negative = relu(r.minus_l);
  r.positive = relu(x.upper);
  const Tensor &n = r.negative, &p = r.positive, width = n + p, unbounded = equal(width, number(kInfinity, width));
  r.slope =
      where(unbounded, adaptive_slope(r.minus_l, x.upper), p / maximum(width, number(smallest_positive(p.dtype()), p)));
  const Tensor at_ends = maximum(r.slope * n, p - r.slope * p);
  const Tensor margin = p * (8 * roundoff) + smallest_normal(p.dtype());
  r.intercept = where(unbounded, minimum(n, p), where(less(number(0, p), at_ends), at_ends + margin, at_ends));
  return r;
}

ReluUpper relu_upper(const Box& x, double roundoff) {
  return roundoff > 0 ? relu_upper_outward(x, roundoff) : relu_upper(x);
}

// Where μ is 0 the box is on one side of the kink, or so nearly that λ, which is in [0, 1], is as good as any.
Tensor relu_lower_slope(const ReluUpper& r, const Box& x, const Tensor& alpha) {
  if (!alpha.defined()) return adaptive_slope(r.minus_l, x.upper);
  return where(less(number(0, r.slope), r.intercept), clip(alpha, 0, 1), r.slope);
}

Lines relu_lines(const TracedStep&, const Box& x, const Tensor& alpha, double roundoff) {
  const ReluUpper r = relu_upper(x, roundoff);
  return {relu_lower_slope(r, x, alpha), Tensor(), r.slope, r.intercept};
}

Box relu_interval(const TracedStep&, const Box& x, double) { return {relu(x.lower), relu(x.upper)}; }

Tensor relu_alpha(const TracedStep&, const Box& x, LowerLine rule) {
  switch (rule) {
    case LowerLine::adaptive: return adaptive_slope(-x.lower, x.upper);
    case LowerLine::zero: return number(0, x.lower);
    case LowerLine::one: return number(1, x.lower);
    case LowerLine::same: return relu_upper(x).slope;
  }
  return {};
}

// ---- leaky relu with slope a, |x| with a = −1: a·x + (1 − a)·relu(x), so relu's lines with slopes λ + (1 − λ)a; for a
// > 1 the sides change places, and α picks the upper line.

Lines kinked_lines(const Box& x, const Tensor& alpha, double a, double roundoff) {
  const ReluUpper r = relu_upper(x, roundoff);
  const Tensor picked = relu_lower_slope(r, x, alpha);
  const auto blend = [&](const Tensor& t) { return t + (1.0 - t) * a; };
  Tensor chord = blend(r.slope), touching = blend(picked), intercept = r.intercept * (1 - a);
  if (roundoff > 0) {
    touching = clip(touching, std::min(a, 1.0), std::max(a, 1.0));  // then valid with intercept 0
    // λ + (1 − λ)a has an error of at most 3·roundoff·(1 + |a|), over a width n + p, unless λ is 0 or 1; (1 − a)μ one
    // of 2·roundoff.
    const Tensor zero = number(0, chord), inside = less(zero, r.slope - square(r.slope));
    const Tensor error = where(inside, r.negative + r.positive, zero) * (8 * (1 + std::abs(a))) + abs(intercept) * 4.0;
    const Tensor moved = outward(a > 1 ? Side::lower : Side::upper, intercept, error, roundoff);
    intercept = where(less(zero, r.intercept), moved, intercept);
  }
  if (a > 1) return {chord, intercept, touching, Tensor()};
  return {touching, Tensor(), chord, intercept};
}

double slope_of(const TracedStep& step) { return step.in()[1].item(); }
Lines leaky_lines(const TracedStep& step, const Box& x, const Tensor& alpha, double roundoff) {
  return kinked_lines(x, alpha, slope_of(step), roundoff);
}
Lines abs_lines(const TracedStep&, const Box& x, const Tensor& alpha, double roundoff) {
  return kinked_lines(x, alpha, -1, roundoff);
}

// Falling up to 0 where a < 0.
Box leaky_interval(const TracedStep& step, const Box& x, double roundoff) {
  const Tensor at_l = replay(step, x.lower), at_u = replay(step, x.upper);
  Box range{at_l, at_u};
  if (slope_of(step) < 0) range = {replay(step, clip(number(0, at_l), x.lower, x.upper)), maximum(at_l, at_u)};
  if (roundoff == 0) return range;
  return {outward(Side::lower, range.lower, abs(range.lower) * 3.0, roundoff),
          outward(Side::upper, range.upper, abs(range.upper) * 3.0, roundoff)};
}

Box abs_interval(const TracedStep&, const Box& x, double) {
  const Tensor at_l = abs(x.lower), at_u = abs(x.upper);
  return {abs(clip(number(0, at_l), x.lower, x.upper)), maximum(at_l, at_u)};
}

// ---- clip to [low, high]. Where the box passes a kink the line turns about it: the lower line about (low, low), the
// upper one about (high, high), with a share β ∈ [0, 1] of the steepest slope; elsewhere it is the chord. α = 0 is β =
// 0, α = 1 is β = 1, and α = ½ the β of smallest area, 0 or 1.

Tensor share(const Tensor& alpha, const Tensor& steep_is_best) {
  const Tensor best = where(steep_is_best, number(1, alpha), number(0, alpha));
  return clip(alpha * 2.0 - 1.0 + best, 0, 1);
}

Lines clip_lines(const TracedStep& step, const Box& x, const Tensor& given_alpha, double roundoff) {
  const Tensor &l = x.lower, &u = x.upper, &high = step.in()[2], low = minimum(step.in()[1], high);
  const Tensor alpha = given_alpha.defined() ? given_alpha : number(0.5, l);
  const Tensor at_l = replay(step, l), at_u = replay(step, u), rise = at_u - at_l,
               smallest = number(smallest_positive(l.dtype()), l);
  const Tensor from = maximum(l, low), to = minimum(u, high);  // the values there are those at l and u
  const Tensor lower_steep = rise / maximum(u - from, smallest), upper_steep = rise / maximum(to - l, smallest);
  Lines lines;
  lines.lower_slope = where(less(l, low), lower_steep * share(alpha, less_equal(low - l, u - low)), lower_steep);
  lines.upper_slope = where(less(high, u), upper_steep * share(alpha, less_equal(u - high, high - l)), upper_steep);
  if (roundoff == 0) {
    lines.lower_intercept = at_l - lines.lower_slope * from;
    lines.upper_intercept = at_u - lines.upper_slope * to;
  } else {
    // h less any line is extreme at an end of the box or at the kink that bends toward the line.
    const auto intercept = [&](Side side, const Tensor& slope, const Tensor& kink) {
      const auto at = [&](const Tensor& q, const Tensor& h) {
        return intercept_at(side, slope, q, h, Tensor(), roundoff);
      };
      const Tensor inner = clip(kink, l, u);
      return looser(side, looser(side, at(l, at_l), at(u, at_u)), at(inner, replay(step, inner)));
    };
    lines.lower_intercept = intercept(Side::lower, lines.lower_slope, low);
    lines.upper_intercept = intercept(Side::upper, lines.upper_slope, high);
  }
  return or_constant(lines, {at_l, at_u});
}

// ---- sign: constant lines

Box ends_interval(const TracedStep& step, const Box& x, double) {
  return {replay(step, x.lower), replay(step, x.upper)};
}
Lines constant_lines(const TracedStep& step, const Box& x, const Tensor&, double) {
  const Tensor zero = zeros_like(x.lower);
  return {zero, replay(step, x.lower), zero, replay(step, x.upper)};
}

Tensor middle_alpha(const TracedStep&, const Box& x, LowerLine) { return number(0.5, x.lower); }

const Relaxation kPiecewiseLinear[] = {
    {"relu", relu_interval, relu_lines, relu_alpha},    {"leaky_relu", leaky_interval, leaky_lines, relu_alpha},
    {"abs", abs_interval, abs_lines, relu_alpha},       {"clip", ends_interval, clip_lines, middle_alpha},
    {"sign", ends_interval, constant_lines, middle_alpha},
};

struct Table {
  std::mutex mutex;
  std::map<std::string, Relaxation, std::less<>> rules;
  Table() {
    for (const Relaxation& r : kPiecewiseLinear) rules.emplace(r.operation, r);
    for (const Relaxation& r : curved_relaxations()) rules.emplace(r.operation, r);
  }
};
Table& table() {
  static Table all;
  return all;
}

}  // namespace

const Relaxation* find_relaxation(const char* operation) {
  const std::lock_guard lock(table().mutex);
  const auto found = table().rules.find(std::string_view(operation));
  return found == table().rules.end() ? nullptr : &found->second;
}

void add_relaxation(const Relaxation& relaxation) {
  require<ValueError>(relaxation.operation && relaxation.interval && relaxation.lines,
                      "add_relaxation: a rule without {}; needs a name, an interval and lines",
                      !relaxation.operation ? "a name" : relaxation.interval ? "lines" : "an interval");
  Relaxation rule = relaxation;
  if (!rule.alpha) rule.alpha = middle_alpha;
  const std::lock_guard lock(table().mutex);
  const bool added = table().rules.emplace(rule.operation, rule).second;
  require<ValueError>(added, "add_relaxation: there is a rule for '{}'; needs another operation", rule.operation);
}

void add_curve(const char* operation, const CurveFeatures& features) {
  add_relaxation(curved_relaxation(operation, features));
}

// ---- Shared with the curved ones

Tensor replay(const TracedStep& step, const Tensor& x) {
  const Inputs given = step.in();
  Tensors in(given.size());
  in[0] = x;
  for (size_t i = 1; i < in.size(); ++i) in[i] = given[i];
  return apply_all(step.op(), in, step.node().attributes)[0];
}

Tensor looser(Side side, const Tensor& a, const Tensor& b) {
  return side == Side::lower ? minimum(a, b) : maximum(a, b);
}

// ±∞ on its outer side stays; on its inner side (a value that overflowed) it becomes the largest number.
Tensor outward(Side side, const Tensor& value, const Tensor& error, double roundoff) {
  if (roundoff == 0) return value;
  const double sign = side == Side::lower ? -1 : 1;
  const Tensor inner = looser(side, value, number(-sign * largest(value.dtype()), value));
  return inner + (minimum(error, number(largest(value.dtype()), value)) * (sign * roundoff) +
                  sign * 4 * smallest_normal(value.dtype()));
}

Tensor intercept_at(Side side, const Tensor& slope, const Tensor& x, const Tensor& h, const Tensor& error,
                    double roundoff) {
  const Tensor rise = slope * x, intercept = h - rise;
  if (roundoff == 0) return intercept;
  const Tensor rounding = (abs(h) + abs(rise)) * 6.0;
  const double sign = side == Side::lower ? -1 : 1;
  return intercept +
         ((error.defined() ? rounding + error : rounding) * (sign * roundoff) + sign * 4 * smallest_normal(h.dtype()));
}

Lines or_constant(const Lines& lines, const Box& range) {
  const Tensor zero = number(0, range.lower), infinity = number(kInfinity, range.lower);
  const auto usable = [&](const Tensor& slope, const Tensor& intercept) {
    return less(abs(slope) + abs(intercept), infinity);
  };
  const Tensor lower = usable(lines.lower_slope, lines.lower_intercept),
               upper = usable(lines.upper_slope, lines.upper_intercept);
  return {where(lower, lines.lower_slope, zero), where(lower, lines.lower_intercept, range.lower),
          where(upper, lines.upper_slope, zero), where(upper, lines.upper_intercept, range.upper)};
}

double smallest_normal(DType dtype) {
  return dtype == DType::f32 ? std::numeric_limits<float>::min() : std::numeric_limits<double>::min();
}
double smallest_positive(DType dtype) {
  return dtype == DType::f32 ? std::numeric_limits<float>::denorm_min() : std::numeric_limits<double>::denorm_min();
}
double largest(DType dtype) {
  return dtype == DType::f32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
}

}  // namespace mollify::nn::bounds
