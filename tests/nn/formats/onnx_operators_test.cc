// The operators of ONNX files that compute, against a few lines of plain loops in the file's order of axes.
#ifdef MOLLIFY_ONNX

#include "onnx_model.h"

#include <mollify/nn/bounds/bounds.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace mollify::nn::formats {
namespace {

// a[…, k]·b[k, n]
Plain product(const Plain& a, const Plain& b) {
  Extents shape = a.shape;
  shape.back() = b.shape[1];
  Plain out(shape);
  const int64_t inner = b.shape[0], columns = b.shape[1];
  for (int64_t row = 0; row < Plain::size(a.shape) / inner; ++row)
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t k = 0; k < inner; ++k)
        out.values[static_cast<size_t>(row * columns + j)] += a.values[static_cast<size_t>(row * inner + k)] * b(k, j);
  return out;
}

struct Windows {
  Extents kernel, strides{1, 1}, dilations{1, 1}, pads{0, 0, 0, 0};  // pads: top, left, bottom, right
  int64_t count(const Extents& image, size_t i) const {
    return (image[2 + i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1) / strides[i] + 1;
  }
};

// Calls f(channel, row, column, value) for all places of x that the window (i, j) sees, and `outside` in place of the
// value elsewhere.
template <class F>
void for_window(const Plain& x, const Windows& how, int64_t channel, int64_t i, int64_t j, const F& f) {
  for (int64_t r = 0; r < how.kernel[0]; ++r)
    for (int64_t c = 0; c < how.kernel[1]; ++c) {
      const int64_t row = i * how.strides[0] + r * how.dilations[0] - how.pads[0],
                    column = j * how.strides[1] + c * how.dilations[1] - how.pads[1];
      if (row >= 0 && column >= 0 && row < x.shape[2] && column < x.shape[3]) f(r, c, x(0, channel, row, column));
    }
}

Plain convolved(const Plain& x, const Plain& w, const Plain& bias, int64_t groups, const Windows& how) {
  Plain out({1, w.shape[0], how.count(x.shape, 0), how.count(x.shape, 1)});
  const int64_t depth = w.shape[1], filters = w.shape[0] / groups;
  for (int64_t o = 0; o < w.shape[0]; ++o)
    for (int64_t i = 0; i < out.shape[2]; ++i)
      for (int64_t j = 0; j < out.shape[3]; ++j) {
        out(0, o, i, j) = bias(o);
        for (int64_t d = 0; d < depth; ++d)
          for_window(x, how, o / filters * depth + d, i, j,
                     [&](int64_t r, int64_t c, double value) { out(0, o, i, j) += w(o, d, r, c) * value; });
      }
  return out;
}

enum class Pooling { max, average, average_with_padding };

Plain pooled(const Plain& x, Pooling kind, const Windows& how) {
  Plain out({1, x.shape[1], how.count(x.shape, 0), how.count(x.shape, 1)});
  for (int64_t channel = 0; channel < x.shape[1]; ++channel)
    for (int64_t i = 0; i < out.shape[2]; ++i)
      for (int64_t j = 0; j < out.shape[3]; ++j) {
        double most = -1e300, total = 0, count = 0;
        for_window(x, how, channel, i, j, [&](int64_t, int64_t, double value) {
          most = std::max(most, value);
          total += value;
          ++count;
        });
        if (kind == Pooling::average_with_padding) count = static_cast<double>(how.kernel[0] * how.kernel[1]);
        out(0, channel, i, j) = kind == Pooling::max ? most : total / count;
      }
  return out;
}

Model& windows(Model& model, const Windows& how) { return model.set("strides", how.strides).set("pads", how.pads); }

class OnnxOperators : public testing::Test {
 protected:
  Plain normal(const Extents& shape) { return random_plain(random_, shape); }
  int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  std::mt19937 random_{7};
};

TEST_F(OnnxOperators, Elementwise) {
  const std::map<std::string, Function> functions{
      {"Abs", [](double x) { return std::abs(x); }},
      {"Cos", [](double x) { return std::cos(x); }},
      {"Elu", [](double x) { return x > 0 ? x : std::expm1(x); }},
      {"Erf", [](double x) { return std::erf(x); }},
      {"Exp", [](double x) { return std::exp(x); }},
      {"Gelu", [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }},
      {"Identity", [](double x) { return x; }},
      {"Dropout", [](double x) { return x; }},
      {"LeakyRelu", [](double x) { return x > 0 ? x : static_cast<double>(0.01F) * x; }},
      {"Neg", [](double x) { return -x; }},
      {"Relu", [](double x) { return std::max(x, 0.0); }},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"Sin", [](double x) { return std::sin(x); }},
      {"Softplus", [](double x) { return std::log1p(std::exp(x)); }},
      {"Tanh", [](double x) { return std::tanh(x); }}};
  for (const auto& [type, f] : functions)
    for (const Extents& shape : {Extents{1, 5}, Extents{4}, Extents{1, 2, 3, 2}, Extents{2, 3}}) {
      SCOPED_TRACE(type);
      Model model(shape);
      model.node(type, {"x"}, {"y"});
      if (type == "LeakyRelu") model.set("alpha", 0.01);
      expect_computes(model.parse(), [&f = f](const Plain& x) { return mapped(x, f); });
    }
  expect_computes(Model({1, 5})
                      .node("Exp", {"x"}, {"e"})
                      .node("Log", {"e"}, {"l"})
                      .node("Mul", {"l", "l"}, {"q"})
                      .node("Sqrt", {"q"}, {"y"})
                      .parse(),
                  [](const Plain& x) { return mapped(x, [](double v) { return std::abs(v); }); });
  expect_computes(Model({1, 5}).node("Elu", {"x"}, {"y"}).set("alpha", 0.25).parse(),
                  [](const Plain& x) { return mapped(x, [](double v) { return v > 0 ? v : 0.25 * std::expm1(v); }); });
  expect_computes(Model({1, 5}).node("Cast", {"x"}, {"y"}).set("to", 11).parse(), [](const Plain& x) { return x; });
  const auto clipped = [](double low, double high) {
    return [=](const Plain& x) { return mapped(x, [=](double v) { return std::clamp(v, low, high); }); };
  };
  expect_computes(Model({1, 9}).node("Clip", {"x"}, {"y"}).set("min", -0.25).set("max", 0.5).parse(),
                  clipped(-0.25, 0.5));
  expect_computes(Model({1, 9}).constant("high", Plain({}, {0.5})).node("Clip", {"x", "", "high"}, {"y"}).parse(),
                  clipped(-1e300, 0.5));
  expect_computes(Model({1, 5}).node("Softmax", {"x"}, {"y"}).set("axis", 1).parse(), [](const Plain& x) {
    const Plain e = mapped(x, [](double v) { return std::exp(v); });
    const double total = std::accumulate(e.values.begin(), e.values.end(), 0.0);
    return mapped(e, [=](double v) { return v / total; });
  });
}

