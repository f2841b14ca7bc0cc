// Reading a node's attributes and constants, and the operators of arithmetic.
#include <mollify/nn/formats/onnx_operators.h>

#include <mollify/engine/file.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mollify::nn::formats::detail {
namespace {

// ---- Elementwise

template <auto f>
Run elementwise(NodeReader& node) {
  node.require_inputs(1, 1);
  return [](std::span<const Value> in, const Tensor&) -> Values { return {{f(in[0].tensor), in[0].form}}; };
}

template <class F>
Run elementwise_with(F f) {
  return [f](std::span<const Value> in, const Tensor&) -> Values { return {{f(in[0].tensor), in[0].form}}; };
}

template <auto f>
Run binary(NodeReader& node) {
  node.require_inputs(2, 2);
  node.ignore_attribute("broadcast");  // of early versions; without their `axis` it is as today
  return [](std::span<const Value> in, const Tensor&) -> Values {
    return {broadcast_apply([](const Tensor& a, const Tensor& b) { return f(a, b); }, in[0], in[1])};
  };
}

Run identity() {
  return [](std::span<const Value> in, const Tensor&) -> Values { return {in[0]}; };
}

Run build_identity(NodeReader& node) {
  node.require_inputs(1, 1);
  return identity();
}

Run build_dropout(NodeReader& node) {
  node.require_inputs(1, 3);
  for (const char* name : {"ratio", "seed", "is_test"}) node.ignore_attribute(name);
  node.ignore_input(1);
  const std::optional<std::vector<int64_t>> training = node.integers_or_input("training_mode", 2);
  require<FormatError>(!training || *training == std::vector<int64_t>{0}, "dropout in training mode; needs inference");
  return identity();
}

Run build_cast(NodeReader& node) {
  constexpr int64_t kFloat = 1, kDouble = 11;  // TensorProto.DataType
  node.require_inputs(1, 1);
  node.ignore_attribute("saturate");
  const int64_t to = node.integer("to", 0);
  require<FormatError>(to == kFloat || to == kDouble, "converts to number type {}; needs 1 (FLOAT) or 11 (DOUBLE)", to);
  if (to == kDouble) return identity();
  // A DOUBLE constant is rounded; what depends on the input is FLOAT already.
  return [](std::span<const Value> in, const Tensor&) -> Values {
    if (!in[0].is_constant()) return {in[0]};
    return {{cast(cast(in[0].tensor, DType::f32), in[0].tensor.dtype()), in[0].form}};
  };
}

Run build_leaky_relu(NodeReader& node) {
  node.require_inputs(1, 1);
  return elementwise_with([slope = node.number("alpha", 0.01F)](const Tensor& x) { return leaky_relu(x, slope); });
}

// x > 0 ? x : alpha·(eˣ − 1)
Run build_elu(NodeReader& node) {
  node.require_inputs(1, 1);
  const double alpha = node.number("alpha", 1);
  if (alpha == 1) return elementwise_with([](const Tensor& x) { return elu(x); });
  return elementwise_with([alpha](const Tensor& x) { return relu(x) - relu(-elu(x)) * alpha; });
}

Run build_gelu(NodeReader& node) {
  node.require_inputs(1, 1);
  const std::string approximate = node.text("approximate", "none");
  require<FormatError>(approximate == "none", "approximate is {}; needs 'none'", excerpt(approximate));
  return elementwise_with([](const Tensor& x) { return gelu(x); });
}

Run build_clip(NodeReader& node) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  node.require_inputs(1, 3);
  const double low = node.number_or_input("min", 1).value_or(-kInfinity),
               high = node.number_or_input("max", 2).value_or(kInfinity);
  require<FormatError>(low <= high, "min is {}, max is {}; needs min <= max", low, high);
  return elementwise_with([low, high](const Tensor& x) { return clip(x, low, high); });
}

Run build_softmax(NodeReader& node) {
  node.require_inputs(1, 1);
  const bool given = node.has_attribute("axis");
  const int64_t axis = node.integer("axis", 1);
  require<FormatError>(node.is_last(), "a softmax within the network; needs one at its end, or none");
  return [given, axis](std::span<const Value> in, const Tensor&) -> Values {
    const Value x = in_file_order(in[0]);
    const int rank = file_shape(x).rank();
    // Which axis is meant where none is given differs between versions of ONNX, but not for two axes.
    require(rank >= 1 && (given || rank == 2) && file_axis(axis, rank) == rank - 1,
            "softmax of {} along axis {}; needs the last one", file_shape(x), given ? std::to_string(axis) : "?");
    return {{softmax(x.tensor), x.form}};
  };
}

