// Small ONNX models that tests build, and the generic test of a model against plain loops in the file's order of axes.
#pragma once

#include "../../datasets/files.h"

#include <mollify/engine/grad.h>
#include <mollify/engine/trace.h>
#include <mollify/nn/formats/onnx.h>

#include <onnx/onnx_pb.h>

#include <cmath>
#include <functional>
#include <map>

namespace mollify::nn::formats {

using datasets::Bytes;
using Extents = std::vector<int64_t>;

// Numbers in the file's order of axes.
struct Plain {
  Extents shape;
  std::vector<double> values;

  static int64_t size(const Extents& shape) {
    int64_t product = 1;
    for (const int64_t extent : shape) product *= extent;
    return product;
  }
  explicit Plain(Extents extents = {}) : shape(std::move(extents)), values(static_cast<size_t>(size(shape))) {}
  Plain(Extents extents, std::vector<double> numbers) : shape(std::move(extents)), values(std::move(numbers)) {}
  template <class... I>
  double& operator()(I... indices) {
    int64_t at = 0;
    size_t axis = 0;
    ((at = at * shape[axis++] + static_cast<int64_t>(indices)), ...);
    return values[static_cast<size_t>(at)];
  }
  template <class... I>
  double operator()(I... indices) const {
    return const_cast<Plain&>(*this)(indices...);
  }
};

// Normal numbers that f32 holds.
inline Plain random_plain(std::mt19937& random, const Extents& shape, double scale = 0.7) {
  std::normal_distribution<double> normal(0, scale);
  Plain out(shape);
  for (double& value : out.values) value = static_cast<float>(normal(random));
  return out;
}

using Function = std::function<double(double)>;

inline Plain mapped(Plain x, const Function& f) {
  for (double& value : x.values) value = f(value);
  return x;
}

// f on operands that broadcast, by ONNX's rules.
inline Plain broadcast(const Plain& a, const Plain& b, const std::function<double(double, double)>& f) {
  const size_t rank = std::max(a.shape.size(), b.shape.size());
  const auto extent = [&](const Plain& p, size_t axis) {
    return axis + p.shape.size() < rank ? 1 : p.shape[axis + p.shape.size() - rank];
  };
  Extents shape;
  for (size_t axis = 0; axis < rank; ++axis) shape.push_back(std::max(extent(a, axis), extent(b, axis)));
  Plain out(shape);
  for (size_t i = 0; i < out.values.size(); ++i) {
    const auto number = [&](const Plain& p) {
      int64_t at = 0, stride = 1, rest = static_cast<int64_t>(i);
      for (size_t axis = rank; axis-- > 0; rest /= shape[axis]) {
        if (extent(p, axis) > 1) at += rest % shape[axis] * stride;
        stride *= extent(p, axis);
      }
      return p.values[static_cast<size_t>(at)];
    };
    out.values[i] = f(number(a), number(b));
  }
  return out;
}

inline Plain reshaped(Plain x, const Extents& shape) {
  x.shape = shape;
  return x;
}

class Model {
 public:
  explicit Model(const Extents& input, int type = ::onnx::TensorProto::FLOAT) {
    proto.set_ir_version(8);
    proto.add_opset_import()->set_version(13);
    port(*graph().add_input(), "x", type);
    for (const int64_t extent : input) {
      auto* dim = graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim();
      if (extent < 0) dim->set_dim_param("batch");
      else dim->set_dim_value(extent);
    }
    port(*graph().add_output(), "y", type);
  }

  ::onnx::GraphProto& graph() { return *proto.mutable_graph(); }

  Model& constant(const std::string& name, const Plain& values) {
    ::onnx::TensorProto& tensor = begin_tensor(name, values.shape, ::onnx::TensorProto::FLOAT);
    for (const double value : values.values) tensor.add_float_data(static_cast<float>(value));
    return *this;
  }
  Model& integers(const std::string& name, const Extents& values, bool scalar = false) {
    ::onnx::TensorProto& tensor = begin_tensor(name, scalar ? Extents() : Extents{static_cast<int64_t>(values.size())},
                                               ::onnx::TensorProto::INT64);
    for (const int64_t value : values) tensor.add_int64_data(value);
    return *this;
  }
  Model& node(const std::string& type, const std::vector<std::string>& inputs,
              const std::vector<std::string>& outputs) {
    ::onnx::NodeProto& node = *graph().add_node();
    node.set_op_type(type);
    for (const std::string& name : inputs) node.add_input(name);
    for (const std::string& name : outputs) node.add_output(name);
    return *this;
  }
  // Of the last node.
  Model& set(const std::string& name, const Extents& values) {
    auto& attribute = add_attribute(name, ::onnx::AttributeProto::INTS);
    for (const int64_t value : values) attribute.add_ints(value);
    return *this;
  }
  Model& set(const std::string& name, int value) {
    add_attribute(name, ::onnx::AttributeProto::INT).set_i(value);
    return *this;
  }
  Model& set(const std::string& name, double value) {
    add_attribute(name, ::onnx::AttributeProto::FLOAT).set_f(static_cast<float>(value));
    return *this;
  }
  Model& set(const std::string& name, const char* value) {
    add_attribute(name, ::onnx::AttributeProto::STRING).set_s(value);
    return *this;
  }

