// Traces: shape rules only, labels, dead steps, reading a linear rule.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/trace.h>

#include <gtest/gtest.h>

namespace mollify {
namespace {

std::vector<std::string> names(const Trace& t) {
  std::vector<std::string> all;
  for (const TracedStep& step : t.steps) all.push_back(step.op().name);
  return all;
}

TEST(Trace, HoldsTheStepsThatLeadToTheOutputInOrder) {
  const Tensor w = ones({3, 4}), b = ones({3});
  const Trace t = trace([&](const Tensor& x) {
    exp(x);  // leads nowhere
    return sum(relu(dense(x, square(w), b)), {1});
  }, Layout::packed({5, 4}, DType::f32));
  EXPECT_EQ(names(t), (std::vector<std::string>{"dense", "relu", "sum", "reshape"}));
  EXPECT_EQ(t.output.shape(), Shape{5});
  EXPECT_TRUE(is_abstract(t.output));
  EXPECT_FALSE(is_abstract(t.steps[0].in()[1]));
  EXPECT_EQ(t.steps[0].in()[1].to_vector<float>(), std::vector<float>(12, 1.f));
}

TEST(Trace, ReplaysToTheFunctionsValue) {
  const Tensor w = normal({3, 4}, {1, 2}, Tensor::scalar(0, DType::i32)),
               x = normal({5, 4}, {1, 3}, Tensor::scalar(0, DType::i32));
  const auto g = [&](const Tensor& v) { return split(softmax(dense(v, w, {})), std::vector<int64_t>{2, 3}, 0)[1]; };
  const Trace t = trace(g, x.layout());
  TraceValues<Tensor> values;
  values.set(t.input, x);
  for (const TracedStep& step : t.steps) {
    Tensors in(step.in().size());
    for (size_t i = 0; i < in.size(); ++i) in[i] = is_abstract(step.in()[i]) ? values[step.in()[i]] : step.in()[i];
    const Tensors out = apply_all(step.op(), in, step.node().attributes);
    for (size_t i = 0; i < out.size(); ++i) values.set(step.outputs[i], out[i]);
  }
  EXPECT_EQ(values[t.output].to_vector<float>(), g(x).to_vector<float>());
}

TEST(Trace, LabelsAreTheInnermostOnes) {
  const std::string outer = "outer", inner = "inner";
  const Trace t = trace([&](const Tensor& x) {
    const Label first(outer);
    Tensor y = exp(x);
    {
      const Label second(inner);
      y = sin(y);
    }
    return cos(y);
  }, Layout::packed({2}, DType::f64));
  EXPECT_EQ(t.steps[0].label, "outer");
  EXPECT_EQ(t.steps[1].label, "inner");
  EXPECT_EQ(t.steps[2].label, "outer");
}

TEST(Trace, GradientsOfWeightsFlowThroughReplayedSteps) {
  const Tensor x = full({1, 2}, 3);
  const Tensor g = grad([&](const Tensor& w) {
    const Trace t = trace([&](const Tensor& v) { return dense(v, reshape(w, {1, 2}), {}); }, x.layout());
    return sum(apply(t.steps[0].op(), {x, t.steps[0].in()[1]}, t.steps[0].node().attributes));
  })(full({2}, 5));
  EXPECT_EQ(g.to_vector<float>(), (std::vector<float>{3, 3}));
}

TEST(Trace, ReadingAValueOrDetachingIsRefused) {
  const Layout layout = Layout::packed({2}, DType::f32);
  EXPECT_THROW(trace([](const Tensor& x) { return x * sum(x).item(); }, layout), GraphError);
  EXPECT_THROW(trace([](const Tensor& x) { return exp(x.detach()); }, layout), GraphError);
  EXPECT_THROW(trace([](const Tensor& x) { assign(x, ones({2})); return x; }, layout), GraphError);
  EXPECT_THROW(trace([](const Tensor& x) { return x + ones({3}); }, layout), ShapeError);
  EXPECT_NO_THROW(exp(ones({2})));  // and nothing is left behind
  // Detached from what the output does not depend on, it is no step; what leaves the trace has no values.
  Tensor left;
  const Trace t = trace(
      [&](const Tensor& x) {
        left = exp(x.detach());
        return x * 2.0;
      },
      layout);
  EXPECT_EQ(t.steps.size(), 1u);
  EXPECT_THROW(left + ones({2}), GraphError);
  EXPECT_THROW(assign(ones({2}), left), GraphError);
}

TEST(Trace, PullBackUsesTheOperationsRule) {
  const Tensor w = normal({3, 4}, {1, 2}, Tensor::scalar(0, DType::i32), DType::f64);
  const Trace t = trace([&](const Tensor& x) { return dense(x, w, {}); }, Layout::packed({5, 4}, DType::f64));
  const Tensor row = zeros({1, 4}, DType::f64);
  const std::vector<double> got =
      pull_back(t.steps[0], {row, square(w)}, 0, ones({1, 3}, DType::f64)).to_vector<double>();
  const std::vector<double> expected = sum(square(w), {0}).to_vector<double>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-14);
}

TEST(Trace, DropoutIsOneStep) {
  const Trace t = trace(
      [](const Tensor& x) {
        return dropout(x, 0.25, {1, 2}, Tensor::scalar(0, DType::i32));
      },
      Layout::packed({4}, DType::f32));
  ASSERT_EQ(names(t), std::vector<std::string>{"dropout"});
  EXPECT_EQ(t.steps[0].in()[2].item(), 0.25);
}

}  // namespace
}  // namespace mollify