TEST_F(OnnxOperators, ArithmeticBroadcasts) {
  const std::map<std::string, std::function<double(double, double)>> functions{
      {"Add", std::plus<>()}, {"Sub", std::minus<>()}, {"Mul", std::multiplies<>()}, {"Div", std::divides<>()}};
  const std::vector<std::pair<Extents, std::vector<Extents>>> shapes{
      {{1, 2, 3, 4}, {{}, {4}, {3, 1}, {2, 1, 1}, {1, 2, 1, 1}, {2, 2, 3, 4}, {2, 1, 2, 3, 4}}},
      {{5}, {{}, {1}, {5}, {1, 5}, {3, 5}}},
      {{3, 5}, {{5}, {3, 1}, {1, 3, 5}}}};
  for (const auto& [type, f] : functions)
    for (const auto& [input, constants] : shapes)
      for (const Extents& shape : constants) {
        SCOPED_TRACE(type + " " + to_string(Shape(input)) + " " + to_string(Shape(shape)));
        const Plain c = mapped(normal(shape), [](double v) { return static_cast<float>(v + 3); });
        const auto& call = f;
        // also on values that lie channels last
        expect_computes(Model(input).constant("c", c).node(type, {"x", "c"}, {"y"}).parse(),
                        [&](const Plain& x) { return broadcast(x, c, call); });
        expect_computes(
            Model(input).constant("c", c).node("Softplus", {"x"}, {"p"}).node(type, {"c", "p"}, {"y"}).parse(),
            [&](const Plain& x) {
              return broadcast(c, mapped(x, [](double v) { return std::log1p(std::exp(v)); }), call);
            });
        if (input.size() < 4) continue;
        expect_computes(Model(input)
                            .constant("c", c)
                            .node("MaxPool", {"x"}, {"p"})
                            .set("kernel_shape", {1, 1})
                            .node(type, {"p", "c"}, {"y"})
                            .parse(),
                        [&](const Plain& x) { return broadcast(x, c, call); });
      }
  // two computed values: both channels last, one of them, of different ranks
  const Plain c = normal({4});
  for (const char* other : {"p", "x", "m"}) {
    SCOPED_TRACE(other);
    Model model({1, 2, 3, 4});
    model.node("MaxPool", {"x"}, {"p"}).set("kernel_shape", {1, 1}).node("Tanh", {"p"}, {"t"});
    model.node("ReduceSum", {"x"}, {"m"}).set("axes", {0, 1}).set("keepdims", 0).node("Sub", {other, "t"}, {"y"});
    expect_computes(model.parse(), [&](const Plain& x) {
      Plain m({3, 4});
      for (int64_t i = 0; i < 24; ++i) m.values[static_cast<size_t>(i % 12)] += x.values[static_cast<size_t>(i)];
      return broadcast(other[0] == 'm' ? m : x, mapped(x, [](double v) { return std::tanh(v); }), std::minus<>());
    });
  }
}

