// Functions smoothed with Gaussian noise.
#include "rows.h"

#include <mollify/smoothing/ops.h>

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

using namespace smoothing;
using In = const Tensor&;
using Long = long double;
using Formula = std::function<Long(Long, Long)>;

const Long kRoot2 = std::sqrt(Long{2}), kRoot2Pi = std::sqrt(2 * std::acos(Long{-1}));

Long cdf(Long a) { return std::erfc(-a / kRoot2) / 2; }
Long density(Long a) { return std::exp(-a * a / 2) / kRoot2Pi; }

// `limit` at s = 0 and `value` elsewhere; NaN where x is NaN or s no scale.
double with_edges(double x, double s, const Formula& value, const std::function<Long(Long)>& limit) {
  if (std::isnan(x) || !(s >= 0) || std::isinf(s)) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(s == 0 ? limit(x) : value(x, s));
}

Long relu(Long x, Long s) {
  const Long a = x / s;
  if (a < -100 || a > 100) return a < 0 ? 0 : x;
  return x > 0 ? x + relu(-x, s) : s * density(a) + x * cdf(a);
}

// n-th derivative of relu_s in x for n = −1, 0, 1, 2, 3, 5.
double relu_derivative(int n, double x, double s) {
  const auto value = [n](Long v, Long t) -> Long {
    const Long a = v / t;
    if (n == 0) return relu(v, t);
    if (n == 1) return cdf(a);
    if (a < -100 || a > 100) return n == -1 && a > 0 ? v * v / 2 : 0;
    if (n == -1) return ((v * v + t * t) * cdf(a) + v * t * density(a)) / 2;
    if (n == 2) return density(a) / t;
    if (n == 3) return -a * density(a) / t / t;
    return -(a * a - 3) * a * density(a) / t / t / t / t;  // n = 5
  };
  return with_edges(x, s, value, [n](Long v) -> Long {
    return n == 0 ? std::max<Long>(v, 0) : n == 1 ? v > 0 : n == -1 && v > 0 ? v * v / 2 : 0;
  });
}

Long ramp(Long x, Long s, Long low, Long high) { return relu(x - low, s) - relu(x - high, s); }
Long below(Long x, Long s) { return std::exp(x + s * s / 2) * cdf(-(x + s * s) / s); }
Long gelu(Long x, Long s) {
  const Long q = std::sqrt(1 + s * s);
  return relu(x, q) - density(x / q) / q;
}
Long owens(Long h, Long a) {
  Long sum = 0;
  const int panels = 200;  // of Boole's rule
  const Long width = a / panels;
  const auto f = [&](Long t) { return std::exp(-h * h * (1 + t * t) / 2) / (1 + t * t); };
  for (int i = 0; i < panels; ++i) {
    const Long t = i * width;
    sum += (7 * f(t) + 32 * f(t + width / 4) + 12 * f(t + width / 2) + 32 * f(t + 3 * width / 4) + 7 * f(t + width)) *
           width / 90;
  }
  return sum / (kRoot2Pi * kRoot2Pi);
}

// ∫ over [1 − width, 1], by Boole's rule.
Long owens_to_one(Long h, Long width) {
  Long sum = 0;
  const int panels = 200;
  const Long step = width / panels;
  const auto f = [&](Long t) { return std::exp(-h * h * (1 + t * t) / 2) / (1 + t * t); };
  for (int i = 0; i < panels; ++i) {
    const Long t = 1 - width + i * step;
    sum += (7 * f(t) + 32 * f(t + step / 4) + 12 * f(t + step / 2) + 32 * f(t + 3 * step / 4) + 7 * f(t + step)) *
           step / 90;
  }
  return sum / (kRoot2Pi * kRoot2Pi);
}

const Domain kAround{-3, 3}, kScale{0.5, 2};

// One with relative accuracy: errors grow with (x/s)².
Row relative(std::string name, std::function<Tensor(In, In)> op, std::function<double(double, double)> formula) {
  return binary(std::move(name), std::move(op), std::move(formula), kAround, kScale).within(250);
}

// One whose values are right in proportion to the largest.
Row absolute(std::string name, std::function<Tensor(In, In)> op, const Formula& formula, Domain second = kScale) {
  const auto run = [op](const Tensors& in) { return op(in[0], in[1]); };
  const auto reference = [formula](const Arrays& in) {
    const Shape shape = broadcast("reference", in[0].shape, in[1].shape);
    const auto element = [](const Array& array, const Index& index) {
      Index at(index.end() - array.shape.rank(), index.end());
      for (int axis = 0; axis < array.shape.rank(); ++axis)
        if (array.shape[axis] == 1) at[static_cast<size_t>(axis)] = 0;
      return array.at(at);
    };
    return build(shape, [&](const Index& index) {
      return static_cast<double>(formula(element(in[0], index), element(in[1], index)));
    });
  };
  std::vector<Case> cases;
  for (const auto& shapes : std::vector<std::vector<Shape>>{
           {{}, {}}, {{15}, {15}}, {{17}, {}}, {{0}, {1}}, {{2, 3, 4}, {3, 1}}, {{40, 70}, {70}}})
    cases.push_back(of_many(shapes, run, reference));
  return general(std::move(name), cases, {kAround, second})
      .refusing({misfit_many({{2, 3}, {4}}, run)})
      .with_large({large_many({{70, 1003}, {}}, run)});
}

