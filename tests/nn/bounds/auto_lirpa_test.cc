// Bounds of two small networks against those of auto_LiRPA 0.3, which bench/lirpa_side.py --fixtures wrote to
// auto_lirpa.json.
#include "zoo.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdlib>
#include <fstream>

namespace mollify::nn::bounds {
namespace {

using nlohmann::json;
using Values = std::vector<double>;

std::string source_folder() {
  const char* folder = std::getenv("MOLLIFY_SOURCE_DIR");
  return folder ? folder : ".";
}

Values joined(const json& rows) {
  Values all;
  for (const json& row : rows) {
    const auto numbers = row.get<Values>();
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  return all;
}

// Images and kernels [A, C, H, W] as [A, H, W, C], all else as it is; and back.
Tensor channels_last(const Tensor& x) { return x.rank() == 4 ? packed(permute(x, {0, 2, 3, 1})) : x; }
Tensor channels_first(const Tensor& x) { return x.rank() == 4 ? packed(permute(x, {0, 3, 1, 2})) : x; }

struct Fixture {
  json content;
  std::shared_ptr<Network> network;
  Tensor weights;
  Box box;

  std::string name() const { return network->name() + " on " + to_string(weights.device()); }
  Tensor expected(const std::string& name, const char* end) const {
    const json& rows = content["bounds"][name][end];
    return to(Tensor::from(joined(rows), {static_cast<int64_t>(rows.size()), network->output()[0]}), weights.device());
  }
};

// `image`: what the weight after the flattening reads, [C, H, W].
Fixture fixture(const std::string& name, LayerPointer root, const Shape& input, const Shape& image = {}) {
  std::ifstream file(source_folder() + "/tests/nn/bounds/auto_lirpa.json");
  Fixture f{json::parse(file)["networks"][name], std::make_shared<Network>(name, input, std::move(root)), {}, {}};
  Shape shape;
  for (const int64_t extent : f.content["input_shape"]) shape.push_back(extent);
  const auto end_of_box = [&](const char* end) {
    return channels_last(Tensor::from(f.content[end].get<Values>(), shape));
  };
  f.box = {end_of_box("input_lower"), end_of_box("input_upper")};
  // Both have weight and bias, layer by layer, and so do the names' order.
  std::vector<std::string> names;
  for (const auto& [key, value] : f.content["weights"].items()) names.push_back(key.substr(0, key.find('.')));
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::vector<Tensor> pieces;
  for (const std::string& layer : names)
    for (const char* kind : {".weight", ".bias"}) {
      const json& given = f.content["weights"][layer + kind];
      Shape own;
      for (const int64_t extent : given["shape"]) own.push_back(extent);
      const Tensor values = Tensor::from(given["data"].get<Values>(), own);
      const bool flattened = image.rank() == 3 && own.rank() == 2;
      pieces.push_back(mollify::flatten(
          channels_last(flattened ? reshape(values, {own[0], image[0], image[1], image[2]}) : values)));
    }
  f.weights = concat(pieces);
  return f;
}

// Both on every device.
std::vector<Fixture> fixtures() {
  std::vector<Fixture> all;
  all.push_back(fixture("dense", sequential(dense(8), relu(), dense(8), relu(), dense(3)), {3}));
  all.push_back(
      fixture("conv",
              sequential(conv2d({.filters = 2, .kernel = 3, .padding = 1}), relu(),
                         conv2d({.filters = 3, .kernel = 3, .stride = 2, .padding = 1}), relu(), flatten(), dense(4)),
              {6, 6, 1}, {3, 3, 3}));
  if (!cuda::available()) return all;
  for (size_t i = 0; i < 2; ++i) {
    all.push_back(all[i]);
    all.back().weights = to(all[i].weights, Device::cuda);
    all.back().box = on(Device::cuda, all[i].box);
  }
  return all;
}

// 1e-6 relative: auto_LiRPA widens relus' boxes to 1e-8 where they are thinner.
void expect_equal(const Tensor& got, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  const Values a = got.to_vector<double>(), b = expected.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6 * std::abs(b[i])) << what << ", number " << i;
}

constexpr struct { const char* name; Method method; LowerLine line; } kSame[] = {
    {"IBP", Method::ibp, LowerLine::adaptive},         {"CROWN-IBP", Method::crown_ibp, LowerLine::adaptive},
    {"CROWN adaptive", Method::crown, LowerLine::adaptive}, {"CROWN zero-lb", Method::crown, LowerLine::zero},
    {"CROWN one-lb", Method::crown, LowerLine::one},   {"CROWN same-slope", Method::crown, LowerLine::same}};

TEST(AutoLirpaOnCuda, IsTested) { MOLLIFY_SKIP_WITHOUT_CUDA(); }

TEST(AutoLirpa, HasTheSameBounds) {
  for (const Fixture& f : fixtures()) {
    const Graph graph(*f.network, f.weights);
    for (const auto& [name, method, line] : kSame)
      for (const bool skip_stable : {false, true}) {
        const Box output =
            Bounds(graph, {.box = f.box}, {.method = method, .lower_line = line, .skip_stable = skip_stable}).output();
        const std::string what = f.name() + " " + name + (skip_stable ? ", stable neurons skipped" : "");
        expect_equal(output.lower, f.expected(name, "lower"), what + " lower");
        expect_equal(output.upper, f.expected(name, "upper"), what + " upper");
      }
  }
}

TEST(AutoLirpa, HasTheSameBoundsAsParallelLines) {
  for (const Fixture& f : fixtures()) {
    const Graph graph(*f.network, f.weights);
    const Box output = Bounds(graph, {.box = f.box}, {.method = Method::deepz}).output();
    expect_equal(output.lower, f.expected("CROWN same-slope", "lower"), f.name());
    expect_equal(output.upper, f.expected("CROWN same-slope", "upper"), f.name());
  }
}

// In auto_LiRPA a neuron that intervals show on one side of the kink in all samples keeps its interval; `walked` is for
// the others.
Tensor unless_stable(const Box& interval, const Tensor& walked, const Tensor& own) {
  const Tensor crosses = less(maximum(interval.lower, -interval.upper), Tensor::scalar(0, DType::f64));
  return where(greater(max(cast(crosses, DType::f64), {0}, /*keep=*/true), Tensor::scalar(0, DType::f64)), walked, own);
}

TEST(AutoLirpa, HasTheSameHiddenBounds) {
  for (const Fixture& f : fixtures()) {
    const Graph graph(*f.network, f.weights);
    for (const auto& [name, line] :
         {std::pair("CROWN adaptive", LowerLine::adaptive), std::pair("CROWN one-lb", LowerLine::one)}) {
      const json& layers = f.content["hidden_bounds"][name];
      const Bounds bounds(graph, {.box = f.box}, {.method = Method::crown, .lower_line = line, .skip_stable = false});
      const Bounds intervals(graph, {.box = f.box}, {.method = Method::ibp});
      size_t layer = 0;
      for (const Graph::Node& node : graph.nodes()) {
        if (!node.rule) continue;
        const Box &box = bounds.box(node.inputs[0]), &interval = intervals.box(node.inputs[0]);
        ASSERT_LT(layer, layers.size());
        const std::string what = f.name() + " " + name + " layer " + std::to_string(layer);
        for (const auto& [end, walked, own] :
             {std::tuple("lower", box.lower, interval.lower), std::tuple("upper", box.upper, interval.upper)}) {
          const Tensor flat = mollify::flatten(channels_first(unless_stable(interval, walked, own)), 1);
          expect_equal(flat, Tensor::from(joined(layers[layer][end]), flat.shape()), what + " " + end);
        }
        ++layer;
      }
      EXPECT_EQ(layer, layers.size());
    }
  }
}

// Twenty steps of each, around the same hidden bounds. The ways of Adam differ, so that either may be ahead a little.
TEST(AutoLirpa, IsNotTighterByOptimisedLines) {
  for (const Fixture& f : fixtures()) {
    const Graph graph(*f.network, f.weights);
    const Box output = Bounds(graph, {.box = f.box}, {.method = Method::alpha_crown}).output();
    const std::string name = "alpha-CROWN, hidden bounds of CROWN";
    EXPECT_GE(min(output.lower - f.expected(name, "lower")).item(), -1e-3) << f.name();
    EXPECT_LE(max(output.upper - f.expected(name, "upper")).item(), 1e-3) << f.name();
  }
}

}  // namespace
}  // namespace mollify::nn::bounds