TEST_F(OnnxOperators, Products) {
  const Plain w = normal({6, 4}), wt = normal({4, 6});
  for (const Extents& shape : {Extents{1, 6}, Extents{6}, Extents{3, 6}, Extents{1, 3, 6}, Extents{2, 3, 6}})
    expect_computes(Model(shape).constant("w", w).node("MatMul", {"x", "w"}, {"y"}).parse(),
                    [&](const Plain& x) { return product(x, w); });
  for (const Extents& shape : {Extents{6}, Extents{6, 1}, Extents{6, 3}, Extents{1, 6, 3}}) {
    expect_computes(Model(shape).constant("w", wt).node("MatMul", {"w", "x"}, {"y"}).parse(), [&](const Plain& x) {
      const Extents& s = x.shape;
      const Plain y = product(wt, reshaped(x, {6, s.back() == 6 ? 1 : s.back()}));
      return reshaped(y, s.size() == 1 ? Extents{4} : s.size() == 2 ? Extents{4, s[1]} : Extents{1, 4, s[2]});
    });
  }
  const Plain vector = normal({6});
  expect_computes(Model({2, 6}).constant("v", vector).node("MatMul", {"x", "v"}, {"y"}).parse(),
                  [&](const Plain& x) { return reshaped(product(x, reshaped(vector, {6, 1})), {2}); });
  for (const bool transposed : {false, true})
    for (const Extents& shape : {Extents{}, Extents{1}, Extents{4}, Extents{1, 4}}) {
      const Plain c = normal(shape), b = normal(transposed ? Extents{4, 6} : Extents{6, 4});
      Model model({1, 6});
      model.constant("b", b)
          .constant("c", c)
          .node("Gemm", {"x", "b", "c"}, {"y"})
          .set("alpha", 1.5)
          .set("beta", 0.5)
          .set("transB", transposed ? 1 : 0);
      expect_computes(model.parse(), [&](const Plain& x) {
        Plain weight({6, 4});
        for (int64_t i = 0; i < 6; ++i)
          for (int64_t j = 0; j < 4; ++j) weight(i, j) = transposed ? b(j, i) : b(i, j);
        return broadcast(product(x, weight), c, [](double p, double q) { return 1.5 * p + 0.5 * q; });
      });
    }
  // a weight that is computed from another
  expect_computes(
      Model({1, 6}).constant("w", wt).node("Transpose", {"w"}, {"t"}).node("MatMul", {"x", "t"}, {"y"}).parse(),
      [&](const Plain& x) {
        return reshaped(product(wt, reshaped(x, {6, 1})), {1, 4});
      });
}

TEST_F(OnnxOperators, Convolutions) {
  for (int round = 0; round < 24; ++round) {
    SCOPED_TRACE(round);
    const int64_t groups = between(1, 2), channels = groups * between(1, 3), filters = groups * between(1, 3);
    Windows how{{between(1, 3), between(1, 3)},
                {between(1, 3), between(1, 3)},
                {between(1, 2), between(1, 2)},
                {between(0, 2), between(0, 2), between(0, 2), between(0, 2)}};
    const Plain w = normal({filters, channels / groups, how.kernel[0], how.kernel[1]}),
                bias = round % 2 ? normal({filters}) : Plain({filters});
    Model model({1, channels, 7, 6});
    model.constant("w", w).constant("b", bias);
    model.node("Conv", round % 2 ? std::vector<std::string>{"x", "w", "b"} : std::vector<std::string>{"x", "w"}, {"y"});
    windows(model, how).set("dilations", how.dilations).set("group", static_cast<int>(groups));
    const OnnxModel parsed = model.parse();
    EXPECT_EQ(parsed.network.weights()[0].shape, (Shape{filters, how.kernel[0], how.kernel[1], channels / groups}));
    expect_computes(
        parsed, [&](const Plain& x) { return convolved(x, w, bias, groups, how); }, static_cast<uint32_t>(round));
  }
}