Row moments() {
  const auto run = [](const Tensors& in) {
    const Moments m = relu_moments(in[0], in[1]);
    return Tensors{m.mean, m.variance};
  };
  const auto variance = [](Long x, Long s) {
    const Long mean = relu(x, s);
    return (x * x + s * s) * cdf(x / s) + x * s * density(x / s) - mean * mean;
  };
  const Row first = absolute("relu_moments", [](In x, In s) { return relu_moments(x, s).mean; }, relu),
            second = absolute("relu_moments", [](In x, In s) { return relu_moments(x, s).variance; }, variance);
  Row row = first;
  for (size_t i = 0; i < row.cases.size(); ++i) {
    row.cases[i].run = run;
    row.cases[i].reference = [mean = first.cases[i].reference, of = second.cases[i].reference](const Arrays& in) {
      return Arrays{mean(in)[0], of(in)[0]};
    };
  }
  row.large[0].run = run;
  return row;
}

// The same with the variances summed.
Row total_variance() {
  Row row = moments();
  row.name = "relu_total_variance";
  const auto run = [](const Tensors& in) {
    const Moments m = relu_total_variance(in[0], in[1]);
    return Tensors{m.mean, m.variance};
  };
  for (Case& c : row.cases) {
    c.run = run;
    c.reference = [of = c.reference](const Arrays& in) {
      Arrays both = of(in);
      double total = 0;
      for (const double value : both[1].values) total += value;
      return Arrays{both[0], build({}, [&](const Index&) { return total; })};
    };
  }
  row.large[0].run = run;
  for (Misfit& misfit : row.misfits) misfit.run = run;
  return row;
}

Row maximum_of_two() {
  const auto run = [](const Tensors& in) { return max_smoothed(in[0], in[1], in[2]); };
  const auto reference = [](const Arrays& in) {
    return build(in[0].shape, [&](const Index& index) {
      const double x = in[0].at(index), y = in[1].values[0];
      return static_cast<double>(y + relu(Long{x} - y, in[2].at(index)));
    });
  };
  const std::vector<Case> cases = {of_many({{17}, {}, {17}}, run, reference),
                                   of_many({{2, 3}, {1}, {2, 3}}, run, reference)};
  return general("max_smoothed", cases, {kAround, kAround, kScale})
      .refusing({misfit_many({{2, 3}, {4}, {}}, run)})
      .with_large({large_many({{70, 1003}, {}, {1003}}, run)});
}

}  // namespace

Rows smoothed_rows() {
  Rows rows;
  for (const int n : {-1, 0, 1, 2, 3}) {
    const auto formula = [n](double x, double s) { return relu_derivative(n, x, s); };
    rows.push_back(relative("relu_smoothed", [n](In x, In s) { return relu_smoothed(x, s, n); }, formula)
                       .labelled(n < 0 ? "antiderivative" : "derivative_" + std::to_string(n)));
  }
  rows.push_back(absolute(
                     "relu_smoothed", [](In x, In s) { return relu_smoothed(x, s, 5); },
                     [](Long x, Long s) { return relu_derivative(5, static_cast<double>(x), static_cast<double>(s)); })
                     .labelled("derivative_5"));
  rows.push_back(relative("sign_smoothed", sign_smoothed, [](double x, double s) {
    return with_edges(
        x, s, [](Long v, Long t) { return std::erf(v / t / kRoot2); },
        [](Long v) -> Long { return v > 0   ? 1
                                    : v < 0 ? -1
                                            : 0; });
  }));
  rows.push_back(relative("abs_smoothed", abs_smoothed, [](double x, double s) {
    return with_edges(
        x, s, [](Long v, Long t) { return std::abs(v) + 2 * relu(-std::abs(v), t); },
        [](Long v) { return std::abs(v); });
  }));
  rows.push_back(moments());
  rows.push_back(total_variance());
  for (const int n : {0, 1}) {
    const auto formula = [n](Long x, Long s) {
      return n == 0 ? ramp(x, s, -1, 0.5L) : cdf((x + 1) / s) - cdf((x - 0.5L) / s);
    };
    rows.push_back(absolute("ramp_smoothed", [n](In x, In s) { return ramp_smoothed(x, s, -1, 0.5, n); }, formula)
                       .labelled("derivative_" + std::to_string(n)));
  }
  rows.push_back(absolute("clip_smoothed", [](In x, In s) { return clip_smoothed(x, s, -1, 1.5); },
                          [](Long x, Long s) { return ramp(x, s, -1, 1.5L) - 1; }));
  rows.push_back(absolute("exp_below_smoothed", exp_below_smoothed, below));
  rows.push_back(
      absolute("elu_smoothed", elu_smoothed, [](Long x, Long s) { return relu(x, s) + below(x, s) - cdf(-x / s); }));
  rows.push_back(absolute("gelu_smoothed", gelu_smoothed, gelu));
  rows.push_back(maximum_of_two());
  rows.push_back(absolute("owens_t", owens_t, owens, {-0.95, 0.95}));
  rows.push_back(
      absolute("owens_t_to_one", [](In h, In width) { return owens_t_to_one(h, width); }, owens_to_one, {0.05, 0.95}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto is_scale = [](double s) { return s >= 0 && !std::isinf(s); };
  rows.push_back(unary("checked_scale", checked_scale, [=](double s) { return is_scale(s) ? s : nan; }, {0.1, 5}));
  rows.push_back(unary("widened_scale", [](In s) { return widened_scale(s, 0.75); },
                       [=](double s) { return is_scale(s) ? std::hypot(s, 0.75) : nan; }, {0.1, 5}));
  return rows;
}

}  // namespace mollify::op_table
