// What a newcomer writes first: lists, printing, indexing, comparisons, in-place arithmetic, several gradients.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/trace.h>

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

namespace mollify {
namespace {

std::string printed(const Tensor& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

TEST(Lists, MakeTensors) {
  const Tensor x = {{1, 2, 3}, {4, 5, 6}};
  EXPECT_EQ(x.shape(), (Shape{2, 3}));
  EXPECT_EQ(x.dtype(), DType::f32);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  const Tensor one = {7.5}, column = {{1}, {2}}, deep({{{1}, {2}}, {{3}, {4}}}, DType::f64), whole({1, -2}, DType::i32);
  EXPECT_EQ(one.shape(), Shape{1});
  EXPECT_EQ(column.shape(), (Shape{2, 1}));
  EXPECT_EQ(deep.shape(), (Shape{2, 2, 1}));
  EXPECT_EQ(deep.dtype(), DType::f64);
  EXPECT_EQ(whole.to_vector<int32_t>(), (std::vector<int32_t>{1, -2}));
  EXPECT_THROW(Tensor({{1, 2}, {3}}), ShapeError);
  EXPECT_THROW(Tensor({{1, 2}, 3}), ShapeError);
  EXPECT_THROW(Tensor({1, {2, 3}}), ShapeError);
  EXPECT_THROW(Tensor({1e300}, DType::i32), ValueError);
}

// The texts are NumPy's of the same arrays.
TEST(Printing, IsNumPys) {
  EXPECT_EQ(printed(Tensor{{1, 2}, {3, 4}}), "[[1. 2.]\n [3. 4.]]");
  EXPECT_EQ(printed(Tensor({0.1, 0.25, 100}, DType::f32)), "[  0.1    0.25 100.  ]");
  EXPECT_EQ(printed(Tensor({1.0 / 3, 2}, DType::f64)), "[0.33333333 2.        ]");
  EXPECT_EQ(printed(Tensor({1, -20, 300}, DType::i32)), "[  1 -20 300]");
  EXPECT_EQ(printed(Tensor({NAN, INFINITY, -INFINITY, 1}, DType::f64)), "[ nan  inf -inf   1.]");
  EXPECT_EQ(printed(Tensor::scalar(2.5)), "2.5");
  EXPECT_EQ(printed(Tensor({1e10, 1}, DType::f64)), "[1.e+10 1.e+00]");
  EXPECT_EQ(printed(zeros({2, 1, 2})), "[[[0. 0.]]\n\n [[0. 0.]]]");
  EXPECT_EQ(printed(zeros({0})), "[]");
  EXPECT_EQ(printed(arange(2000, DType::i32)), "[   0    1    2 ... 1997 1998 1999]");
  EXPECT_EQ(printed(arange(30, DType::i32)),
            "[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n 24 25 26 27 28 29]");
  EXPECT_EQ(to_string(Tensor()), "empty");
  const Trace t = trace([](const Tensor& x) { return x * 2.0; }, Layout::packed({2, 3}, DType::f32));
  EXPECT_EQ(to_string(t.output), "f32 [2, 3] without values");
}

TEST(Indexing, IsPythons) {
  const Tensor x = reshape(arange(24, DType::i32), {2, 3, -1});
  EXPECT_EQ(x[1].shape(), (Shape{3, 4}));
  EXPECT_EQ(x[1][2][3].item(), 23);
  EXPECT_EQ(x[-1][0].to_vector<int32_t>(), (std::vector<int32_t>{12, 13, 14, 15}));
  EXPECT_EQ(x(0, 1).to_vector<int32_t>(), (std::vector<int32_t>{4, 5, 6, 7}));
  EXPECT_EQ(x(1, 2, 3).item(), 23);
  EXPECT_EQ(x(all, 0, -1).to_vector<int32_t>(), (std::vector<int32_t>{3, 15}));
  EXPECT_EQ(x(0, Slice{1, 3}, 0).to_vector<int32_t>(), (std::vector<int32_t>{4, 8}));
  EXPECT_EQ(x(0, 0, Slice{.step = -2}).to_vector<int32_t>(), (std::vector<int32_t>{3, 1}));
  EXPECT_EQ(x(0, 0, Slice{.start = -2}).to_vector<int32_t>(), (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(x(0, 0, Slice{.stop = -3}).to_vector<int32_t>(), (std::vector<int32_t>{0}));
  const Tensor list({2, 0, -1}, DType::i32);
  EXPECT_EQ(x(0, list, 1).to_vector<int32_t>(), (std::vector<int32_t>{9, 1, 9}));
  EXPECT_EQ(x(0, 0, Tensor({1, 0, 0, 1}, DType::u8)).to_vector<int32_t>(), (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(x(x > 20.0).to_vector<int32_t>(), (std::vector<int32_t>{21, 22, 23}));
  EXPECT_EQ(x(x > 100.0).shape(), Shape{0});
  EXPECT_EQ(&x[1].buffer(), &x.buffer()) << "a view";
  int rows = 0;
  for (const Tensor& row : x) rows += row.shape() == Shape{3, 4};
  EXPECT_EQ(rows, 2);
  EXPECT_THROW(x[2], ShapeError);
  EXPECT_THROW(x(0, 0, 0, 0), ShapeError);
  EXPECT_THROW(x(Tensor({0}, DType::i32), Tensor({0}, DType::i32)), ShapeError);
  EXPECT_THROW(x(Tensor({1, 0, 1}, DType::u8)), ShapeError);
  EXPECT_THROW(x(Tensor{1.0, 0.0}), TypeError);
  EXPECT_THROW(Tensor::scalar(1)[0], ShapeError);
  // Gradients flow through all of them.
  const auto f = [](const Tensor& t) {
    return sum(t[0] * 2.0) + sum(t(all, Slice{1, 3}) * 3.0) + sum(t(1, Tensor({0, 0}, DType::i32)));
  };
  EXPECT_EQ(grad(f)(zeros({2, 3})).to_vector<float>(), (std::vector<float>{2, 5, 5, 2, 3, 3}));
}

TEST(Comparisons, AreElementByElement) {
  const Tensor x = {1, 2, 3}, y = {3, 2, 1};
  EXPECT_EQ((x == y).to_vector<uint8_t>(), (std::vector<uint8_t>{0, 1, 0}));
  EXPECT_EQ((x != y).to_vector<uint8_t>(), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ((x < y).to_vector<uint8_t>(), (std::vector<uint8_t>{1, 0, 0}));
  EXPECT_EQ((x > 1.5).to_vector<uint8_t>(), (std::vector<uint8_t>{0, 1, 1}));
  EXPECT_EQ((x >= 2.0).to_vector<uint8_t>(), (std::vector<uint8_t>{0, 1, 1}));
  EXPECT_EQ((x <= 2.0).to_vector<uint8_t>(), (std::vector<uint8_t>{1, 1, 0}));
  EXPECT_EQ(all(x > 0.0).item(), 1);
  EXPECT_EQ(all(x > 1.0).item(), 0);
  EXPECT_EQ(any(x > 2.5).item(), 1);
  EXPECT_EQ(all(zeros({0})).item(), 1);
  EXPECT_EQ(maximum(x, 2.0).to_vector<float>(), (std::vector<float>{2, 2, 3}));
}

TEST(InPlace, ChangesWhoeverSharesTheMemory) {
  Tensor x = {1, 2, 3};
  const Tensor row = x(Slice{0, 2});
  x += Tensor{10, 10, 10};
  x *= 2.0;
  EXPECT_EQ(row.to_vector<float>(), (std::vector<float>{22, 24}));
  x -= 2.0;
  x /= Tensor{2, 2, 2};
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{10, 11, 12}));
  assign(row, 7.0);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{7, 7, 12}));
  const Tensor table = {{1, 2, 3}, {4, 5, 6}};
  Tensor column = table(all, 1);
  column *= 10.0;
  EXPECT_EQ(table.to_vector<float>(), (std::vector<float>{1, 20, 3, 4, 50, 6}));
  EXPECT_EQ(grad([](const Tensor& t) { return sum(t(all, 1) * Tensor{1, 2}); })(table).to_vector<float>(),
            (std::vector<float>{0, 1, 0, 0, 2, 0}));
  EXPECT_THROW(grad([](const Tensor& t) {
                 Tensor y = t * 1.0;
                 y += 1.0;
                 return sum(y);
               })(x),
               GraphError);
}

TEST(WholeNumbers, AddAndMultiply) {
  const Tensor x({1, -2, 3}, DType::i32), y({10, 20, 2'000'000'000}, DType::i32);
  EXPECT_EQ((x + y).to_vector<int32_t>(), (std::vector<int32_t>{11, 18, 2'000'000'003}));
  EXPECT_EQ((x - 1.0).to_vector<int32_t>(), (std::vector<int32_t>{0, -3, 2}));
  EXPECT_EQ((-x * 2.0).to_vector<int32_t>(), (std::vector<int32_t>{-2, 4, -6}));
  EXPECT_THROW(x * y, ValueError);
  EXPECT_THROW(x + 0.5, ValueError);
  EXPECT_EQ((x > 0.5).to_vector<uint8_t>(), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ((y < 3e9).to_vector<uint8_t>(), (std::vector<uint8_t>{1, 1, 1}));
}

TEST(Shapes, FromBraces) {
  const Tensor x = arange(6);
  EXPECT_EQ(reshape(x, {-1, 3}).shape(), (Shape{2, 3}));
  EXPECT_EQ(reshape(x, {2, 3}).shape(), (Shape{2, 3}));
  EXPECT_THROW(reshape(x, {-1, 4}), ShapeError);
  EXPECT_THROW(reshape(x, {-1, -1}), ShapeError);
  EXPECT_EQ(concat({x, x}).shape(), Shape{12});
  EXPECT_EQ(stack({x, x}, 1).shape(), (Shape{6, 2}));
  EXPECT_EQ(sum(reshape(x, {2, 3}), 1).to_vector<float>(), (std::vector<float>{3, 12}));
}

TEST(Norms, HoldForEveryScaleAndAtZero) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double large = dtype == DType::f32 ? 5e37 : 1e307, small = dtype == DType::f32 ? 1e-37 : 1e-300;
    for (const double scale : {large, small, 1.0})
      EXPECT_NEAR(norm(Tensor({3, 4}, dtype) * scale).item() / scale, 5, dtype == DType::f32 ? 1e-6 : 1e-14) << scale;
    EXPECT_EQ(norm(zeros({3}, dtype)).item(), 0);
    EXPECT_EQ(norm(Tensor({INFINITY, 1}, dtype)).item(), INFINITY);
    EXPECT_TRUE(std::isnan(norm(Tensor({NAN, 1}, dtype)).item()));
    const Tensor at_zero = grad([](const Tensor& t) { return norm(t); })(zeros({3}, dtype));
    EXPECT_EQ(sum(abs(at_zero)).item(), 0);
  }
  const Tensor far = Tensor({1e8, 1e8 + 1, 1e8 + 2}, DType::f64);
  EXPECT_NEAR(variance(far).item(), 2.0 / 3, 1e-9);
  EXPECT_EQ(grad([](const Tensor& t) { return standard_deviation(t); })(ones({4}, DType::f64)).to_vector<double>(),
            std::vector<double>(4, 0));
  // A product's gradient where one or two factors are 0.
  const auto gradient = grad([](const Tensor& t) { return prod(t, 0); });
  EXPECT_EQ(gradient(Tensor{2, 0, 5}).to_vector<float>(), (std::vector<float>{0, 10, 0}));
  EXPECT_EQ(gradient(Tensor{0, 0, 5}).to_vector<float>(), (std::vector<float>{0, 0, 0}));
}

TEST(Gradients, OfSeveralArgumentsAndWithMore) {
  const Tensor x({1, 2}, DType::f64), y({3, 4}, DType::f64);
  const auto f = [](const Tensor& a, const Tensor& b) { return sum(a * a * b); };
  const auto [value, gradients] = value_and_grad(f)(x, y);
  EXPECT_EQ(value.item(), 19);
  EXPECT_EQ(gradients[0].to_vector<double>(), (std::vector<double>{6, 16}));
  EXPECT_EQ(gradients[1].to_vector<double>(), (std::vector<double>{1, 4}));
  EXPECT_EQ(grad(f)(x, y)[1].to_vector<double>(), (std::vector<double>{1, 4}));
  const auto with_more = [&](const Tensor& a) { return std::pair{f(a, y), std::string("more")}; };
  const auto [both, gradient] = value_and_grad(with_more)(x);
  EXPECT_EQ(both.first.item(), 19);
  EXPECT_EQ(both.second, "more");
  EXPECT_EQ(gradient.to_vector<double>(), (std::vector<double>{6, 16}));
  EXPECT_FALSE(both.first.needs_grad());
  // They nest: ∂/∂y of |∂f/∂x|².
  const Tensor nested = grad([&](const Tensor& b) { return sum(square(grad(f)(x, b)[0])); })(y);
  EXPECT_EQ(nested.to_vector<double>(), (std::vector<double>{24, 128}));
  EXPECT_THROW(grad([](const Tensor& a, const Tensor& b) { return a * b; })(x, y), ShapeError);
}

TEST(Gradients, JacobianHessianAndForwardProducts) {
  const Tensor x({0.5, -1, 2}, DType::f64), v({1, 2, -1}, DType::f64);
  const auto f = [](const Tensor& t) { return concat({sin(t) * t[0], reshape(sum(t * t), {1})}); };
  const Tensor whole = jacobian(f, x);
  EXPECT_EQ(whole.shape(), (Shape{4, 3}));
  for (int64_t j = 0; j < 3; ++j) {
    const Tensor step = one_hot(Tensor({static_cast<double>(j)}, DType::i32), 3, DType::f64)[0] * 1e-6;
    const Tensor difference = (f(x + step) - f(x - step)) / 2e-6;
    EXPECT_LT(max(abs(whole(all, j) - difference)).item(), 1e-9);
  }
  const auto [y, product] = jvp(f, x, v);
  EXPECT_LT(max(abs(y - f(x))).item(), 1e-15);
  EXPECT_LT(max(abs(product - matmul(whole, reshape(v, {3, 1}))(all, 0))).item(), 1e-14);
  const auto g = [&](const Tensor& t) { return sum(exp(t) * t[1]); };
  const Tensor second = hessian(g, x);
  EXPECT_EQ(second.shape(), (Shape{3, 3}));
  EXPECT_LT(max(abs(second - transpose(second))).item(), 1e-15);
  EXPECT_LT(max(abs(matmul(second, reshape(v, {3, 1}))(all, 0) - hvp(g, x, v))).item(), 1e-14);
}

TEST(Einsum, RefusesWhatDoesNotFit) {
  const Tensor a = zeros({2, 3}), b = zeros({3, 4});
  EXPECT_EQ(einsum("ij,jk", {a, b}).shape(), (Shape{2, 4}));
  EXPECT_EQ(einsum(" ij , jk -> ki ", {a, b}).shape(), (Shape{4, 2}));
  for (const char* axes :
       {"ij", "ij,jk,kl", "ij,j", "ij,ik", "ij,jk->il", "ij,jk->ii", "i1,jk", "ij;jk", "ij,jk->i->k"})
    EXPECT_ANY_THROW(einsum(axes, {a, b})) << axes;
}

}  // namespace
}  // namespace mollify