TEST_F(OnnxOperators, AutomaticPadding) {
  for (const char* pad : {"VALID", "SAME_UPPER", "SAME_LOWER"})
    for (const int64_t stride : {1, 2, 3}) {
      SCOPED_TRACE(pad);
      Windows how{{3, 2}, {stride, stride}};
      const Extents image{1, 2, 7, 6};
      for (size_t i = 0; i < 2 && pad[0] == 'S'; ++i) {
        const int64_t extent = image[2 + i],
                      total =
                          std::max<int64_t>(0, ((extent + stride - 1) / stride - 1) * stride + how.kernel[i] - extent);
        how.pads[i] = pad == std::string("SAME_LOWER") ? total - total / 2 : total / 2;
        how.pads[i + 2] = total - how.pads[i];
      }
      const Plain w = normal({3, 2, 3, 2});
      expect_computes(Model(image)
                          .constant("w", w)
                          .node("Conv", {"x", "w"}, {"y"})
                          .set("strides", how.strides)
                          .set("auto_pad", pad)
                          .parse(),
                      [&](const Plain& x) { return convolved(x, w, Plain({3}), 1, how); });
      expect_computes(Model(image)
                          .node("MaxPool", {"x"}, {"y"})
                          .set("kernel_shape", how.kernel)
                          .set("strides", how.strides)
                          .set("auto_pad", pad)
                          .parse(),
                      [&](const Plain& x) { return pooled(x, Pooling::max, how); });
    }
}

// A max pooling takes over the padding of −∞ in front of it, so that bounds meet no infinite number.
TEST_F(OnnxOperators, InfinitePadsBeforeMaxPooling) {
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    Windows how{
        {3, 2}, {between(1, 3), between(1, 3)}, {1, 1}, {between(0, 2), between(0, 1), between(0, 2), between(0, 1)}};
    const int64_t own = between(0, 1);  // rows that the pooling pads itself
    Model model({1, 3, 6, 5});
    model.integers("n", {0, 0, how.pads[0], how.pads[1], 0, 0, how.pads[2], how.pads[3]})
        .constant("v", Plain({}, {-std::numeric_limits<double>::infinity()}))
        .node("Pad", {"x", "n", "v"}, {"p"})
        .node("MaxPool", {"p"}, {"y"})
        .set("kernel_shape", how.kernel)
        .set("strides", how.strides)
        .set("pads", {own, 0, 0, 0});
    how.pads[0] += own;
    const OnnxModel parsed = model.parse();
    const auto f = [&](const Tensor& x) { return parsed.network(parsed.weights, x); };
    Shape one = parsed.network.input();
    one.insert(0, 1);
    const Trace traced = trace(f, Layout::packed(one, DType::f32));
    const bool inside = how.pads[0] < how.kernel[0];  // else some windows may have no number
    const auto is_pad = [](const TracedStep& step) { return step.op().name == std::string("pad"); };
    EXPECT_EQ(std::any_of(traced.steps.begin(), traced.steps.end(), is_pad), !inside);
    if (!inside) continue;
    expect_computes(parsed, [&](const Plain& x) { return pooled(x, Pooling::max, how); });
    const bounds::Graph graph(f, parsed.network.input(), DType::f32);
    const Tensor x = zeros(one);
    for (const bounds::Method method : {bounds::Method::ibp, bounds::Method::crown}) {
      const bounds::Box box =
          bounds::Bounds(graph, {.box = bounds::ball(x, 0.5, -1, 1)}, {.method = method, .roundoff = 0x1p-24}).output();
      for (const Tensor& end : {box.lower, box.upper})
        for (const float number : end.to_vector<float>()) EXPECT_LT(std::abs(number), 0.51);
    }
  }
}

