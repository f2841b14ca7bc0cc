// The table of activations. Variances are written without the cancellation of (h²)_s − h_s² where there is a form for
// it.
#include <mollify/smoothing/activation_variances.h>
#include <mollify/smoothing/activations.h>

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

namespace mollify::smoothing {
namespace {

Tensor not_negative(const Tensor& x) { return maximum(x, Tensor::scalar(0, x.dtype())); }

Tensor square_of(const Moments& moments) { return square(moments.mean) + moments.variance; }

// relu(x) − slope·relu(−x), whose parts are never both positive: Cov(relu(x), relu(−x)) = −relu_s(x) relu_s(−x). abs
// has slope −1.
Moments leaky_moments(const Tensor& x, const Tensor& s, double slope) {
  const Moments right = relu_moments(x, s), left = relu_moments(-x, s);
  const Tensor variance = right.variance + left.variance * (slope * slope) + right.mean * left.mean * (2 * slope);
  return {right.mean - left.mean * slope, slope < 0 ? not_negative(variance) : variance};
}

// With y the distance from the further end, w = high − low, R and V relu's moments: V(y) − V(y − w) − 2R(y − w)(w −
// ramp). Right to a few ε·s².
Moments clip_moments(const Tensor& x, const Tensor& s, double low, double high) {
  const double width = std::min(high - low, x.dtype() == DType::f32 ? double{std::numeric_limits<float>::max()}
                                                                    : std::numeric_limits<double>::max());
  const Tensor y = minimum(x - low, high - x);
  const Moments first = relu_moments(y, s), second = relu_moments(y - width, s);
  const Tensor rest = ramp_smoothed(width - y, s, 0, width);  // width − ramp(y)
  return {clip_smoothed(x, s, low, high), not_negative(first.variance - second.variance - second.mean * rest * 2.0)};
}

// 1 − (2Φ − 1)² = 4Φ(a)Φ(−a)
Moments sign_moments(const Tensor& x, const Tensor& s) {
  return {sign_smoothed(x, s), step_smoothed(x, s) * step_smoothed(-x, s) * 4.0};
}

// With k = s², c = cos 2x: variance of sin ½(1 − e⁻ᵏ)(1 + e⁻ᵏc), of cos ½(1 − e⁻ᵏ)(1 − e⁻ᵏc).
Tensor wave_variance(const Tensor& x, const Tensor& s, double sign) {
  const Tensor k = square(checked_scale(s));
  return expm1(-k) * -0.5 * (exp(-k) * cos(x * 2.0) * sign + 1.0);
}
Moments sin_moments(const Tensor& x, const Tensor& s) { return {sin_smoothed(x, s), wave_variance(x, s, 1)}; }
Moments cos_moments(const Tensor& x, const Tensor& s) { return {cos_smoothed(x, s), wave_variance(x, s, -1)}; }

// e^{2x+s²}(e^{s²} − 1), whose factors may be 0 and infinite.
Moments exp_moments(const Tensor& x, const Tensor& s) {
  const Tensor k = square(checked_scale(s));
  return {exp_smoothed(x, s), exp((x + k) * 2.0) * -expm1(-k)};
}

Moments square_moments(const Tensor& x, const Tensor& s) {
  const Tensor scale = checked_scale(s);
  return {power_smoothed(x, s, 2), square(x * scale) * 4.0 + square(square(scale)) * 2.0};
}

// Rows of functions of x and s alone.
using Of = Tensor (*)(const Tensor&, const Tensor&);
using MomentsOf = Moments (*)(const Tensor&, const Tensor&);
template <Of mean, MomentsOf moments>
constexpr Activation row(const char* name) {
  return {name, true, [](Inputs in, const Attributes&, const Tensor& s) { return mean(in[0], s); },
          [](Inputs in, const Attributes&, const Tensor& s) { return square_of(moments(in[0], s)); },
          [](Inputs in, const Attributes&, const Tensor& s) { return moments(in[0], s); }};
}
template <Tensor (*function)(const Tensor&)>
constexpr Activation quadrature_row(const char* name) {
  return {name, false,
          [](Inputs in, const Attributes&, const Tensor& s) { return gauss_hermite_smoothed(function, in[0], s); },
          [](Inputs in, const Attributes&, const Tensor& s) {
            return gauss_hermite_smoothed([](const Tensor& x) { return square(function(x)); }, in[0], s);
          },
          [](Inputs in, const Attributes&, const Tensor& s) { return gauss_hermite_moments(function, in[0], s); }};
}

Tensor sin_mean(const Tensor& x, const Tensor& s) { return sin_smoothed(x, s); }
Tensor cos_mean(const Tensor& x, const Tensor& s) { return cos_smoothed(x, s); }
Tensor erf_mean(const Tensor& x, const Tensor& s) { return erf_smoothed(x, s); }
Tensor square_mean(const Tensor& x, const Tensor& s) { return power_smoothed(x, s, 2); }
Moments abs_moments(const Tensor& x, const Tensor& s) { return {abs_smoothed(x, s), leaky_moments(x, s, -1).variance}; }

constexpr Activation kRows[] = {
    {"relu", true, [](Inputs in, const Attributes&, const Tensor& s) { return relu_smoothed(in[0], s); },
     [](Inputs in, const Attributes&, const Tensor& s) { return relu_squared_smoothed(in[0], s); },
     [](Inputs in, const Attributes&, const Tensor& s) { return relu_moments(in[0], s); },
     [](Inputs in, const Attributes&, const Tensor& s) { return relu_total_variance(in[0], s); }},
    {"leaky_relu", true,
     [](Inputs in, const Attributes&, const Tensor& s) { return leaky_relu_smoothed(in[0], s, in[1].item()); },
     [](Inputs in, const Attributes&, const Tensor& s) {
       const double slope = in[1].item();
       return relu_squared_smoothed(in[0], s) + relu_squared_smoothed(-in[0], s) * (slope * slope);
     },
     [](Inputs in, const Attributes&, const Tensor& s) { return leaky_moments(in[0], s, in[1].item()); }},
    {"clip", true,
     [](Inputs in, const Attributes&, const Tensor& s) { return clip_smoothed(in[0], s, in[1].item(), in[2].item()); },
     [](Inputs in, const Attributes&, const Tensor& s) {
       return square_of(clip_moments(in[0], s, in[1].item(), in[2].item()));
     },
     [](Inputs in, const Attributes&, const Tensor& s) { return clip_moments(in[0], s, in[1].item(), in[2].item()); }},
    row<abs_smoothed, abs_moments>("abs"),
    row<sign_smoothed, sign_moments>("sign"),
    row<elu_smoothed, detail::elu_moments>("elu"),
    row<gelu_smoothed, detail::gelu_moments>("gelu"),
    row<erf_mean, detail::erf_moments>("erf"),
    row<sin_mean, sin_moments>("sin"),
    row<cos_mean, cos_moments>("cos"),
    row<exp_smoothed, exp_moments>("exp"),
    row<square_mean, square_moments>("square"),
    quadrature_row<sigmoid>("sigmoid"),
    quadrature_row<tanh>("tanh"),
    quadrature_row<softplus>("softplus"),
    quadrature_row<silu>("silu"),
};

struct Table {
  std::mutex mutex;
  std::map<std::string, Activation, std::less<>> rows;
  Table() {
    for (const Activation& activation : kRows) rows.emplace(activation.name, activation);
  }
};
Table& table() {
  static Table all;
  return all;
}

}  // namespace

const Activation* find_activation(std::string_view op_name) {
  const std::lock_guard lock(table().mutex);
  const auto found = table().rows.find(op_name);
  return found == table().rows.end() ? nullptr : &found->second;
}

std::vector<std::string> activation_names() {
  const std::lock_guard lock(table().mutex);
  std::vector<std::string> names;
  for (const auto& [name, activation] : table().rows) names.push_back(name);
  return names;
}

void add_activation(const Activation& activation) {
  require<ValueError>(activation.name && activation.mean && activation.square_mean,
                      "add_activation: a row without {}; needs a name and both means",
                      !activation.name  ? "name"
                      : activation.mean ? "square_mean"
                                        : "mean");
  const std::lock_guard lock(table().mutex);
  table().rows.insert_or_assign(activation.name, activation);
}

Moments moments_of(const Activation& activation, Inputs in, const Attributes& attributes, const Tensor& s) {
  if (activation.moments) return activation.moments(in, attributes, s);
  const Tensor mean = activation.mean(in, attributes, s);
  return {mean, not_negative(activation.square_mean(in, attributes, s) - square(mean))};
}

Moments total_of(const Activation& activation, Inputs in, const Attributes& attributes, const Tensor& s) {
  if (activation.total) return activation.total(in, attributes, s);
  const Moments all = moments_of(activation, in, attributes, s);
  return {all.mean, sum(all.variance)};
}

}  // namespace mollify::smoothing
