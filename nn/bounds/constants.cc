#include <mollify/nn/bounds/constants.h>

#include <mollify/engine/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

namespace mollify::nn::bounds {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::infinity();
constexpr double kOfAFunction = 8;  // of exact numbers: 4 units in the last place

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Operations whose results are inputs, or no further from each other than inputs are.
bool keeps_errors(std::string_view name) {
  return is_one_of(name, {"reshape", "permute", "slice",   "split",      "packed", "to",     "variable", "expand",
                          "concat",  "pad",     "gather",  "negative",   "abs",    "relu",   "clip",     "max",
                          "min",     "maximum", "minimum", "max_pool2d", "full",   "number", "one_hot"});
}

std::vector<double> numbers(const Tensor& x, const Shape& shape) {
  return cast(expand(x.detach(), shape), DType::f64).to_vector<double>();
}

// What is left of a ∘ b beside the computed result c, in f64, where the last of these steps is exact (Knuth's TwoSum; a
// fused product).
double remainder_of_sum(double a, double b, double c) {
  const double s = a + b, v = s - a;
  return s == c ? (a - (s - v)) + (b - v) : kUnknown;
}

double remainder(std::string_view name, double a, double b, double c) {
  if (name == "add") return remainder_of_sum(a, b, c);
  if (name == "subtract") return remainder_of_sum(a, -b, c);
  if (name == "multiply" || name == "square") return std::fma(a, b, -c);
  return name == "divide" ? std::fma(c, b, -a) : std::fma(c, c, -a);  // a root
}

// Of an elementwise operation on numbers with `most` roundings each.
double of_arithmetic(std::string_view name, const Constant& step, double most) {
  const Tensor& out = step.out[0];
  const bool sum = name == "add" || name == "subtract";
  const std::vector<double> a = numbers(step.in[0], out.shape()),
                            b = numbers(step.in[step.in.size() > 1 ? 1 : 0], out.shape()),
                            c = numbers(out, out.shape());
  const double least = out.dtype() == DType::f32 ? std::numeric_limits<float>::min()
                                                 : 0x1p-960;  // of products, for remainders to be normal
  double roundings = 0;
  for (size_t i = 0; i < c.size(); ++i) {
    if (!sum && c[i] == 0 && (a[i] == 0 || b[i] == 0)) continue;
    const bool accurate = std::isfinite(c[i]) && (sum || std::abs(c[i]) >= least);
    if (!accurate) return kUnknown;
    if (most == 0 && remainder(name, a[i], b[i], c[i]) == 0) continue;
    const double terms = std::abs(a[i]) + std::abs(b[i]), growth = !sum ? 2 : terms == 0 ? 1 : terms / std::abs(c[i]);
    roundings = std::max(roundings, growth * most + 1);
  }
  return roundings;
}

// Of a sum of products, in which every number counts by Σ|terms| / |sum|.
double of_products(const Constant& step, double most) {
  Tensors magnitudes(step.in.size());
  double terms = 2;
  for (size_t i = 0; i < step.in.size(); ++i) {
    magnitudes[i] = is_floating(step.in[i].dtype()) ? abs(step.in[i].detach()) : step.in[i];
    terms = std::max(terms, static_cast<double>(step.in[i].size() + 2));
  }
  const Tensors sums = apply_all(*step.op, magnitudes, step.attributes);
  double growth = 1;
  for (size_t i = 0; i < step.out.size(); ++i) {
    const std::vector<double> of = numbers(sums[i], sums[i].shape()),
                              result = numbers(step.out[i], step.out[i].shape());
    for (size_t k = 0; k < of.size(); ++k)
      if (of[k] != 0) growth = std::max(growth, std::isfinite(of[k]) ? of[k] / std::abs(result[k]) : kUnknown);
  }
  return growth * (static_cast<double>(step.in.size()) * most + terms);
}

double of_function(std::string_view name, const Constant& step, double most) {
  if (most == 0) return kOfAFunction;
  if (is_one_of(name, {"tanh", "erf", "elu"})) return most + kOfAFunction;  // |x·f'/f| ≤ 1
  if (!is_one_of(name, {"exp", "sigmoid", "softplus"})) return kUnknown;    // ≤ max(1, |x|)
  double largest = 1;
  for (const double x : numbers(step.in[0], step.in[0].shape()))
    largest = std::max(largest, std::isnan(x) ? kUnknown : std::abs(x));
  return largest * most + kOfAFunction;
}

double of_step(const Constant& step, double most) {
  const std::string_view name = step.op->name;
  if (!is_floating(step.out[0].dtype())) return most == 0 ? 0 : kUnknown;
  if (keeps_errors(name)) return most;
  if (most == kUnknown) return kUnknown;
  if (name == "cast")
    return most == 0 ? 0 : most + 0x1p30;  // a rounding to f32 of a number that is off may go the other way
  if (is_one_of(name, {"add", "subtract", "multiply", "divide", "square", "sqrt"}))
    return of_arithmetic(name, step, most);
  if (is_one_of(name, {"sum", "matmul", "dense", "conv2d", "average_pool2d"})) return of_products(step, most);
  return of_function(name, step, most);
}

}  // namespace

ConstantRoundings::Place ConstantRoundings::place_of(const Tensor& x) {
  const Layout& layout = x.layout();
  std::vector<int64_t> where{layout.offset};
  for (int axis = 0; axis < layout.shape.rank(); ++axis)
    where.insert(where.end(), {layout.shape[axis], layout.strides[axis]});
  return {&x.buffer(), where};
}

ConstantRoundings::ConstantRoundings(const std::vector<Constant>& constants) {
  for (const Constant& step : constants) {
    overwritten_ = overwritten_ || step.op->assigns;
    double most = 0;
    for (const Tensor& x : step.in) most = std::max(most, of(x));
    const double roundings = of_step(step, most);
    for (const Tensor& x : step.out) known_[place_of(x)] = roundings;
  }
}

double ConstantRoundings::of(const Tensor& x) const {
  if (overwritten_) return kUnknown;  // values were other ones when they were read
  const auto found = known_.find(place_of(x));
  return found == known_.end() ? 0 : found->second;
}

}  // namespace mollify::nn::bounds