  Bytes bytes() const {
    const std::string text = proto.SerializeAsString();
    return Bytes(text.begin(), text.end());
  }
  OnnxModel parse() const { return parse_onnx("a.onnx", bytes()); }

  ::onnx::ModelProto proto;

 private:
  static void port(::onnx::ValueInfoProto& info, const std::string& name, int type) {
    info.set_name(name);
    info.mutable_type()->mutable_tensor_type()->set_elem_type(type);
  }
  ::onnx::TensorProto& begin_tensor(const std::string& name, const Extents& shape, int type) {
    ::onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (const int64_t extent : shape) tensor.add_dims(extent);
    return tensor;
  }
  ::onnx::AttributeProto& add_attribute(const std::string& name, ::onnx::AttributeProto::AttributeType type) {
    auto& attribute = *graph().mutable_node(graph().node_size() - 1)->add_attribute();
    attribute.set_name(name);
    attribute.set_type(type);
    return attribute;
  }
};

// relu(x·w + b), x (1, 3)
inline Model dense_model() {
  std::mt19937 random(3);
  Model model({1, 3});
  model.constant("w", random_plain(random, {3, 2})).constant("b", random_plain(random, {2}));
  return model.node("Gemm", {"x", "w", "b"}, {"h"}).node("Relu", {"h"}, {"y"});
}

inline std::vector<double> evaluate(const OnnxModel& model, const std::vector<double>& x, int64_t rows, DType dtype) {
  Shape shape = model.network.input();
  shape.insert(0, rows);
  return cast(model.network(cast(model.weights, dtype), cast(Tensor::from(x, shape), dtype)), DType::f64)
      .to_vector<double>();
}

// The model gives what `reference` does for each of three rows: in f64 and f32, together and one by one. It can be
// traced, with every step labelled, and its derivatives along a random direction of weights and input are those of
// finite differences.
inline void expect_computes(const OnnxModel& model, const std::function<Plain(const Plain& x)>& reference,
                            uint32_t seed = 1) {
  constexpr int64_t kRows = 3;
  std::mt19937 random(seed);
  const Extents shape(model.input.begin(), model.input.end());
  std::vector<double> all, expected;
  for (int64_t row = 0; row < kRows; ++row) {
    const Plain x = random_plain(random, shape), y = reference(x);
    EXPECT_EQ(Shape(y.shape), model.output);
    all.insert(all.end(), x.values.begin(), x.values.end());
    expected.insert(expected.end(), y.values.begin(), y.values.end());
    for (const DType dtype : {DType::f64, DType::f32}) {
      const std::vector<double> single = evaluate(model, x.values, 1, dtype);
      ASSERT_EQ(single.size(), y.values.size());
      for (size_t i = 0; i < single.size(); ++i)
        EXPECT_NEAR(single[i], y.values[i], (dtype == DType::f64 ? 1e-12 : 1e-5) * (1 + std::abs(y.values[i])))
            << "row " << row << ", number " << i;
    }
  }
  const std::vector<double> together = evaluate(model, all, kRows, DType::f64);
  ASSERT_EQ(together.size(), expected.size());
  for (size_t i = 0; i < together.size(); ++i)
    EXPECT_NEAR(together[i], expected[i], 1e-12 * (1 + std::abs(expected[i])));

  Shape rows = model.network.input();
  rows.insert(0, 5);
  const Trace traced =
      trace([&](const Tensor& x) { return model.network(model.weights, x); }, Layout::packed(rows, DType::f32));
  EXPECT_EQ(traced.output.shape()[0], 5);
  for (const TracedStep& step : traced.steps)
    EXPECT_TRUE(step.label.starts_with("node '") || step.label == "output 'y'") << step.op().name;

  rows[0] = kRows;
  const Tensor w = cast(model.weights, DType::f64), x = Tensor::from(all, rows);
  const auto direction = [&](const Tensor& like) {
    return Tensor::from(random_plain(random, {like.size()}, 1).values, like.shape());
  };
  const Tensor dw = direction(w), dx = direction(x), seed_of_y = direction(model.network(w, x));
  const auto along = [&](const Tensor& t) { return sum(model.network(w + dw * t, x + dx * t) * seed_of_y); };
  const double step = 1e-6, zero = 0;
  const auto at = [&](double t) { return along(Tensor::scalar(t, DType::f64)).item(); };
  const double derivative = grad(along)(Tensor::scalar(zero, DType::f64)).item(),
               difference = (at(step) - at(-step)) / (2 * step);
  EXPECT_NEAR(derivative, difference, 1e-6 * (1 + std::abs(difference) + std::abs(at(0))));
}

}  // namespace mollify::nn::formats
