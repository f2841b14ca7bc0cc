#include "op_table.h"

#include "rows.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <random>

namespace mollify::op_table {
namespace {

const std::vector<Shape> kUnaryShapes = {{}, {1}, {0}, {15}, {16}, {17}, {2, 0, 3}, {3, 1, 5}, {4, 5, 6}, {2500}};

const std::vector<std::vector<Shape>> kBinaryShapes = {
    {{}, {}},         {{15}, {15}},        {{16}, {16}},        {{17}, {17}},
    {{17}, {}},       {{}, {5}},           {{0}, {1}},          {{2, 0}, {1, 1}},
    {{3, 1}, {1, 4}}, {{2, 3, 4}, {3, 1}}, {{4, 1, 3}, {2, 1}}, {{2, 1, 3, 1}, {4, 1, 5}},
    {{40, 70}, {70}}, {{60, 1}, {1, 60}},  {{3, 1100}, {3, 1}}};

const std::vector<std::vector<Shape>> kTernaryShapes = {
    {{}, {}, {}},   {{17}, {17}, {17}},          {{16}, {}, {}},           {{3, 1}, {4}, {}},
    {{0}, {1}, {}}, {{2, 1, 3}, {2, 1}, {1, 3}}, {{5}, {4, 1}, {1, 1, 5}}, {{1100}, {}, {2, 1}}};

// The formula at every element of the shape that all inputs broadcast to.
Array broadcast_formula(const Arrays& in, const std::function<double(const double*)>& formula) {
  Shape shape = in[0].shape;
  for (const Array& array : in) shape = broadcast("reference", shape, array.shape);
  return build(shape, [&](const Index& index) {
    double element[3];
    for (size_t j = 0; j < in.size(); ++j) {
      const Shape& own = in[j].shape;
      Index at(index.end() - own.rank(), index.end());
      for (int axis = 0; axis < own.rank(); ++axis)
        if (own[axis] == 1) at[static_cast<size_t>(axis)] = 0;
      element[j] = in[j].at(at);
    }
    return formula(element);
  });
}

Row elementwise(std::string name, const std::vector<std::vector<Shape>>& shapes, const Run& run,
                std::function<double(const double*)> scalar, std::vector<Domain> domains) {
  Row row{.name = std::move(name), .domains = std::move(domains)};
  for (const auto& of_inputs : shapes)
    row.cases.push_back({of_inputs, run, [scalar](const Arrays& in) { return Arrays{broadcast_formula(in, scalar)}; }});
  std::vector<Shape> big(shapes[0].size(), Shape{70, 1003});
  if (big.size() > 1) big[1] = {1003};
  row.large = {{big, run, {}}};
  if (big.size() > 1) {
    std::vector<Shape> wrong(big.size(), Shape{2, 3});
    wrong[1] = {4};
    if (wrong.size() > 2) wrong[2] = {};
    std::vector<Shape> wrong_rows = wrong;
    wrong_rows[1] = {3, 3};
    row.misfits = {{wrong, run}, {wrong_rows, run}};
  }
  row.scalar = std::move(scalar);
  return row;
}

uint64_t hash(const std::string& text, uint64_t value) {
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return value;
}

double rounded(double value, DType dtype) { return dtype == DType::f32 ? static_cast<float>(value) : value; }

}  // namespace

size_t Array::position(const Index& index) const {
  int64_t place = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) place = place * shape[axis] + index[static_cast<size_t>(axis)];
  return static_cast<size_t>(place);
}

Row unary(std::string name, std::function<Tensor(const Tensor&)> op, std::function<double(double)> formula,
          Domain domain) {
  std::vector<std::vector<Shape>> shapes;
  for (const Shape& shape : kUnaryShapes) shapes.push_back({shape});
  return elementwise(
      std::move(name), shapes, [op](const Tensors& in) { return Tensors{op(in[0])}; },
      [formula](const double* x) { return formula(x[0]); }, {std::move(domain)});
}

