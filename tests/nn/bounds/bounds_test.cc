// Bounds contain what networks do, are ordered where theorems say so, and have the gradients that differences show.
#include "../../cases.h"
#include "zoo.h"

#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/alpha_crown.h>

#include "../../errors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

namespace mollify::nn::bounds {
namespace {

double largest(const Tensor& x) { return max(x).item(); }

// Every method on every device.
class EveryNetwork : public testing::TestWithParam<std::tuple<Method, Device>> {
 protected:
  Method method() const { return std::get<Method>(GetParam()); }
  Device device() const { return std::get<Device>(GetParam()); }
  Options options(double roundoff = 0) const {
    return {.method = method(),
            .roundoff = roundoff,
            .alpha = {.steps = device() == Device::cpu ? AlphaOptions().steps : 2}};
  }
  int64_t draws(int64_t on_cpu) const { return device() == Device::cpu ? cases(on_cpu) : 2; }
};

TEST_P(EveryNetwork, BoundsContainTenThousandOutputsABox) {
  constexpr int64_t kBoxes = 4;
  const int64_t each_time = device() == Device::cpu ? 100 : 5;
  for (const Specimen& s : zoo(device(), DType::f64)) {
    const Graph graph(*s.network, s.weights, s.state);
    for (const double radius : {0.05, 0.5}) {
      const Box box = on(device(), boxes_for(*s.network, kBoxes, 10, radius, DType::f64));
      const Bounds bounds(graph, {.box = box}, options());
      const Box output = bounds.output();
      // Copies of the boxes at a time.
      const std::vector<Tensor> lowers(static_cast<size_t>(each_time), box.lower),
          uppers(static_cast<size_t>(each_time), box.upper);
      const Box many{concat(lowers), concat(uppers)};
      for (int64_t draw = 0; draw < draws(100); ++draw) {
        const Tensor y = evaluated(s, point_in(many, 100 + static_cast<uint64_t>(draw), draw % 2 == 1));
        Shape apart = output.lower.shape();
        apart.insert(0, each_time);
        const Tensor each = reshape(y, apart);
        const double slack = 1e-12 * (1 + largest(abs(y)));
        ASSERT_LE(largest(output.lower - each), slack) << s.name << " radius " << radius << " draw " << draw;
        ASSERT_LE(largest(each - output.upper), slack) << s.name << " radius " << radius << " draw " << draw;
      }
    }
  }
}

// With the margins of rounding the bounds hold with nothing added, in f32 too, against the network in f64.
TEST_P(EveryNetwork, SoundBoundsNeedNoTolerance) {
  for (const Specimen& s : zoo(device(), DType::f32)) {
    const Graph graph(*s.network, s.weights, s.state);
    const Specimen exact{s.name, s.network, cast(s.weights, DType::f64), cast(s.state, DType::f64)};
    for (const double radius : {0.0, 1e-6, 0.3}) {
      const Box box = on(device(), boxes_for(*s.network, 3, 20, radius, DType::f32));
      const Box output = Bounds(graph, {.box = box}, options(unit_roundoff(DType::f32))).output();
      const Box plain = Bounds(graph, {.box = box}, options()).output();
      const Box wide{cast(box.lower, DType::f64), cast(box.upper, DType::f64)};
      for (int64_t draw = 0; draw < draws(20); ++draw) {
        const Tensor y = evaluated(exact, point_in(wide, 200 + static_cast<uint64_t>(draw), draw % 2 == 1));
        ASSERT_LE(largest(cast(output.lower, DType::f64) - y), 0) << s.name << " radius " << radius;
        ASSERT_LE(largest(y - cast(output.upper, DType::f64)), 0) << s.name << " radius " << radius;
      }
      EXPECT_LT(largest((output.upper - output.lower) - (plain.upper - plain.lower)),
                0.02 * (1 + largest(abs(plain.upper))))
          << s.name << ": margins are small";
    }
  }
}

TEST_P(EveryNetwork, APointsBoundsAreItsOutput) {
  for (const Specimen& s : zoo(device(), DType::f64)) {
    const Graph graph(*s.network, s.weights, s.state);
    const Box box = on(device(), boxes_for(*s.network, 2, 30, 0, DType::f64));
    const Box output = Bounds(graph, {.box = box}, options()).output();
    const Tensor y = evaluated(s, box.lower);
    const double slack = 1e-9 * (1 + largest(abs(y)));
    EXPECT_LE(largest(abs(output.lower - y)), slack) << s.name;
    EXPECT_LE(largest(abs(output.upper - y)), slack) << s.name;
  }
}

TEST_P(EveryNetwork, RowsOfABatchDoNotMix) {
  for (const Specimen& s : zoo(device(), DType::f64)) {
    const Graph graph(*s.network, s.weights, s.state);
    const Box box = on(device(), boxes_for(*s.network, 3, 40, 0.3, DType::f64));
    Options how = options();
    how.skip_stable = false;
    const Box together = Bounds(graph, {.box = box}, how).output();
    for (int64_t row = 0; row < 3; ++row) {
      const Box own{slice(box.lower, 0, row, row + 1), slice(box.upper, 0, row, row + 1)};
      const Box alone = Bounds(graph, {.box = own}, how).output();
      EXPECT_LE(largest(abs(alone.lower - slice(together.lower, 0, row, row + 1))), 1e-9) << s.name;
      EXPECT_LE(largest(abs(alone.upper - slice(together.upper, 0, row, row + 1))), 1e-9) << s.name;
    }
  }
}

TEST_P(EveryNetwork, ABudgetOfFewRowsChangesNothing) {
  for (const Specimen& s : zoo(device(), DType::f64)) {
    const Graph graph(*s.network, s.weights, s.state);
    const Box box = on(device(), boxes_for(*s.network, 3, 50, 0.3, DType::f64));
    const Box whole = Bounds(graph, {.box = box}, options()).output();
    Options few = options();
    few.row_budget = device() == Device::cpu ? 1 : 4096;
    const Box tiled = Bounds(graph, {.box = box}, few).output();
    EXPECT_LE(largest(abs(whole.lower - tiled.lower)), 1e-9) << s.name;
    EXPECT_LE(largest(abs(whole.upper - tiled.upper)), 1e-9) << s.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryNetwork,
                         testing::Combine(testing::ValuesIn(kMethods), testing::ValuesIn(devices())),
                         [](const auto& info) {
                           std::string name =
                               to_string(std::get<Method>(info.param)) + "_" + to_string(std::get<Device>(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(EveryNetworkOnCuda, IsTested) { MOLLIFY_SKIP_WITHOUT_CUDA(); }

// ---- Order

// Networks of thirty convolutions and more, with statistics of a batch: by intervals, which are very wide there.
TEST(Order, DeepResidualNetworksAreBounded) {
  for (const char* name : {"cifar_resnet20", "heat_resnet34"}) {
    const Network network = make(name, {8, 8, 3}, 10);
    const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 3, DType::f64);
    const Box box = boxes_for(network, 4, 10, 1e-4, DType::f64);
    const Tensor state = network(w, network.initial_state(DType::f64), box.lower, Mode::train).state;
    const Box output = Bounds(Graph(network, w, state), {.box = box}, {.method = Method::ibp}).output();
    for (uint64_t draw = 0; draw < 20; ++draw) {
      const Tensor y = network(w, state, point_in(box, draw, draw % 2 == 1), Mode::evaluate).output;
      const double slack = 1e-12 * (1 + largest(abs(y)));
      EXPECT_LE(largest(output.lower - y), slack) << name;
      EXPECT_LE(largest(y - output.upper), slack) << name;
    }
  }
}

TEST(Order, HybridBoxesAreNoWorseThanIntervals) {
  for (const Specimen& s : zoo()) {
    const Graph graph(*s.network, s.weights, s.state);
    for (const double radius : {0.01, 0.1, 1.0}) {
      const Region region{.box = boxes_for(*s.network, 4, 60, radius, DType::f64)};
      const Tensor rows = drawn({1, 5, s.network->output()[0]}, 61);
      const Tensor ibp = Bounds(graph, region, {.method = Method::ibp}).lower(rows),
                   hbox = Bounds(graph, region, {.method = Method::hbox}).lower(rows);
      EXPECT_LE(largest(ibp - hbox), 1e-9 * (1 + largest(abs(ibp)))) << s.name << " radius " << radius;
    }
  }
}

TEST(Order, AlphaCrownIsNoWorseThanCrownAndOftenBetter) {
  int better = 0;
  for (const Specimen& s : zoo()) {
    const Graph graph(*s.network, s.weights, s.state);
    const Region region{.box = boxes_for(*s.network, 4, 70, 0.5, DType::f64)};
    const Tensor rows = drawn({1, 5, s.network->output()[0]}, 71);
    const Tensor crown = Bounds(graph, region, {.method = Method::crown}).lower(rows),
                 alpha = Bounds(graph, region, {.method = Method::alpha_crown}).lower(rows);
    EXPECT_LE(largest(crown - alpha), 1e-9 * (1 + largest(abs(crown)))) << s.name;
    better += largest(alpha - crown) > 1e-3;
  }
  EXPECT_GE(better, 8);
}

TEST(Order, IntersectedBoxesAreInsideBoth) {
  for (const Specimen& s : zoo()) {
    const Graph graph(*s.network, s.weights, s.state);
    const Region region{.box = boxes_for(*s.network, 4, 80, 0.5, DType::f64)};
    const Bounds ibp(graph, region, {.method = Method::ibp}),
        both(graph, region, {.method = Method::crown, .intersect = true});
    for (size_t i = 0; i < graph.nodes().size(); ++i) {
      if (!graph.nodes()[i].bounded) continue;
      EXPECT_LE(largest(ibp.box(static_cast<int>(i)).lower - both.box(static_cast<int>(i)).lower), 1e-12) << s.name;
      EXPECT_LE(largest(both.box(static_cast<int>(i)).upper - ibp.box(static_cast<int>(i)).upper), 1e-12) << s.name;
    }
  }
}

// In one dimension a relu network is linear between the points where a neuron is 0, which bisection finds.
// Where two ways from one number meet, interval arithmetic is wider than the range: such boxes are walked for, others
// are not.
TEST(Order, WalksWhereWaysMeet) {
  const auto box_kinds = [](const Graph::Function& f) {
    std::vector<bool> exact;
    const Graph graph(f, {3}, DType::f64);
    for (const Graph::Node& node : graph.nodes()) exact.push_back(node.exact_box);
    return exact;
  };
  EXPECT_EQ(box_kinds([](const Tensor& x) { return relu(x * 2.0); }), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(box_kinds([](const Tensor& x) { return x + relu(x); }), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(box_kinds([](const Tensor& x) { return relu(x * 2.0) - x; }), (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(box_kinds([](const Tensor& x) { return relu(relu(x) + x); }),
            (std::vector<bool>{true, true, false, false}));
}

TEST(Order, AgainstExactRangesOfOneInput) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const Specimen s =
        specimen("line", {1}, sequential(dense(5), relu(), dense(4), relu(), dense(1)), seed + 1, DType::f64);
    const Graph graph(*s.network, s.weights, s.state);
    const Box box{Tensor::from<double>({-0.7}, {1, 1}), Tensor::from<double>({0.9}, {1, 1})};
    constexpr int64_t kGrid = 200001;
    const Tensor grid = reshape(arange(kGrid, DType::f64) * (1.6 / (kGrid - 1)) - 0.7, {kGrid, 1});
    const Tensor y = evaluated(s, grid);
    const double low = min(y).item(), high = max(y).item();
    for (const Method method : kMethods) {
      const Box output = Bounds(graph, {.box = box}, {.method = method}).output();
      EXPECT_LE(output.lower.item(), low + 1e-12) << to_string(method);
      EXPECT_GE(output.upper.item(), high - 1e-12) << to_string(method);
      EXPECT_LE(output.upper.item() - output.lower.item(), 6 * (high - low) + 0.5) << to_string(method);
    }
  }
}

// ---- l2 balls

TEST(Ball, RowsOfLinearFunctionsAreExactAndTheClippedOnesNoWorse) {
  const Specimen s = specimen("linear", {4}, sequential(dense(3)), 3, DType::f64);
  const Graph graph(*s.network, s.weights, s.state);
  const Tensor center = drawn({2, 4}, 90), radius = Tensor::scalar(0.5, DType::f64);
  const Region region{.box = {center - 0.5, center + 0.5}, .center = center, .radius = radius};
  const Tensor matrix = s.network->weight(s.weights, "dense1.weight");
  const Tensor norms = sqrt(sum(square(matrix), {1}));
  const Box output = Bounds(graph, region).output();
  const Tensor y = evaluated(s, center);
  EXPECT_LE(largest(abs(y - norms * 0.5 - output.lower)), 1e-12);
  EXPECT_LE(largest(abs(y + norms * 0.5 - output.upper)), 1e-12);
}

TEST(Ball, BoundsContainThePointsOfTheBall) {
  for (const Specimen& s : zoo()) {
    const Graph graph(*s.network, s.weights, s.state);
    Shape shape = s.network->input();
    shape.insert(0, 2);
    const Tensor center = drawn(shape, 91);
    const double radius = 0.8;
    const Region region{
        .box = {center - radius, center + 0.2}, .center = center, .radius = Tensor::scalar(radius, DType::f64)};
    for (const Method method : kMethods) {
      const Box output = Bounds(graph, region, {.method = method}).output();
      for (uint64_t draw = 0; draw < 200; ++draw) {
        const Tensor direction = flatten(drawn(shape, 300 + draw), 1);
        const Tensor unit = reshape(direction / sqrt(sum(square(direction), {1}, true)), shape);
        const Tensor x = minimum(center + unit * radius, region.box.upper);
        const Tensor y = evaluated(s, x);
        const double slack = 1e-12 * (1 + largest(abs(y)));
        ASSERT_LE(largest(output.lower - y), slack) << s.name << " " << to_string(method);
        ASSERT_LE(largest(y - output.upper), slack) << s.name << " " << to_string(method);
      }
    }
  }
}

// ---- Gradients

// Away from switches of slopes; a step that crosses one shows as a difference between the two sides, and is left out.
TEST(Gradients, OfEveryMethodAgreeWithDifferences) {
  for (const Specimen& s : zoo()) {
    const Box box = boxes_for(*s.network, 2, 110, 0.3, DType::f64);
    const Tensor rows = drawn({2, 3, s.network->output()[0]}, 111);
    for (const Method method : kMethods) {
      if (method == Method::alpha_crown) continue;  // α is found anew for every weight vector
      const auto value = [&](const Tensor& w) {
        const Graph graph(*s.network, w, s.state);
        return sum(Bounds(graph, {.box = box}, {.method = method}).lower(rows));
      };
      const Tensor direction = drawn(s.weights.shape(), 112);
      const double expected = sum(grad(value)(s.weights) * direction).item();
      const double h = 1e-6, middle = value(s.weights).item();
      const double above = (value(s.weights + direction * h).item() - middle) / h,
                   below = (middle - value(s.weights - direction * h).item()) / h;
      if (std::abs(above - below) > 1e-3 * (1 + std::abs(above))) continue;
      EXPECT_NEAR(expected, (above + below) / 2, 2e-5 * (1 + std::abs(expected)) + 10 * std::abs(above - below))
          << s.name << " " << to_string(method);
    }
  }
}

TEST(Gradients, OfTheRegionAndOfAlphaFixed) {
  const Specimen s = zoo()[1];
  const Graph graph(*s.network, s.weights, s.state);
  const Box box = boxes_for(*s.network, 2, 120, 0.3, DType::f64);
  const Tensor rows = drawn({2, 3, s.network->output()[0]}, 121);
  const auto of_radius = [&](const Tensor& r) {
    return sum(Bounds(graph, {.box = {box.lower - r, box.upper + r}}).lower(rows));
  };
  const Tensor at = Tensor::scalar(0.01, DType::f64);
  const double h = 1e-6;
  EXPECT_NEAR(grad(of_radius)(at).item(), (of_radius(at + h).item() - of_radius(at - h).item()) / (2 * h),
              1e-4 * std::abs(grad(of_radius)(at).item()));
  const auto of_weights = [&](const Tensor& w) {
    const Graph own(*s.network, w, s.state);
    return sum(Bounds(own, {.box = box}, {.method = Method::alpha_crown, .alpha = {.steps = 3}}).lower(rows));
  };
  EXPECT_GT(largest(abs(grad(of_weights)(s.weights))), 0);
}

// ---- Errors

TEST(Errors, NameTheOperationAndTheShapes) {
  const Network odd("odd", {4}, sequential(dense(3), activation("sin"), dense(2)));
  const Tensor w = odd.initial_weights(Initialization::kaiming_normal, 1);
  EXPECT_EQ(text_of<ValueError>([&] { Graph(odd, w); }),
            "bounds: layer 'activation1' computes sin, which has no relaxation");
  const Specimen s = zoo()[0];
  const Graph graph(*s.network, s.weights, s.state);
  const Tensor x = zeros({2, 4}, DType::f64);
  EXPECT_NE(text_of<ValueError>([&] {
              Bounds(graph, {.box = {x + 1.0, x}});
            }).find("lower end above its upper end"),
            std::string::npos);
  EXPECT_NE(text_of<ValueError>([&] { Bounds(graph, {.box = {x + NAN, x}}); }).find("not finite"), std::string::npos);
  EXPECT_NE(text_of<ShapeError>([&] {
              Bounds(graph, {.box = {zeros({2, 3}, DType::f64), zeros({2, 3}, DType::f64)}});
            }).find("[2, 3]"),
            std::string::npos);
  EXPECT_NE(text_of<TypeError>([&] {
              Bounds(graph, {.box = {zeros({2, 4}), zeros({2, 4})}});
            }).find("f32"),
            std::string::npos);
  EXPECT_NE(text_of<ShapeError>([&] {
              Bounds(graph, {.box = {x, x}}).lower(zeros({1, 2, 5}, DType::f64));
            }).find("[1, 2, 5]"),
            std::string::npos);
  EXPECT_EQ(text_of<ValueError>([&] { ball(x, -0.1, 0, 1); }), "ball: radius -0.1; needs at least 0");
  EXPECT_NE(text_of<ValueError>([&] { method_named("magic"); }).find("ibp, hbox, deepz, crown-ibp, crown, alpha-crown"),
            std::string::npos);
}

// The norm of a ball's rows is rounded as well, and nothing else here makes up for its charge: the output is the first
// of many inputs, whose number alone decides how much is charged at the input, and the least value, 1 − 1.9, is that of
// a point in the box.
TEST(Ball, ChargesTheRoundingOfTheNorm) {
  constexpr int64_t kInputs = 800;
  const Graph graph([](const Tensor& x) { return slice(x, 1, 0, 1); }, {kInputs}, DType::f32);
  const Tensor center = ones({1, kInputs});
  const float radius = 1.9f;
  const Region region{{-ones({1, kInputs}), center}, center, Tensor::scalar(radius)};
  const Tensor row = ones({1, 1, 1});
  const double charged =
      Bounds(graph, region, {.method = Method::crown, .roundoff = unit_roundoff(DType::f32)}).lower(row).item();
  EXPECT_LE(charged, 1 - static_cast<double>(radius));
  EXPECT_GT(charged, 1 - static_cast<double>(radius) - 1e-3);
}

}  // namespace
}  // namespace mollify::nn::bounds
