// Losses of bounds against closed forms, plain loops and differences; training through them is tests/experiments'.
#include "zoo.h"

#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/nn/losses.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mollify::nn::bounds {
namespace {

TEST(WorstCaseCrossEntropy, IsItsClosedForm) {
  const Tensor margins = drawn({5, 3}, 1) * 4.0;
  const std::vector<double> m = margins.to_vector<double>();
  double expected = 0;
  for (size_t row = 0; row < 5; ++row) {
    double sum = 1;
    for (size_t t = 0; t < 3; ++t) sum += std::exp(-m[3 * row + t]);
    expected += std::log(sum) / 5;
  }
  EXPECT_NEAR(worst_case_cross_entropy(margins).item(), expected, 1e-14);
  EXPECT_NEAR(worst_case_cross_entropy(Tensor::from(std::vector<double>{-800, 2}, {1, 2})).item(), 800, 1e-10);
  EXPECT_NEAR(worst_case_cross_entropy(Tensor::from(std::vector<double>{800, 900}, {1, 2})).item(), 0, 1e-300);
  EXPECT_TRUE(std::isnan(worst_case_cross_entropy(Tensor::from(std::vector<double>{NAN, 1}, {1, 2})).item()));
  EXPECT_THROW(worst_case_cross_entropy(zeros({3})), ShapeError);
}

TEST(WorstCaseCrossEntropy, OfMarginsAtAPointIsTheCrossEntropy) {
  const Tensor logits = drawn({4, 3}, 2) * 3.0, labels = Tensor::from(std::vector<int32_t>{0, 2, 1, 2}, {4});
  const Tensor margins = reshape(matmul(margin_rows(labels, 3, DType::f64), reshape(logits, {4, 3, 1})), {4, 2});
  EXPECT_NEAR(worst_case_cross_entropy(margins).item(), mean_cross_entropy(logits, labels).item(), 1e-14);
}

TEST(MarginRows, AreTheDifferencesToTheOtherClassesInOrder) {
  for (const Device device : devices()) {
    const Tensor rows = margin_rows(to(Tensor::from(std::vector<int32_t>{1, 0, 2}, {3}), device), 3);
    EXPECT_EQ(rows.shape(), (Shape{3, 2, 3}));
    EXPECT_EQ(rows.to_vector<float>(),
              (std::vector<float>{-1, 1, 0, 0, 1, -1, 1, -1, 0, 1, 0, -1, -1, 0, 1, 0, -1, 1}));
  }
  EXPECT_THROW(margin_rows(Tensor::from(std::vector<int32_t>{3}, {1}), 3), ValueError);
  EXPECT_THROW(margin_rows(Tensor::from(std::vector<int32_t>{-1}, {1}), 3), ValueError);
}

TEST(SmoothRamp, HasItsValues) {
  const double last = 0.3, total = 1000;
  EXPECT_EQ(smooth_ramp(-5, total, last), 0);
  EXPECT_EQ(smooth_ramp(0, total, last), 0);
  EXPECT_NEAR(smooth_ramp(250, total, last), last / 13, 1e-15);
  EXPECT_NEAR((smooth_ramp(700, total, last) - smooth_ramp(300, total, last)) / 0.4, last * 16 / 13, 1e-14);  // 1.2308
  EXPECT_NEAR((smooth_ramp(250.001, total, last) - smooth_ramp(249.999, total, last)) / 2e-6, last * 16 / 13, 1e-5);
  EXPECT_NEAR(smooth_ramp(125, total, last), last / 13 / 16, 1e-15);
  EXPECT_NEAR(smooth_ramp(1000 - 1e-9, total, last), last, 1e-12);
  EXPECT_EQ(smooth_ramp(1000, total, last), last);
  EXPECT_EQ(smooth_ramp(0, 0, last), last);
}

// The same numbers by loops over what the boxes say.
double plain_regularizer(const Bounds& bounds) {
  const auto values = [](const Tensor& x) { return x.to_vector<double>(); };
  const auto radius_of = [&](const Box& box) {
    const std::vector<double> low = values(box.lower), high = values(box.upper);
    double sum = 0;
    for (size_t i = 0; i < low.size(); ++i) sum += (high[i] - low[i]) / 2;
    return sum / static_cast<double>(low.size());
  };
  double total = 0;
  int relus = 0;
  for (const Graph::Node& node : bounds.graph().nodes()) {
    if (!node.rule) continue;
    const Box& box = bounds.box(node.inputs[0]);
    const std::vector<double> low = values(box.lower), high = values(box.upper);
    double center_sum = 0, active = 0, inactive = 0, active_spread = 0, inactive_spread = 0;
    for (size_t i = 0; i < low.size(); ++i) center_sum += (low[i] + high[i]) / 2;
    const double center_mean = center_sum / static_cast<double>(low.size());
    for (size_t i = 0; i < low.size(); ++i) {
      const double c = (low[i] + high[i]) / 2, square = (c - center_mean) * (c - center_mean);
      if (low[i] > 0) active += c, active_spread += square;
      if (high[i] < 0) inactive -= c, inactive_spread += square;
    }
    const auto short_of_half = [](double ratio) { return std::max(0.0, 0.5 - std::min(ratio, 1 / ratio)) / 0.5; };
    total += std::max(0.0, 0.5 - radius_of(bounds.region().box) / radius_of(box)) / 0.5;
    if (active > 0 && inactive > 0)
      total += short_of_half(active / inactive) + short_of_half(active_spread / inactive_spread);
    ++relus;
  }
  return total / relus;
}

TEST(ReluRegularizer, IsThePlainLoop) {
  bool balanced = false;
  for (const Specimen& s : zoo()) {
    if (s.name != "dense" && s.name != "conv" && s.name != "grouped") continue;
    for (const double radius : {0.01, 0.2, 3.0}) {
      const Graph graph(*s.network, s.weights, s.state);
      const Bounds bounds(graph, {boxes_for(*s.network, 6, 3, radius, DType::f64)}, {.method = Method::ibp});
      const double expected = plain_regularizer(bounds);
      EXPECT_NEAR(relu_regularizer(bounds).item(), expected, 1e-13) << s.name << " " << radius;
      balanced = balanced || expected > 0;
    }
  }
  EXPECT_TRUE(balanced);
}

// A loss of the weights through the bounds of a small network.
struct Trained {
  explicit Trained(Device device = Device::cpu)
      : specimen(on(device, zoo()[1])), box(on(device, boxes_for(*specimen.network, 4, 5, 0.2, DType::f64))),
        rows(margin_rows(to(Tensor::from(std::vector<int32_t>{0, 1, 2, 1}, {4}), device), 3, DType::f64)) {}