Row binary(std::string name, std::function<Tensor(const Tensor&, const Tensor&)> op,
           std::function<double(double, double)> formula, Domain a, Domain b) {
  return elementwise(
      std::move(name), kBinaryShapes, [op](const Tensors& in) { return Tensors{op(in[0], in[1])}; },
      [formula](const double* x) { return formula(x[0], x[1]); }, {std::move(a), std::move(b)});
}

Row ternary(std::string name, std::function<Tensor(const Tensor&, const Tensor&, const Tensor&)> op,
            std::function<double(double, double, double)> formula, Domain a, Domain b, Domain c) {
  return elementwise(
      std::move(name), kTernaryShapes, [op](const Tensors& in) { return Tensors{op(in[0], in[1], in[2])}; },
      [formula](const double* x) { return formula(x[0], x[1], x[2]); }, {std::move(a), std::move(b), std::move(c)});
}

Row general(std::string name, std::vector<Case> cases, std::vector<Domain> domains) {
  return {.name = std::move(name), .domains = std::move(domains), .cases = std::move(cases), .ulps = 16};
}

Case of_one(Shape shape, std::function<Tensor(const Tensor&)> run, std::function<Array(const Array&)> reference,
            bool rows) {
  return {{shape},
          [run](const Tensors& in) { return Tensors{run(in[0])}; },
          [reference](const Arrays& in) { return Arrays{reference(in[0])}; },
          rows};
}

Case of_many(std::vector<Shape> shapes, std::function<Tensor(const Tensors&)> run,
             std::function<Array(const Arrays&)> reference, bool rows) {
  return {std::move(shapes), [run](const Tensors& in) { return Tensors{run(in)}; },
          [reference](const Arrays& in) { return Arrays{reference(in)}; }, rows};
}

Case large_one(Shape shape, std::function<Tensor(const Tensor&)> run) {
  return {{shape}, [run](const Tensors& in) { return Tensors{run(in[0])}; }, {}};
}

Case large_many(std::vector<Shape> shapes, std::function<Tensor(const Tensors&)> run) {
  return {std::move(shapes), [run](const Tensors& in) { return Tensors{run(in)}; }, {}};
}

Misfit misfit_one(Shape shape, std::function<Tensor(const Tensor&)> run) {
  return {{shape}, [run](const Tensors& in) { return Tensors{run(in[0])}; }};
}

Misfit misfit_many(std::vector<Shape> shapes, std::function<Tensor(const Tensors&)> run) {
  return {std::move(shapes), [run](const Tensors& in) { return Tensors{run(in)}; }};
}

void for_each(const Shape& shape, const std::function<void(const Index&)>& f) {
  Index index(static_cast<size_t>(shape.rank()), 0);
  for (int64_t i = 0, size = shape.size(); i < size; ++i) {
    f(index);
    for (int axis = shape.rank() - 1; axis >= 0 && ++index[static_cast<size_t>(axis)] == shape[axis]; --axis)
      index[static_cast<size_t>(axis)] = 0;
  }
}

Array build(const Shape& shape, const std::function<double(const Index&)>& f) {
  Array out{shape, {}};
  for_each(shape, [&](const Index& index) { out.values.push_back(f(index)); });
  return out;
}

Array along(const Array& x, int axis, const std::function<std::vector<double>(const std::vector<double>&)>& f,
            bool drop) {
  const int at = axis < 0 ? axis + x.shape.rank() : axis;
  Shape others = x.shape, shape = x.shape;
  others[at] = 1;
  shape[at] = static_cast<int64_t>(f(std::vector<double>(static_cast<size_t>(x.shape[at]))).size());
  Array out{shape, std::vector<double>(static_cast<size_t>(shape.size()))};
  for_each(others, [&](Index index) {
    std::vector<double> line;
    for (int64_t i = 0; i < x.shape[at]; ++i) {
      index[static_cast<size_t>(at)] = i;
      line.push_back(x.at(index));
    }
    const std::vector<double> result = f(line);
    for (size_t i = 0; i < result.size(); ++i) {
      index[static_cast<size_t>(at)] = static_cast<int64_t>(i);
      out.at(index) = result[i];
    }
  });
  if (drop) out.shape.erase(at);
  return out;
}