// ---- Products

// x[…, k]·w[n, k]ᵀ
Value product_of_rows(const Value& x, const Tensor& weight, const Tensor& bias) {
  const Value plain = in_file_order(x);
  return folded({dense(plain.tensor, weight, bias), plain.form});
}

Value times_constant(const Value& x, const Tensor& right) {
  const Shape left = file_shape(x);
  require(left.rank() >= 1 && (right.rank() == 1 || right.rank() == 2) && left.back() == right.shape()[0],
          "left is {}, right is a constant {}; needs a matrix or vector with as many rows as the left has columns",
          left, right.shape());
  if (right.rank() == 2) return product_of_rows(x, transpose(right), {});
  const Value column = product_of_rows(x, reshape(right, {1, right.size()}), {});
  Shape shape = file_shape(column);
  shape.erase(shape.rank() - 1);
  return with_shape(column, shape);
}

// w[m, k]·x[k] and w[m, k]·x[…, k, n], as products of the rows of xᵀ
Value constant_times(const Tensor& left, const Value& x) {
  const Shape shape = file_shape(x);
  require(left.rank() == 2 && shape.rank() >= 1 && shape[std::max(0, shape.rank() - 2)] == left.shape()[1],
          "left is a constant {}, right is {}; needs a matrix with as many columns as the right has rows", left.shape(),
          shape);
  if (shape.rank() == 1) return product_of_rows(x, left, {});
  const Value rows = stacked(x);
  return folded({transpose(dense(transpose(rows.tensor), left, {})), Form::stacked});
}

Run build_matmul(NodeReader& node) {
  node.require_inputs(2, 2);
  return [](std::span<const Value> in, const Tensor&) -> Values {
    const Value &a = in[0], &b = in[1];
    require(a.is_constant() || b.is_constant(),
            "both sides, {} and {}, depend on the network's input; needs a constant one", file_shape(a), file_shape(b));
    if (b.is_constant()) return {times_constant(a, in_file_order(b).tensor)};
    return {constant_times(in_file_order(a).tensor, b)};
  };
}

// alpha·x·w + beta·c
Run build_gemm(NodeReader& node) {
  node.require_inputs(2, 3);
  const double alpha = node.number("alpha", 1), beta = node.number("beta", 1);
  const bool transposed = node.integer("transB", 0) != 0;
  node.ignore_attribute("broadcast");
  require<FormatError>(node.integer("transA", 0) == 0, "transA is set; needs 0");
  return [=](std::span<const Value> in, const Tensor&) -> Values {
    const Shape x = file_shape(in[0]);
    const Value w = in_file_order(in[1]);
    const Shape b = file_shape(w);
    require(x.rank() == 2 && w.is_constant() && b.rank() == 2 && x[1] == b[transposed ? 1 : 0],
            "A is {}, B is {}{}, transB {}; needs matrices that match, B a constant", x,
            w.is_constant() ? "a constant " : "", b, transposed ? 1 : 0);
    Tensor weight = transposed ? w.tensor : transpose(w.tensor);
    if (alpha != 1) weight = weight * alpha;
    if (in.size() < 3 || !in[2].tensor.defined()) return {product_of_rows(in[0], weight, {})};
    Value c = in_file_order(in[2]);
    if (beta != 1) c.tensor = c.tensor * beta;
    const int64_t outputs = weight.dim(0);
    const bool is_row = c.is_constant() && c.tensor.size() == outputs && (outputs == 1 || c.tensor.dim(-1) == outputs);
    if (is_row) return {product_of_rows(in[0], weight, reshape(c.tensor, {outputs}))};
    const Value y =
        broadcast_apply([](const Tensor& p, const Tensor& q) { return p + q; }, product_of_rows(in[0], weight, {}), c);
    require(file_shape(y) == Shape{x[0], outputs}, "C is {}; needs one that broadcasts to {}", file_shape(c),
            Shape{x[0], outputs});
    return {y};
  };
}

Tensor add(const Tensor& a, const Tensor& b) { return a + b; }
Tensor subtract(const Tensor& a, const Tensor& b) { return a - b; }
Tensor multiply(const Tensor& a, const Tensor& b) { return a * b; }
Tensor divide(const Tensor& a, const Tensor& b) { return a / b; }
Tensor negative(const Tensor& x) { return -x; }