  Specimen specimen;  // convolutional
  Box box;
  Tensor rows;

  template <class F> Tensor through(const Tensor& weights, Method method, const F& loss) const {
    const Graph graph(*specimen.network, weights);
    return loss(Bounds(graph, {box}, {.method = method}));
  }
};

template <class F> void expect_gradient(const Trained& trained, const F& loss) {
  const Tensor weights = trained.specimen.weights, direction = to(drawn(weights.shape(), 9), weights.device());
  const double slope = sum(grad(loss)(weights) * direction).item(), step = 1e-6;
  const double difference =
      (loss(weights + direction * step).item() - loss(weights - direction * step).item()) / (2 * step);
  EXPECT_NEAR(slope, difference, 1e-5 * (1 + std::abs(difference)));
}

class CertifiedLosses : public testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, CertifiedLosses, testing::ValuesIn(devices()),
                         [](const auto& info) { return std::string(to_string(info.param)); });
TEST(CertifiedLossesOnCuda, AreTested) { MOLLIFY_SKIP_WITHOUT_CUDA(); }

TEST_P(CertifiedLosses, HaveTheGradientsOfDifferences) {
  const Trained trained(GetParam());
  for (const Method method : kMethods) {
    if (method == Method::alpha_crown) continue;  // its α are found anew at every point
    expect_gradient(trained, [&](const Tensor& w) {
      return trained.through(w, method, [&](const Bounds& b) {
        return worst_case_cross_entropy(b.lower(trained.rows)) + relu_regularizer(b);
      });
    });
  }
  for (const Method method : {Method::crown_ibp, Method::crown, Method::deepz})
    expect_gradient(trained, [&](const Tensor& w) {
      return trained.through(w, method, [&](const Bounds& b) { return fused_cross_entropy(b, trained.rows); });
    });
  expect_gradient(trained, [&](const Tensor& w) { return weight_norm_l1(*trained.specimen.network, w); });
}

TEST_P(CertifiedLosses, AreTheSameWhetherTheHostReadsWhatIsStable) {
  const Trained trained(GetParam());
  const Graph graph(*trained.specimen.network, trained.specimen.weights);
  for (const Method method : {Method::crown, Method::deepz, Method::hbox})
    for (const double radius : {0.01, 0.2}) {
      const Region region{on(GetParam(), boxes_for(*trained.specimen.network, 4, 5, radius, DType::f64))};
      const auto lower = [&](bool read) {
        return Bounds(graph, region, {.method = method, .read_stable = read}).lower(trained.rows);
      };
      EXPECT_LT(max(abs(lower(true) - lower(false))).item(), 1e-12) << to_string(method);
    }
}

TEST(FusedCrossEntropy, BoundsTheLossFromAbove) {
  const Trained trained;
  const Tensor labels = Tensor::from(std::vector<int32_t>{0, 1, 2, 1}, {4});
  const Graph graph(*trained.specimen.network, trained.specimen.weights);
  for (const double radius : {0.0, 1e-7, 0.05, 0.5, 50.0}) {
    const Box box = boxes_for(*trained.specimen.network, 4, 5, radius, DType::f64);
    for (const Method method : {Method::crown_ibp, Method::crown, Method::deepz}) {
      const double bound = fused_cross_entropy(Bounds(graph, {box}, {.method = method}), trained.rows).item();
      EXPECT_TRUE(std::isfinite(bound)) << radius;
      for (uint64_t draw = 0; draw < 50; ++draw) {
        const double loss =
            mean_cross_entropy(evaluated(trained.specimen, point_in(box, draw, draw % 2 == 1)), labels).item();
        ASSERT_LE(loss, bound + 1e-6) << radius << " " << to_string(method);
      }
    }
  }
}

TEST(LowerByBoxes, IsIntervalArithmetic) {
  const Trained trained;
  const Graph graph(*trained.specimen.network, trained.specimen.weights);
  const Bounds ibp(graph, {trained.box}, {.method = Method::ibp}),
      crown_ibp(graph, {trained.box}, {.method = Method::crown_ibp});
  EXPECT_EQ(ibp.lower(trained.rows).to_vector<double>(), lower_by_boxes(crown_ibp, trained.rows).to_vector<double>());
}

TEST(WeightNorm, LeavesBiasesOut) {
  const Network network("net", {2}, sequential(dense(2), relu(), dense(1)));
  const Tensor weights = Tensor::from(std::vector<double>{1, -2, 3, -4, 100, 100, 5, -6, 100}, {9});
  double expected = 0;
  for (const Piece& piece : network.weights())
    if (piece.role == Role::weight) expected += sum(abs(network.weight(weights, piece.name))).item();
  EXPECT_EQ(weight_norm_l1(network, weights).item(), expected);
  EXPECT_EQ(expected, 21);
}

}  // namespace
}  // namespace mollify::nn::bounds