const Rows& table() {
  static const Rows all = [] {
    Rows joined;
    for (const auto& family : {arithmetic_rows, elementary_rows, reduction_rows, product_rows, pooling_rows, shape_rows,
                               index_rows, making_rows, update_rows, smoothed_rows, bounds_rows, composite_rows})
      for (Row& row : family()) joined.push_back(std::move(row));
    return joined;
  }();
  return all;
}

std::string test_name(const Row& row, size_t number) {
  std::string text = row.name + (row.label.empty() ? "" : "_" + row.label);
  const std::pair<const char*, const char*> words[] = {
      {"operator+", "add"}, {"operator-", "subtract"}, {"operator*", "multiply"}, {"operator/", "divide"}};
  for (const auto& [symbol, word] : words)
    if (row.name == symbol) text.replace(0, row.name.size(), word);
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return text + "_" + std::to_string(number);
}

Tensor tensor_of(const Array& array) {
  return array.dtype == DType::f64 ? Tensor::from(array.values, array.shape)
                                   : cast(Tensor::from(array.values, array.shape), array.dtype);
}

Tensor beside(const Tensor& x, const Array& array) { return to(tensor_of(array), x.device()); }

Array array_of(const Tensor& tensor) {
  return {tensor.shape(), cast(tensor.detach(), DType::f64).to_vector<double>(), tensor.dtype()};
}

Arrays arrays_of(const Tensors& tensors) {
  Arrays out;
  for (const Tensor& tensor : tensors) out.push_back(array_of(tensor));
  return out;
}

Arrays sample(const Row& row, const std::vector<Shape>& shapes, DType dtype, uint64_t seed) {
  std::mt19937_64 generator(hash(row.name + row.label, seed + 0xcbf29ce484222325u));
  Arrays inputs;
  for (size_t j = 0; j < shapes.size(); ++j) {
    const Domain& domain = row.domain(j);
    std::uniform_real_distribution<double> uniform(domain.low, domain.high);
    inputs.push_back(build(shapes[j], [&](const Index&) {
      double value = uniform(generator);
      const auto near = [&](double kink) { return std::abs(value - kink) < 0.05; };
      while (std::any_of(domain.kinks.begin(), domain.kinks.end(), near)) value = uniform(generator);
      return rounded(value, dtype);
    }));
    inputs.back().dtype = dtype;
  }
  return inputs;
}

Tensors tensors_of(const Arrays& arrays) {
  Tensors out(arrays.size());
  for (size_t j = 0; j < arrays.size(); ++j) out[j] = tensor_of(arrays[j]);
  return out;
}

Array random_array(const Shape& shape, DType dtype, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  Array out = build(shape, [&](const Index&) { return rounded(uniform(generator), dtype); });
  out.dtype = dtype;
  return out;
}

double epsilon_of(DType dtype) {
  return dtype == DType::f32 ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
}

double largest(const Array& array) {
  double value = 0;
  for (const double x : array.values)
    if (std::isfinite(x)) value = std::max(value, std::abs(x));
  return value;
}

std::string difference(const Array& got, const Array& expected, double ulps, double scale) {
  if (!(got.shape == expected.shape))
    return "shape " + to_string(got.shape) + ", expected " + to_string(expected.shape);
  const bool single = got.dtype == DType::f32;
  const double limit = single ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  const double smallest = single ? std::numeric_limits<float>::min() : std::numeric_limits<double>::min();
  for (size_t i = 0; i < got.values.size(); ++i) {
    const double value = got.values[i];
    double wanted = expected.values[i];
    if (std::abs(wanted) > limit * (1 + 2 * epsilon_of(got.dtype)))
      wanted = std::copysign(std::numeric_limits<double>::infinity(), wanted);
    const bool agree = std::isnan(wanted)   ? std::isnan(value)
                       : std::isinf(wanted) ? value == wanted
                                            : std::abs(value - wanted) <=
                                                  ulps * epsilon_of(got.dtype) * (std::abs(wanted) + scale) + smallest;
    if (!agree) return format("element {} of {}: {}, expected {}", i, got.shape, value, wanted);
  }
  return {};
}

}  // namespace mollify::op_table
