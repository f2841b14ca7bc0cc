// Steps through bounds that are captured: the eager run's bits, on every device, as the radius and the weights change.
#include "../../cases.h"
#include "zoo.h"

#include <mollify/engine/grad.h>
#include <mollify/engine/plan.h>
#include <mollify/engine/precision.h>
#include <mollify/nn/bounds/certified_loss.h>

#include <gtest/gtest.h>

#include <functional>

namespace mollify::nn::bounds {
namespace {

using Losses = std::function<Tensor(const Bounds& bounds, const Tensor& rows)>;

std::vector<double> numbers(const Tensor& x) { return cast(x, DType::f64).to_vector<double>(); }

// A training step by hand: the loss over balls around x whose radius is a number that moves, and plain gradient
// descent.
struct Step {
  Step(const Specimen& specimen, Method method, Losses loss, Device device)
      : s(on(device, specimen)), how{.method = method, .alpha = {.steps = 2}}, loss(std::move(loss)),
        weights(s.weights + 0.0), epsilon(zeros({}, s.weights.dtype())) {}

  Tensor operator()(const Tensor& x, const Tensor& labels) const {
    const auto [value, g] = value_and_grad([&](const Tensor& w) {
      const Graph graph(*s.network, w, s.state);
      const Bounds bounds(graph, {ball(x, epsilon, -2, 2)}, how);
      return loss(bounds, margin_rows(labels, s.network->output()[0], x.dtype()));
    })(weights);
    const auto number = [&](double value) { return Tensor::scalar(value, x.dtype()); };
    sgd_step(weights, g, {}, {number(0.01), number(0), number(0)});
    return value;
  }

  Specimen s;
  Options how;
  Losses loss;
  Tensor weights, epsilon;
};

class Captured : public testing::TestWithParam<std::tuple<Method, Device>> {
 protected:
  // Five steps of each; the third is the first replay.
  void expect_same(const Specimen& s, const Losses& loss) {
    const auto [method, device] = GetParam();
    const Step eager(s, method, loss, device), replayed(s, method, loss, device);
    auto captured = capture([&](const Tensors& in) -> Tensors { return replayed(in[0], in[1]); });
    Shape shape = s.network->input();
    shape.insert(0, 3);
    for (int step = 0; step < 5; ++step) {
      for (const Step* each : {&eager, &replayed})
        assign(each->epsilon, Tensor::scalar(0.02 * (step + 1), s.weights.dtype()));
      const Tensor x = to(drawn(shape, 500 + static_cast<uint64_t>(step), s.weights.dtype()), device);
      const Tensor labels = to(Tensor::from(std::vector<int32_t>{step % 2, 1, 0}, {3}), device);
      ASSERT_EQ(numbers(eager(x, labels)), numbers(captured(Tensors{x, labels})[0])) << s.name << ", step " << step;
      ASSERT_EQ(numbers(eager.weights), numbers(replayed.weights)) << s.name << ", step " << step;
    }
    ASSERT_EQ(captured.plans().size(), 1u);
  }
};

Tensor worst_case(const Bounds& bounds, const Tensor& rows) { return worst_case_cross_entropy(bounds.lower(rows)); }

TEST_P(Captured, CertifiedLosses) {
  for (const Specimen& s : zoo(std::get<Device>(GetParam()), DType::f32))
    if (s.name == "dense" || s.name == "max_pool" || s.name == "shortcut" || (s.name == "tanh" && !kSanitized))
      expect_same(s, worst_case);
}

TEST_P(Captured, WithTheRegulariserAndBoxes) {
  expect_same(zoo(DType::f32)[0], [](const Bounds& bounds, const Tensor& rows) {
    return worst_case(bounds, rows) * 0.5 + worst_case_cross_entropy(lower_by_boxes(bounds, rows)) +
           relu_regularizer(bounds);
  });
}

TEST_P(Captured, FusedLosses) {
  const Method method = std::get<Method>(GetParam());
  if (method == Method::ibp || method == Method::hbox || method == Method::alpha_crown) return;
  expect_same(zoo(DType::f32)[0], fused_cross_entropy);
}

INSTANTIATE_TEST_SUITE_P(Methods, Captured, testing::Combine(testing::ValuesIn(kMethods), testing::ValuesIn(devices())),
                         [](const auto& info) {
                           std::string name =
                               to_string(std::get<Method>(info.param)) + "_" + to_string(std::get<Device>(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// The CPU's and the GPU's losses and gradients are those of one function.
TEST(OnCuda, CertifiedLossesAreTheCpus) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  for (const Specimen& s : zoo(Device::cpu, DType::f64)) {
    if (s.name != "conv" && s.name != "residual" && s.name != "gelu") continue;
    for (const Method method : kMethods) {
      if (kSanitized && s.name != "conv" && method != Method::crown) continue;  // emulated, and slow
      const Losses loss = [](const Bounds& bounds, const Tensor& rows) {
        return worst_case(bounds, rows) + relu_regularizer(bounds);
      };
      const Step cpu(s, method, loss, Device::cpu), cuda(s, method, loss, Device::cuda);
      Shape shape = s.network->input();
      shape.insert(0, 2);
      const Tensor x = drawn(shape, 600), labels = Tensor::from(std::vector<int32_t>{1, 0}, {2});
      for (const Step* each : {&cpu, &cuda}) assign(each->epsilon, Tensor::scalar(0.05, DType::f64));
      EXPECT_NEAR(cpu(x, labels).item(), cuda(to(x, Device::cuda), to(labels, Device::cuda)).item(), 1e-10)
          << s.name << " " << to_string(method);
      EXPECT_LT(max(abs(cpu.weights - to(cuda.weights, Device::cpu))).item(), 1e-9)
          << s.name << " " << to_string(method);
    }
  }
}

TEST(OnCuda, ChargesForRoundingNeedItsProductsInFull) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  struct Restored {
    ~Restored() { set_precision(Precision::fp32); }
  } restored;
  const Specimen narrow = on(Device::cuda, zoo(DType::f32)[0]), wide = on(Device::cuda, zoo(DType::f64)[0]);
  const Graph graph(*narrow.network, narrow.weights), exact(*wide.network, wide.weights);
  const Region region{on(Device::cuda, boxes_for(*narrow.network, 2, 1, 0.1, DType::f32))};
  const Region exact_region{on(Device::cuda, boxes_for(*narrow.network, 2, 1, 0.1, DType::f64))};
  const Options charged{.roundoff = unit_roundoff(DType::f32)};
  const Bounds before(graph, region, charged);
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    set_precision(precision);
    EXPECT_THROW(Bounds(graph, region, charged), ValueError);
    EXPECT_THROW(before.output(), ValueError);
    EXPECT_NO_THROW(Bounds(graph, region).output());
    EXPECT_NO_THROW(Bounds(exact, exact_region, {.roundoff = unit_roundoff(DType::f64)}).output());
  }
}

TEST(OnCuda, RegionsAreWhereTheNetworkIs) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  const Specimen s = on(Device::cuda, zoo(DType::f32)[0]);
  const Graph graph(*s.network, s.weights);
  EXPECT_THROW(Bounds(graph, {boxes_for(*s.network, 2, 1, 0.1, DType::f32)}), DeviceError);
}

}  // namespace
}  // namespace mollify::nn::bounds
