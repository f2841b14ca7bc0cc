// An activation registered from outside is what one of the library's is: values, gradients, captures, smoothing,
// bounds.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/own_activation.h>
#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/moments.h>
#include <mollify/smoothing/smooth.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::nn {
namespace {

using bounds::CurveForm;

// The library's erf and gelu by other names, and two that it does not have: squareplus ½(x + √(x² + 4)) and soft sign
// x/(1 + |x|).
const Function& own_erf() {
  static const Function f =
      register_activation({.name = "own_erf",
                           .function = [](const Tensor& x) { return erf(x); },
                           .smoothed = [](const Tensor& x, const Tensor& s) { return smoothing::erf_smoothed(x, s); },
                           .square_smoothed =
                               [](const Tensor& x, const Tensor& s) {
                                 const auto& row = *smoothing::find_activation("erf");
                                 return row.square_mean(x, {}, s);
                               },
                           .curve = {{.form = CurveForm::sigmoidal, .least = -1, .greatest = 1}}});
  return f;
}
const Function& squareplus() {
  static const Function f =
      register_activation({.name = "squareplus",
                           .function = [](const Tensor& x) { return (x + sqrt(square(x) + 4.0)) * 0.5; },
                           .derivative = [](const Tensor& x) { return (x / sqrt(square(x) + 4.0) + 1.0) * 0.5; },
                           .curve = {{.form = CurveForm::convex, .least = 0}}});
  return f;
}
const Function& soft_sign() {
  static const Function f =
      register_activation({.name = "soft_sign",
                           .function = [](const Tensor& x) { return x / (abs(x) + 1.0); },
                           .curve = {{.form = CurveForm::sigmoidal, .least = -1, .greatest = 1}}});
  return f;
}

Tensor drawn(const Shape& shape, uint64_t stream) {
  return normal(shape, {5, stream}, Tensor::scalar(0, DType::i32), DType::f64);
}

Network network_with(const std::string& name) {
  return Network("own", {3}, sequential(dense(6), activation(name), dense(5), activation(name), dense(2)));
}

TEST(OwnActivation, HasGradientsOfEveryOrder) {
  const Tensor x = drawn({40}, 1);
  const auto third = [&](const Function& f) {
    return grad([&](const Tensor& t) {
      return sum(grad([&](const Tensor& u) { return sum(grad([&](const Tensor& v) { return sum(f(v)); })(u)); })(t));
    })(x);
  };
  const auto same = [](const Tensor& a, const Tensor& b) { EXPECT_LT(max(abs(a - b)).item(), 1e-14); };
  same(own_erf()(x), erf(x));
  same(third(own_erf()), third([](const Tensor& t) { return erf(t); }));
  same(third(squareplus()), third([](const Tensor& t) { return (t + sqrt(square(t) + 4.0)) * 0.5; }));
}

// A derivative that was given is what is used: a wrong one shows.
TEST(OwnActivation, UsesTheGivenDerivative) {
  const Function f = register_activation({.name = "twice_as_steep",
                                          .function = [](const Tensor& x) { return sin(x); },
                                          .derivative = [](const Tensor& x) { return cos(x) * 2.0; }});
  const Tensor x = drawn({10}, 2);
  EXPECT_EQ(grad([&](const Tensor& t) { return sum(f(t)); })(x).to_vector<double>(),
            (cos(x) * 2.0).to_vector<double>());
  const Tensor second =
      grad([&](const Tensor& t) { return sum(grad([&](const Tensor& u) { return sum(f(u)); })(t)); })(x);
  EXPECT_LT(max(abs(second + sin(x) * 2.0)).item(), 1e-15);
}

TEST(OwnActivation, IsOneStepOfATraceAndRunsCaptured) {
  squareplus();
  const Network network = network_with("squareplus");
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({4, 3}, 3);
  const Trace t =
      trace([&](const Tensor& in) { return network(w, in); }, Layout::packed(x.shape(), DType::f64, Device::cpu));
  int seen = 0;
  for (const TracedStep& step : t.steps) seen += step.op().name == std::string("squareplus");
  EXPECT_EQ(seen, 2);
  const auto loss_gradient = [&](const Tensor& weights, const Tensor& in) {
    return grad([&](const Tensor& at) { return sum(square(network(at, in))); })(weights);
  };
  const Tensor want = loss_gradient(w, x);
  Captured captured = capture([&](const Tensors& in) -> Tensors { return loss_gradient(in[0], in[1]); });
  for (int call = 0; call < 4; ++call)
    EXPECT_EQ(captured({w, x})[0].to_vector<double>(), want.to_vector<double>()) << call;
}

// Smoothed as erf is: in closed form, with the penalty, and in its moments.
TEST(OwnActivation, IsSmoothedByItsClosedForm) {
  own_erf();
  const Network own = network_with("own_erf"), library = network_with("erf");
  const Tensor w = own.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({4, 3}, 4);
  const auto result_of = [&](const Network& network) {
    const auto smoothed =
        smoothing::smooth(network, smoothing::Sigma::stddev(0.4), smoothing::PenaltyWeights::uniform(1));
    return smoothed(w, x);
  };
  const auto a = result_of(own), b = result_of(library);
  EXPECT_LT(max(abs(a.output - b.output)).item(), 1e-15);
  EXPECT_NEAR(a.penalty.item(), b.penalty.item(), 1e-13);
  const auto m = smoothing::propagate_moments(own, w, {}, x, {.input = smoothing::Sigma::stddev(0.3)});
  const auto n = smoothing::propagate_moments(library, w, {}, x, {.input = smoothing::Sigma::stddev(0.3)});
  EXPECT_LT(max(abs(m.variance - n.variance)).item(), 1e-14);
}

TEST(OwnActivation, IsAnApproximationWithoutAClosedForm) {
  squareplus();
  const Network network = network_with("squareplus");
  EXPECT_THROW(smoothing::smooth(network, smoothing::Sigma::stddev(0.4)), ValueError);
  const auto smoothed = smoothing::smooth(network, smoothing::Sigma::stddev(0.4), smoothing::PenaltyWeights::none(),
                                          smoothing::Approximations::allowed);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({4, 3}, 4);
  const auto h = [](const Tensor& t) {
    return smoothing::gauss_hermite_smoothed(squareplus(), t, Tensor::scalar(0.4, DType::f64));
  };
  const auto layer = [&](const Tensor& in, const std::string& name) {
    return matmul(in, transpose(network.weight(w, name + ".weight"))) + network.weight(w, name + ".bias");
  };
  const Tensor want = layer(h(layer(h(layer(x, "dense1")), "dense2")), "dense3");
  EXPECT_LT(max(abs(smoothed(w, x).output - want)).item(), 1e-13);
}

// Values of every point of a box lie between the lines, and sampled outputs between the bounds, with rounding charged.
TEST(OwnActivation, IsBounded) {
  for (const Function& f : {own_erf(), squareplus(), soft_sign()}) {
    const Trace t = trace(f, Layout::packed({1}, DType::f64, Device::cpu));
    const bounds::Relaxation& rule = *bounds::find_relaxation(t.steps[0].op().name);
    for (uint64_t i = 0; i < 200; ++i) {
      const Tensor ends = drawn({2}, 100 + i) * 3.0, l = slice(ends, 0, 0, 1), u = slice(ends, 0, 1, 2);
      const bounds::Box box{minimum(l, u), maximum(l, u)};
      const bounds::Lines lines = rule.lines(t.steps[0], box, Tensor::scalar(i % 3 * 0.5, DType::f64), 0x1p-53);
      const Tensor x = box.lower + (box.upper - box.lower) * (arange(201, DType::f64) * 0.005);
      const Tensor h = f(x);
      EXPECT_GE(min(h - lines.lower_slope * x - lines.lower_intercept).item(), 0) << t.steps[0].op().name << " " << i;
      EXPECT_LE(max(h - lines.upper_slope * x - lines.upper_intercept).item(), 0) << t.steps[0].op().name << " " << i;
      if (i % 3 != 1) continue;
      // The lines of smallest area are never looser in the middle than the interval's constant ones.
      const Tensor middle = (box.lower + box.upper) * 0.5, range = f(box.upper) - f(box.lower);
      EXPECT_LE(
          ((lines.upper_slope - lines.lower_slope) * middle + lines.upper_intercept - lines.lower_intercept).item(),
          range.item() * 1.0001 + 1e-12);
    }
  }
}

TEST(OwnActivation, Errors) {
  own_erf();
  const auto named = [](const char* name) {
    return OwnActivation{.name = name, .function = [](const Tensor& x) { return x * 2.0; }};
  };
  EXPECT_THROW(register_activation(named("relu")), ValueError);
  EXPECT_THROW(register_activation(named("own_erf")), ValueError);
  EXPECT_THROW(register_activation(named("")), ValueError);
  EXPECT_THROW(register_activation({.name = "nothing"}), ValueError);
  const Function sums = register_activation({.name = "sums_up", .function = [](const Tensor& x) { return sum(x); }});
  try {
    sums(drawn({3}, 1));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("sums_up: its parts give f64 []; needs f64 [3]"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(activation("of_nobody"), ValueError);
  // Bounds name what has no rule.
  register_activation(named("without_a_rule"));
  const Network network = network_with("without_a_rule");
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64);
  EXPECT_THROW(bounds::Graph(network, w), ValueError);
}

}  // namespace
}  // namespace mollify::nn
