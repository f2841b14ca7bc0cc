// Operations of engine/ops.h that work number by number, and random numbers.
#include "bindings.h"

namespace mollify::python {
namespace {

using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Tensor&, const Tensor&);

void unary(nb::module_& m, const char* name, Unary f, const char* doc) {
  m.def(
      name,
      [f](const Operand& x) {
        const Tensor& given = x.tensor();
        return compute(given.size(), [&] { return f(given); });
      },
      "x"_a, doc);
}

void binary(nb::module_& m, const char* name, Binary f, const char* doc) {
  m.def(
      name,
      [f](const Operand& a, const Operand& b) {
        const std::vector<Tensor> in = together({&a, &b});
        return compute(in[0].size() + in[1].size(), [&] { return f(in[0], in[1]); });
      },
      "a"_a, "b"_a, doc);
}

void bind_elementary(nb::module_& m) {
  unary(m, "floor", floor, "Derivative 0.");
  unary(m, "square", square, "x·x");
  unary(m, "sqrt", sqrt, "Square root; NaN below 0.");
  unary(m, "exp", exp, "Within 4 ulp, as all of these.");
  unary(m, "expm1", expm1, "exp(x) − 1, right near 0.");
  unary(m, "log", log, "Natural logarithm.");
  unary(m, "log1p", log1p, "log(1 + x), right near 0.");
  unary(m, "sin", sin, "Sine.");
  unary(m, "cos", cos, "Cosine.");
  unary(m, "tanh", tanh, "Hyperbolic tangent.");
  unary(m, "abs", abs, "Derivative sign(x).");
  unary(m, "sign", sign, "sign(0) = 0; derivative 0.");
  unary(m, "erf", erf, "Within 2 ulp (f32), 4 (f64), tails included, as the others of the normal distribution.");
  unary(m, "erfc", erfc, "1 − erf(x), relative in its tail.");
  unary(m, "erfcx", erfcx, "exp(x²)·erfc(x)");
  unary(m, "normal_cdf", normal_cdf, "Φ");
  unary(m, "normal_pdf", normal_pdf, "φ");
  unary(m, "normal_quantile", normal_quantile, "Φ⁻¹; −∞ at 0, ∞ at 1, NaN outside [0, 1].");
  unary(m, "relu", relu, "Derivative 0 at 0.");
  unary(m, "sigmoid", sigmoid, "1/(1 + e⁻ˣ)");
  unary(m, "logistic_pdf", logistic_pdf, "sigmoid(x)·sigmoid(−x)");
  unary(m, "softplus", softplus, "log(1 + eˣ)");
  unary(m, "log_sigmoid", log_sigmoid, "log of sigmoid, right in both tails.");
  unary(m, "silu", silu, "x·sigmoid(x)");
  unary(m, "elu", elu, "x > 0 ? x : eˣ − 1");
  unary(m, "gelu", gelu, "x·Φ(x)");
  m.def(
      "leaky_relu",
      [](const Operand& x, double slope) {
        const Tensor& given = x.tensor();
        return compute(given.size(), [&] { return leaky_relu(given, slope); });
      },
      "x"_a, "slope"_a = 0.01, "Derivative `slope` at 0.");
  binary(m, "gate", gate, "x > 0 ? g : 0, of (g, x); no gradient to x.");
}

void bind_arithmetic(nb::module_& m) {
  binary(m, "add", operator+, "a + b");
  binary(m, "subtract", operator-, "a − b");
  binary(m, "multiply", operator*, "a·b");
  binary(m, "divide", operator/, "a/b");
  unary(m, "negative", operator-, "−x");
  binary(m, "pow", pow, "NaN in either is NaN; ∂/∂exponent is 0 at base 0 for exponents from 0.");
  binary(m, "less", less, "u8 ones and zeros; NaN compares false, except not_equal.");
  binary(m, "less_equal", less_equal, "a ≤ b");
  binary(m, "greater", greater, "a > b");
  binary(m, "greater_equal", greater_equal, "a ≥ b");
  binary(m, "equal", equal, "a = b, element by element.");
  binary(m, "not_equal", not_equal, "a ≠ b");
  binary(m, "logical_and", logical_and, "Of truth values, any number but 0 being true: u8 ones and zeros.");
  binary(m, "logical_or", logical_or, "As logical_and.");
  unary(m, "logical_not", logical_not, "As logical_and.");
  unary(m, "is_nan", is_nan, "u8 ones and zeros.");
  unary(m, "any", any, "Whether some number is not 0: 0-d u8.");
  m.def(
      "all", [](const Operand& x) { return all(x.tensor()); }, "x"_a, "Whether no number is 0: 0-d u8.");
  binary(m, "minimum", minimum, "Half of the gradient to each at equality.");
  binary(m, "maximum", maximum, "Half of the gradient to each at equality.");
  m.def(
      "clip",
      [](const Operand& x, const Operand& low, const Operand& high) {
        const Tensor& given = x.tensor();
        if (low.is_number() && high.is_number())
          return compute(given.size(), [&, l = low.number(), h = high.number()] { return clip(given, l, h); });
        const Tensor l = low.like(given), h = high.like(given);
        return compute(given.size(), [&] { return clip(given, l, h); });
      },
      "x"_a, "low"_a, "high"_a, "Gradient to x inside and on the ends.");
  m.def(
      "where",
      [](const Operand& condition, const Operand& a, const Operand& b) {
        const std::vector<Tensor> in = together({&a, &b});
        const Tensor& chosen = condition.tensor();
        return compute(chosen.size(), [&] { return where(chosen, in[0], in[1]); });
      },
      "condition"_a, "a"_a, "b"_a, "condition (u8) ≠ 0 ? a : b");
  m.def(
      "cast",
      [](const Operand& x, DType dtype) {
        const Tensor& given = x.tensor();
        return compute(given.size(), [&] { return cast(given, dtype); });
      },
      "x"_a, "dtype"_a, "Toward zero to integers; ArgumentError for a value that does not fit.");
  m.def(
      "assign",
      [](const Tensor& target, const Operand& value) {
        const Tensor values = value.like(target);
        compute(target.size(), [&] { assign(target, expand(values, target.shape())); });
      },
      "target"_a, "value"_a,
      "Overwrites the target's numbers, for all who share them. GraphError where it has a history.");
}

void bind_making(nb::module_& m) {
  m.def("full", full, "shape"_a, "value"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu);
  m.def("zeros", zeros, "shape"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu);
  m.def("ones", ones, "shape"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu);
  unary(m, "zeros_like", zeros_like, "Zeros of x's shape, dtype and device.");
  unary(m, "ones_like", ones_like, "Ones of x's shape, dtype and device.");
  m.def("arange", arange, "count"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu, "0, 1, …, count − 1");
  m.def("linspace", linspace, "first"_a, "last"_a, "count"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu,
        "Both ends are in it.");
  m.def("eye", eye, "count"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu, "The identity matrix.");
  m.def(
      "to", [](const Operand& x, Device device) { return compute([&, t = x.tensor()] { return to(t, device); }); },
      "x"_a, "device"_a, "The same values there; itself where it is there already.");
}

// The step of a draw: an int, or a 0-d i32 tensor that a captured function reads anew.
Tensor step_of(const Operand& step) { return step.of(DType::i32); }

using Drawn = Tensor (*)(const Shape&, RandomKey, const Tensor&, DType, Device);
void drawn(nb::module_& m, const char* name, Drawn f, const char* doc) {
  m.def(
      name,
      [f](const Shape& shape, uint64_t seed, uint64_t stream, const Operand& step, DType dtype, Device device) {
        const Tensor at = step_of(step);
        return compute(shape.size(), [&] { return f(shape, {seed, stream}, at, dtype, device); });
      },
      "shape"_a, "seed"_a, "stream"_a = 0, "step"_a = 0, "dtype"_a = DType::f32, "device"_a = Device::cpu, doc);
}

using Rows = Tensor (*)(const Shape&, RandomKey, const Tensor&, const Tensor&, DType);
void drawn_rows(nb::module_& m, const char* name, Rows f, const char* doc) {
  m.def(
      name,
      [f](const Shape& shape, uint64_t seed, const Operand& streams, const Operand& step, DType dtype,
          uint64_t stream) {
        const Tensor of_rows = streams.tensor(), at = step_of(step);
        return compute(shape.size(), [&] { return f(shape, {seed, stream}, of_rows, at, dtype); });
      },
      "shape"_a, "seed"_a, "streams"_a, "step"_a = 0, "dtype"_a = DType::f32, "stream"_a = 0, doc);
}

using Summed = Tensor (*)(const Tensor&, int64_t, RandomKey, const Tensor&);
void drawn_sum(nb::module_& m, const char* name, Summed f, const char* doc) {
  m.def(
      name,
      [f](const Operand& coefficients, int64_t count, uint64_t seed, uint64_t stream, const Operand& step) {
        const Tensor c = coefficients.tensor(), at = step_of(step);
        return compute([&] { return f(c, count, {seed, stream}, at); });
      },
      "coefficients"_a, "count"_a, "seed"_a, "stream"_a = 0, "step"_a = 0, doc);
}

void bind_random(nb::module_& m) {
  const char* rand_doc = "On (0, 1): a function of the seed and the shape.";
  m.def(
      "rand",
      [](const Shape& s, uint64_t seed, DType d, Device at) {
        return compute(s.size(), [&] { return rand(s, seed, d, at); });
      },
      "shape"_a, "seed"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu, rand_doc);
  m.def(
      "randn",
      [](const Shape& s, uint64_t seed, DType d, Device at) {
        return compute(s.size(), [&] { return randn(s, seed, d, at); });
      },
      "shape"_a, "seed"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu, "Standard normal, as rand.");
  drawn(m, "uniform", uniform, "On (0, 1): a function of (seed, stream, step, index), the same on every device.");
  drawn(m, "normal", normal, "Standard normal, as uniform.");
  drawn(m, "signs", signs, "±1, each as often, as uniform.");
  drawn_rows(m, "uniform_rows", uniform_rows, "Row r draws what uniform does with stream + streams[r] (i32).");
  drawn_rows(m, "normal_rows", normal_rows, "Row r draws what normal does with stream + streams[r] (i32).");
  drawn_sum(m, "normal_sum", normal_sum, "Σ coefficients[j]·z_j over the draws z_j [count] of normal with stream + j.");
  drawn_sum(m, "signs_sum", signs_sum, "Σ coefficients[j]·z_j over the draws z_j [count] of signs with stream + j.");
  m.def(
      "dropout",
      [](const Operand& x, double rate, uint64_t seed, uint64_t stream, const Operand& step) {
        const Tensor& given = x.tensor();
        const Tensor at = step_of(step);
        return compute(given.size(), [&] { return dropout(given, rate, {seed, stream}, at); });
      },
      "x"_a, "rate"_a, "seed"_a, "stream"_a = 0, "step"_a = 0, "x·mask/(1 − rate), P(mask = 0) = rate in [0, 1).");
}

}  // namespace

void bind_ops(nb::module_& m) {
  bind_elementary(m);
  bind_arithmetic(m);
  bind_making(m);
  bind_random(m);
}

}  // namespace mollify::python
