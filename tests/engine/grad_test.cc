// Gradients as functions: nesting, closures, recording, overwriting, long chains.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

#include "../errors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace mollify {
namespace {

using In = const Tensor&;

Tensor number(double value) { return Tensor::scalar(value, DType::f64); }
Tensor vector(const std::vector<double>& values) { return Tensor::from(values, {static_cast<int64_t>(values.size())}); }
Tensor cube_sum(In x) { return sum(x * x * x); }

TEST(Grad, OfAScalarFunction) {
  const auto [value, gradient] = value_and_grad(cube_sum)(vector({1, 2, -3}));
  EXPECT_EQ(value.item(), 1 + 8 - 27);
  EXPECT_EQ(gradient.to_vector<double>(), (std::vector<double>{3, 12, 27}));
  EXPECT_FALSE(value.needs_grad());
  EXPECT_FALSE(gradient.needs_grad());
}

TEST(Grad, OfGradients) {
  const auto f = [](In x) { return exp(x * 2.0); };
  double factor = 2;
  for (const double at : {0.0, 0.5}) {
    EXPECT_NEAR(grad(f)(number(at)).item(), factor * std::exp(2 * at), 1e-12);
    EXPECT_NEAR(grad(grad(f))(number(at)).item(), 4 * std::exp(2 * at), 1e-12);
    EXPECT_NEAR(grad(grad(grad(f)))(number(at)).item(), 8 * std::exp(2 * at), 1e-12);
    EXPECT_NEAR(grad(grad(grad(grad(f))))(number(at)).item(), 16 * std::exp(2 * at), 1e-12);
  }
}

TEST(Grad, OfAFunctionThatDoesNotDependOnItsInputIsZero) {
  EXPECT_EQ(grad([](In) { return number(3); })(vector({1, 2})).to_vector<double>(), (std::vector<double>{0, 0}));
  EXPECT_EQ(grad(grad([](In x) { return x * 3.0; }))(number(1)).item(), 0);
}

TEST(Grad, HessianVectorProducts) {
  const Tensor x = vector({1, 2, -3}), v = vector({1, 0.5, 2});
  EXPECT_EQ(hvp(cube_sum, x, v).to_vector<double>(), (std::vector<double>{6, 6, -36}));
  const auto [value, gradient] = vjp([](In y) { return square(y); }, x, v);
  EXPECT_EQ(value.to_vector<double>(), (std::vector<double>{1, 4, 9}));
  EXPECT_EQ(gradient.to_vector<double>(), (std::vector<double>{2, 2, -12}));
}

// d/dx [x·(d/dy (x·y²) at y = 3)] = d/dx 6x² = 12x
TEST(Grad, OfClosuresOverOuterVariables) {
  const auto outer = [](In x) { return x * grad([&](In y) { return x * square(y); })(number(3)); };
  EXPECT_NEAR(grad(outer)(number(5)).item(), 60, 1e-12);
  EXPECT_NEAR(grad(grad(outer))(number(5)).item(), 12, 1e-12);
}

// A gradient within the function leaves no history behind, so that a step may overwrite weights with what comes out; a
// variable from before keeps its.
TEST(Grad, EndedGradientsAreNoHistory) {
  const Tensor x = vector({1, 2, -3}), v = vector({1, 0.5, 2});
  const auto penalty = [&](In w) { return sum(square(grad([&](In y) { return sum(sin(y * w)); })(x))); };
  const auto [value, gradient] = value_and_grad(penalty)(v);
  EXPECT_FALSE(value.needs_grad());
  EXPECT_FALSE(gradient.needs_grad());
  EXPECT_FALSE(hvp(cube_sum, x, v).needs_grad());
  EXPECT_FALSE(jvp([](In y) { return square(y); }, x, v).second.needs_grad());
  EXPECT_FALSE(grad(grad(grad([](In y) { return exp(y); })))(number(1)).needs_grad());

  const Tensor outer = variable(x);
  const auto scaled = [&](In w) { return sum(square(grad([&](In y) { return sum(sin(y * w)); })(outer))); };
  const Tensor live = grad(scaled)(v);
  EXPECT_TRUE(live.needs_grad());
  EXPECT_EQ(live.to_vector<double>(), gradient.to_vector<double>());
  EXPECT_TRUE(hvp(cube_sum, outer, v).needs_grad());
  EXPECT_EQ(vjp_of(sum(hvp(cube_sum, outer, v)), number(1), outer, false)[0].to_vector<double>(),
            (std::vector<double>{6, 3, 12}));
}

// The inner function differentiates at the outer variable itself: d/dx [∂/∂y (x·y²) at y = x] = d/dx 2x² = 4x
TEST(Grad, KeepsInnerAndOuterVariablesApart) {
  const auto outer = [](In x) { return grad([&](In y) { return x * square(y); })(x); };
  EXPECT_NEAR(grad(outer)(number(5)).item(), 20, 1e-12);
}

// d/dw of a function of an inner descent step w − rate·∇f(w), for f = w⁴: the record runs through the inner gradient.
TEST(Grad, ThroughADescentStep) {
  const auto f = [](In w) { return square(square(w)); };
  const auto after_step = [&](In w) { return f(w - grad(f)(w) * 0.1); };
  const double w = 0.7, moved = w - 0.4 * w * w * w;
  EXPECT_NEAR(grad(after_step)(number(w)).item(), 4 * moved * moved * moved * (1 - 1.2 * w * w), 1e-12);
}

TEST(Grad, GradientsOfSeedsFlow) {
  const auto f = [](In v) { return sum(vjp([](In x) { return square(x); }, vector({1, 2}), v * v).second); };
  EXPECT_EQ(grad(f)(vector({3, 5})).to_vector<double>(), (std::vector<double>{12, 40}));
}

TEST(Grad, NoGradRecordsNothing) {
  EXPECT_TRUE(is_recording());
  const auto f = [](In x) { return x * no_grad([&] { return square(x); }); };
  EXPECT_EQ(grad(f)(number(3)).item(), 9);
  const Tensor x = variable(number(2));
  no_grad([&] {
    EXPECT_FALSE(is_recording());
    EXPECT_FALSE(square(x).needs_grad());
  });
  EXPECT_TRUE(is_recording());
  EXPECT_TRUE(square(x).needs_grad());
  EXPECT_THROW(no_grad([]() -> int { throw ValueError("test"); }), ValueError);
  EXPECT_TRUE(is_recording());
}

TEST(Grad, WithinNoGradStillDifferentiates) {
  NoGrad guard;
  EXPECT_EQ(grad(cube_sum)(vector({2})).item(), 12);
  EXPECT_FALSE(is_recording());
}

TEST(Grad, DetachedValuesAreConstants) {
  EXPECT_EQ(grad([](In x) { return x * square(x).detach(); })(number(3)).item(), 9);
  EXPECT_FALSE(variable(number(1)).detach().needs_grad());
}

TEST(Grad, OfIntermediates) {
  const Tensor x = variable(vector({1, 2}));
  const Tensor y = x * 3.0, z = sum(square(y));
  const Tensors gradients = vjp_of({z}, {ones_like(z)}, {y, x}, false);
  EXPECT_EQ(gradients[0].to_vector<double>(), (std::vector<double>{6, 12}));
  EXPECT_EQ(gradients[1].to_vector<double>(), (std::vector<double>{18, 36}));
}

TEST(Grad, OfOneOfSeveralOutputs) {
  const Tensor x = variable(vector({1, 2, 3, 4, 5, 6}));
  const Tensors parts = split(x, {1, 2, 3});
  const Tensor z = sum(square(parts[1]));
  EXPECT_EQ(vjp_of({z}, {ones_like(z)}, {x}, false)[0].to_vector<double>(), (std::vector<double>{0, 4, 6, 0, 0, 0}));
  EXPECT_EQ(vjp_of({z}, {ones_like(z)}, {parts[1]}, false)[0].to_vector<double>(), (std::vector<double>{4, 6}));
}

TEST(Grad, TwiceFromOneRecord) {
  const Tensor x = variable(vector({1, 2}));
  const Tensor y = square(x);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(vjp_of({y}, {vector({1, 1})}, {x}, false)[0].to_vector<double>(), (std::vector<double>{2, 4}));
}

TEST(Grad, RefusesMisuse) {
  const Tensor x = variable(vector({1, 2}));
  EXPECT_NE(text_of<ShapeError>([] { grad([](In y) { return y; })(vector({1, 2})); }).find("[2]"), std::string::npos);
  EXPECT_THROW(vjp_of({x}, {vector({1})}, {x}, false), ShapeError);
  EXPECT_THROW(vjp_of({x}, {ones({2})}, {x}, false), TypeError);
  EXPECT_THROW(vjp_of({x}, {}, {x}, false), ShapeError);
  EXPECT_THROW(vjp_of({x}, {vector({1, 1})}, {vector({1, 2})}, false), GraphError);
}

TEST(Grad, NoticesOverwriting) {
  const Tensor w = vector({1, 2});
  const Tensor x = variable(w);
  const Tensor y = sum(exp(x));
  no_grad([&] { assign(w, vector({5, 6})); });
  const std::string text = text_of<GraphError>([&] { vjp_of({y}, {number(1)}, {x}, false); });
  EXPECT_NE(text.find("'exp'"), std::string::npos) << text;
}

TEST(Grad, NoticesOptimiserSteps) {
  const Tensor w = vector({1, 2});
  const Tensor x = variable(w);
  const Tensor y = sum(x * x);
  no_grad([&] { sgd_step(w, ones_like(w), {}, {number(0.1), number(0), number(0)}); });
  EXPECT_NE(text_of<GraphError>([&] { vjp_of({y}, {number(1)}, {x}, false); }).find("'multiply'"), std::string::npos);
}

TEST(Grad, RefusesToOverwriteWhatHasAHistoryWhileRecording) {
  const Tensor x = variable(vector({1, 2}));
  EXPECT_NE(text_of<GraphError>([&] { assign(x, vector({3, 4})); }).find("assign"), std::string::npos);
  EXPECT_THROW(assign(vector({1, 2}), x * 2.0), GraphError);
  EXPECT_NO_THROW(no_grad([&] { assign(vector({1, 2}), x * 2.0); }));
  EXPECT_NO_THROW(assign(vector({1, 2}), (x * 2.0).detach()));
}

TEST(Grad, LongChainsDoNotOverflowTheStack) {
  constexpr int kLength = 1000000;
  const Tensor x = variable(number(1));
  Tensor y = x;
  for (int i = 0; i < kLength; ++i) y = -y;
  EXPECT_EQ(vjp_of({y}, {number(1)}, {x}, false)[0].item(), 1);
  y = {};  // the chain dies here
  EXPECT_EQ(grad([](In v) {
              Tensor z = v;
              for (int i = 0; i < kLength / 10; ++i) z = z + v;
              return z;
            })(number(1))
                .item(),
            kLength / 10 + 1);
}

TEST(Grad, WideGraphsOfSharedValues) {
  const auto f = [](In x) {
    Tensor y = x;
    for (int i = 0; i < 30; ++i) y = (y + y) * 0.5;  // 2^30 paths, 30 nodes
    return y;
  };
  EXPECT_EQ(grad(f)(number(1)).item(), 1);
}

// A value that a rule reads is missed where it was overwritten, input or output; one that no rule reads is not.
TEST(Overwriting, MattersWhereARuleReadsTheValue) {
  const Tensor x = variable(ones({3}, DType::f64));
  const auto gradient = [&](const Tensor& y) {
    return vjp_of(sum(y), ones({}, DType::f64), x, false)[0].to_vector<double>();
  };
  const auto overwrite = [](const Tensor& t) { no_grad([&] { assign(t.detach(), full(t.shape(), 100, t.dtype())); }); };
  const Tensor exponential = exp(x);
  overwrite(exponential);
  EXPECT_THROW(gradient(exponential), GraphError);
  const Tensor values = x * 3.0, sorted_values = sort(values).values, indices = sort(values).indices;
  EXPECT_EQ(gradient(sorted_values), (std::vector<double>{3, 3, 3}));
  const Tensor w = ones({3}, DType::f64), total = x + w;
  overwrite(w);
  EXPECT_EQ(gradient(total), (std::vector<double>{1, 1, 1})) << "a sum's gradient needs no value";
  const Tensor factor = full({3}, 2, DType::f64), product = x * factor;
  overwrite(factor);
  EXPECT_THROW(gradient(product), GraphError);
  const Tensor condition = equal(w, w), chosen = where(condition, x, w);
  overwrite(condition);
  EXPECT_THROW(gradient(chosen), GraphError);
}

TEST(Rules, ThatForgetAnInputAreNamed) {
  static const Op forgetful{.name = "forgetful",
                            .shape = [](const Op&, Inputs in, const Attributes&) -> Layouts { return in[0].layout(); },
                            .cpu = [](const KernelArguments& a) { no_grad([&] { assign(a.out[0], a.in[0]); }); },
                            .vjp = [](const VjpArguments& a) -> Tensors { return a.g; }};
  const Tensor a = ones({2}), b = ones({2});
  EXPECT_NO_THROW(grad([&](const Tensor& x) {
    return sum(apply(forgetful, {x, b}));
  })(a))
      << "nobody asked for the second";
  EXPECT_THROW(grad([&](const Tensor& x) { return sum(apply(forgetful, {a, x})); })(b), GraphError);
}

}  // namespace
}  // namespace mollify