constexpr Operator kArithmetic[] = {
    {"Abs", elementwise<abs>},         {"Add", binary<add>},           {"Cast", build_cast},
    {"Clip", build_clip},              {"Cos", elementwise<cos>},      {"Div", binary<divide>},
    {"Dropout", build_dropout},        {"Elu", build_elu},             {"Erf", elementwise<erf>},
    {"Exp", elementwise<exp>},         {"Gelu", build_gelu},           {"Gemm", build_gemm},
    {"Identity", build_identity},      {"LeakyRelu", build_leaky_relu}, {"Log", elementwise<log>},
    {"MatMul", build_matmul},          {"Mul", binary<multiply>},      {"Neg", elementwise<negative>},
    {"Relu", elementwise<relu>},       {"Sigmoid", elementwise<sigmoid>}, {"Sin", elementwise<sin>},
    {"Softmax", build_softmax},        {"Softplus", elementwise<softplus>}, {"Sqrt", elementwise<sqrt>},
    {"Sub", binary<subtract>},         {"Tanh", elementwise<tanh>}};

}  // namespace

std::span<const Operator> arithmetic_operators() { return kArithmetic; }

Run build_operator(NodeReader& node) {
  std::set<std::string> names;
  for (const std::span<const Operator> family : {arithmetic_operators(), image_operators(), shape_operators()})
    for (const Operator& entry : family) {
      names.insert(entry.type);
      if (node.type() != entry.type) continue;
      Run run = entry.build(node);
      node.require_known_attributes();
      return run;
    }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  throw FormatError("is no operator that can be read here; needs one of " + list);
}

void NodeReader::require_inputs(size_t least, size_t most) const {
  bool given = inputs() >= least && inputs() <= most;
  for (size_t i = 0; i < least; ++i) given = given && has_input(i);
  require<FormatError>(given && outputs() >= 1, "{} inputs and {} outputs; needs {} to {} inputs and an output",
                       inputs(), outputs(), least, most);
}

void NodeReader::ignore_input(size_t i) {
  if (i < inputs()) operand_[i] = false;
}

template <class T>
const T* NodeReader::attribute(const std::string& name, const char* kind) {
  read_.insert(name);
  const auto found = node_.attributes.find(name);
  if (found == node_.attributes.end()) return nullptr;
  const T* const value = std::get_if<T>(&found->second);
  require<FormatError>(value != nullptr, "attribute {} is of another type; needs {}", excerpt(name), kind);
  return value;
}

int64_t NodeReader::integer(const std::string& name, int64_t otherwise) {
  const int64_t* const value = attribute<int64_t>(name, "an integer");
  return value ? *value : otherwise;
}

double NodeReader::number(const std::string& name, double otherwise) {
  const double* const value = attribute<double>(name, "a number");
  require<FormatError>(!value || std::isfinite(*value), "attribute {} is not finite; needs a number", excerpt(name));
  return value ? *value : otherwise;
}

std::string NodeReader::text(const std::string& name, const std::string& otherwise) {
  const std::string* const value = attribute<std::string>(name, "a string");
  return value ? *value : otherwise;
}

std::vector<int64_t> NodeReader::integers(const std::string& name, const std::vector<int64_t>& otherwise) {
  const auto* const value = attribute<std::vector<int64_t>>(name, "integers");
  return value ? *value : otherwise;
}

const Array* NodeReader::array(const std::string& name) { return attribute<Array>(name, "a tensor"); }

std::optional<std::vector<int64_t>> NodeReader::integers_or_input(const std::string& name, size_t input) {
  if (has_attribute(name)) return integers(name, std::vector<int64_t>());
  if (!has_input(input)) return {};
  const Array* const array = constant(input);
  require<FormatError>(array && !array->floating && array->shape.rank() <= 1,
                       "input {} ({}) is {}; needs constant integers of at most one axis", input,
                       excerpt(node_.inputs[input]), array ? "another constant" : "computed");
  ignore_input(input);
  return array->integers;
}

std::optional<double> NodeReader::number_or_input(const std::string& name, size_t input) {
  if (has_attribute(name)) return number(name, 0.0);
  if (!has_input(input)) return {};
  const Array* const array = constant(input);
  require<FormatError>(array && array->floating && array->numbers.size() == 1 && !std::isnan(array->numbers[0]),
                       "input {} ({}) is {}; needs one constant number", input, excerpt(node_.inputs[input]),
                       array ? "another constant" : "computed");
  ignore_input(input);
  return array->numbers[0];
}

void NodeReader::require_known_attributes() const {
  for (const auto& [name, value] : node_.attributes)
    require<FormatError>(read_.contains(name), "attribute {} cannot be read here; needs a node without it",
                         excerpt(name));
}

}  // namespace mollify::nn::formats::detail
