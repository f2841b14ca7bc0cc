// Derivatives at ties and kinks, as ops.h states them, and values at signed zeros.
#include "row_test.h"

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

using In = const Tensor&;

Tensor vector(const std::vector<double>& values) { return Tensor::from(values, {static_cast<int64_t>(values.size())}); }

// Gradients of sum(f(x…)) with respect to each input.
std::vector<std::vector<double>> slopes(const std::function<Tensor(const Tensors&)>& f, const Tensors& at) {
  const Tensors variables = variables_of(at);
  const Tensor value = sum(f(variables));
  std::vector<std::vector<double>> out;
  for (const Tensor& gradient : vjp_of({value}, {ones_like(value)}, variables, false))
    out.push_back(gradient.to_vector<double>());
  return out;
}

std::vector<double> slope(const std::function<Tensor(In)>& f, const std::vector<double>& at) {
  return slopes([&](const Tensors& in) { return f(in[0]); }, {vector(at)})[0];
}

using Numbers = std::vector<double>;

TEST(Kinks, OfPiecewiseLinearFunctions) {
  EXPECT_EQ(slope(relu, {-1, 0, 1}), (Numbers{0, 0, 1}));
  EXPECT_EQ(slope([](In x) { return leaky_relu(x, 0.25); }, {-1, 0, 1}), (Numbers{0.25, 0.25, 1}));
  EXPECT_EQ(slope([](In x) { return leaky_relu(x); }, {-1, 0, 1}), (Numbers{0.01, 0.01, 1}));
  EXPECT_EQ(slope(elu, {0, 1}), (Numbers{1, 1}));
  EXPECT_EQ(slope(abs, {-2, 0, 2}), (Numbers{-1, 0, 1}));
  EXPECT_EQ(slope(sign, {-2, 0, 2}), (Numbers{0, 0, 0}));
  EXPECT_EQ(slope([](In x) { return clip(x, -1, 1); }, {-2, -1, 0, 1, 2}), (Numbers{0, 1, 1, 1, 0}));
}

TEST(Kinks, OfPairs) {
  const Tensors pair{vector({1, 2, 3}), vector({2, 2, 2})};
  const auto lesser = slopes([](const Tensors&in) { return minimum(in[0], in[1]); }, pair),
             greater = slopes([](const Tensors&in) { return maximum(in[0], in[1]); }, pair);
  EXPECT_EQ(lesser[0], (Numbers{1, 0.5, 0}));
  EXPECT_EQ(lesser[1], (Numbers{0, 0.5, 1}));
  EXPECT_EQ(greater[0], (Numbers{0, 0.5, 1}));
  EXPECT_EQ(greater[1], (Numbers{1, 0.5, 0}));
  const auto gated =
      slopes([](const Tensors& in) { return gate(in[0], in[1]); }, {vector({5, 6, 7}), vector({-1, 0, 1})});
  EXPECT_EQ(gated[0], (Numbers{0, 0, 1}));
  EXPECT_EQ(gated[1], (Numbers{0, 0, 0}));
}

TEST(Kinks, OfTies) {
  EXPECT_EQ(slope([](In x) { return max(x); }, {1, 3, 3, 2}), (Numbers{0, 0.5, 0.5, 0}));
  EXPECT_EQ(slope([](In x) { return min(x); }, {1, 1, 1, 1}), (Numbers{0.25, 0.25, 0.25, 0.25}));
  EXPECT_EQ(slope([](In x) { return max_pool2d(reshape(x, {1, 2, 2, 1})); }, {3, 1, 3, 3}), (Numbers{1, 0, 0, 0}));
  EXPECT_EQ(slope([](In x) { return top_k(x, 1).values; }, {1, 3, 3}), (Numbers{0, 1, 0}));
  EXPECT_EQ(argmax(vector({1, 3, 3})).item(), 1);
  EXPECT_EQ(sort(vector({2, 1, 2, 1})).indices.to_vector<int32_t>(), (std::vector<int32_t>{1, 3, 0, 2}));
  EXPECT_EQ(sort(vector({2, 1, 2, 1}), -1, true).indices.to_vector<int32_t>(), (std::vector<int32_t>{0, 2, 1, 3}));
}

// Padding never wins, also among negative numbers and minus infinity.
TEST(Kinks, OfPaddedMaxima) {
  const Pool2d how = Pool2d::square(3, 1, 1);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(slope([&](In x) { return max_pool2d(reshape(x, {1, 1, 1, 1}), how); }, {-5}), (Numbers{1}));
  const ValuesAndIndices both = max_pool2d_with_indices(full({1, 1, 2, 1}, -infinity, DType::f64), how);
  EXPECT_EQ(both.values.to_vector<double>(), (Numbers{-infinity, -infinity}));
  EXPECT_EQ(both.indices.to_vector<int32_t>(), (std::vector<int32_t>{0, 0}));
}

TEST(Kinks, OfPowersAtZero) {
  const auto at_zero =
      slopes([](const Tensors& in) { return pow(in[0], in[1]); }, {vector({0, 0, 0, 0}), vector({0, 1, 2, 3})});
  EXPECT_EQ(at_zero[0], (Numbers{0, 1, 0, 0}));
  EXPECT_EQ(at_zero[1], (Numbers{0, 0, 0, 0}));
  EXPECT_EQ(slope([](In x) { return pow(x, 2.0); }, {-3, 0, 3}), (Numbers{-6, 0, 6}));
}

TEST(Kinks, OfSecondDerivativesOfPowersAtZero) {
  const auto square_of_slope = grad([](In x) { return sum(grad([](In y) { return sum(pow(y, 2.0)); })(x)); });
  EXPECT_EQ(square_of_slope(vector({0, 1})).to_vector<double>(), (Numbers{2, 2}));
}

TEST(Kinks, LeaveLogsumexpOfInfinitiesDefined) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(logsumexp(vector({-infinity, -infinity})).item(), -infinity);
  EXPECT_EQ(logsumexp(vector({1, infinity})).item(), infinity);
  EXPECT_EQ(logsumexp(vector({-infinity, 3})).item(), 3);
}

TEST(SignedZeros, PassThroughOddFunctions) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (Tensor (*f)(In) : {sin, tanh, expm1, log1p, sqrt, erf, sign}) {
      EXPECT_TRUE(std::signbit(f(Tensor::scalar(-0.0, dtype)).item()));
      EXPECT_FALSE(std::signbit(f(Tensor::scalar(0.0, dtype)).item()));
    }
  EXPECT_FALSE(std::signbit(abs(Tensor::scalar(-0.0)).item()));
}

}  // namespace
}  // namespace mollify::op_table