TEST_F(OnnxOperators, Pooling) {
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    Windows how{{between(2, 3), between(2, 3)},
                {between(1, 3), between(1, 3)},
                {1, 1},
                {between(0, 1), between(0, 1), between(0, 1), between(0, 1)}};
    const auto model = [&](const char* type) {
      return windows(Model({1, 3, 6, 5}).node(type, {"x"}, {"y"}).set("kernel_shape", how.kernel), how);
    };
    const auto expected = [&](enum Pooling kind) {
      return [kind, &how](const Plain& x) { return pooled(x, kind, how); };
    };
    expect_computes(model("MaxPool").parse(), expected(Pooling::max));
    expect_computes(model("AveragePool").parse(), expected(Pooling::average));
    expect_computes(model("AveragePool").set("count_include_pad", 1).parse(), expected(Pooling::average_with_padding));
  }
  expect_computes(Model({1, 3, 6, 5}).node("GlobalAveragePool", {"x"}, {"y"}).parse(),
                  [](const Plain& x) { return pooled(x, Pooling::average, {{6, 5}}); });
}

TEST_F(OnnxOperators, BatchNormalization) {
  const Plain scale = normal({3}), shift = normal({3}), mean = normal({3}),
              variance = mapped(normal({3}), [](double v) { return static_cast<float>(v * v + 0.5); });
  for (const Extents& shape : {Extents{1, 3, 2, 4}, Extents{1, 3}, Extents{1, 3, 4}, Extents{2, 3}}) {
    Model model(shape);
    model.constant("s", scale).constant("b", shift).constant("m", mean).constant("v", variance);
    model.node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y"}).set("epsilon", 0.125).set("momentum", 0.9);
    expect_computes(model.parse(), [&](const Plain& x) {
      Plain y = x;
      const size_t inner = static_cast<size_t>(Plain::size({x.shape.begin() + 2, x.shape.end()}));
      for (size_t i = 0; i < y.values.size(); ++i) {
        const size_t c = i / inner % 3;
        const double deviation = std::sqrt(variance.values[c] + 0.125);
        y.values[i] = scale.values[c] * (x.values[i] - mean.values[c]) / deviation + shift.values[c];
      }
      return y;
    });
  }
}

// Two blocks with a shortcut, one of them a convolution; then a dense layer on the file's (C, H, W).
TEST_F(OnnxOperators, ResidualNetwork) {
  const Plain w1 = normal({4, 3, 3, 3}), b1 = normal({4}), w2 = normal({4, 4, 3, 3}), w3 = normal({4, 3, 1, 1}),
              dense = normal({5, 36}), bias = normal({5});
  Model model({-1, 3, 6, 6});
  model.constant("w1", w1)
      .constant("b1", b1)
      .constant("w2", w2)
      .constant("w3", w3)
      .constant("dense", dense)
      .constant("bias", bias);
  model.node("Conv", {"x", "w1", "b1"}, {"c1"})
      .set("pads", {1, 1, 1, 1})
      .node("Relu", {"c1"}, {"r1"})
      .node("Conv", {"r1", "w2"}, {"c2"})
      .set("pads", {1, 1, 1, 1});
  model.node("Conv", {"x", "w3"}, {"s"})
      .node("Add", {"c2", "s"}, {"a"})
      .node("Relu", {"a"}, {"r2"})
      .node("AveragePool", {"r2"}, {"p"})
      .set("kernel_shape", {2, 2});
  model.set("strides", {2, 2})
      .node("Flatten", {"p"}, {"f"})
      .node("Gemm", {"f", "dense", "bias"}, {"y"})
      .set("transB", 1);
  const OnnxModel parsed = model.parse();
  EXPECT_TRUE(parsed.batched);
  EXPECT_EQ(parsed.network.input(), (Shape{3, 6, 6}));
  EXPECT_EQ(parsed.network.output(), Shape{5});
  expect_computes(parsed, [&](const Plain& x) {
    const auto relu = [](const Plain& p) { return mapped(p, [](double v) { return std::max(v, 0.0); }); };
    const Windows same{{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
    const Plain body = convolved(relu(convolved(x, w1, b1, 1, same)), w2, Plain({4}), 1, same),
                shortcut = convolved(x, w3, Plain({4}), 1, {{1, 1}});
    const Plain pool = pooled(relu(broadcast(body, shortcut, std::plus<>())), Pooling::average, {{2, 2}, {2, 2}});
    return broadcast(reshaped(product(dense, reshaped(pool, {36, 1})), {1, 5}), bias, std::plus<>());
  });
}

}  // namespace
}  // namespace mollify::nn::formats

#endif
