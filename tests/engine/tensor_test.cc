// Shapes, layouts, handles and errors of tensors.
#include <mollify/engine/ops.h>

#include "../errors.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace mollify {
namespace {

TEST(Shape, HoldsUpToSixExtents) {
  Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.size(), 24);
  EXPECT_EQ(shape.back(), 4);
  EXPECT_EQ(to_string(shape), "[2, 3, 4]");
  EXPECT_EQ(Shape().size(), 1);
  EXPECT_EQ(to_string(Shape()), "[]");
  shape.insert(1, 7);
  EXPECT_EQ(shape, (Shape{2, 7, 3, 4}));
  shape.erase(0);
  EXPECT_EQ(shape, (Shape{7, 3, 4}));
  shape.push_back(0);
  EXPECT_EQ(shape.size(), 0);
  EXPECT_FALSE(shape == (Shape{7, 3, 4}));
  EXPECT_THROW((Shape{1, 2, 3, 4, 5, 6, 7}), ShapeError);
  EXPECT_THROW((Shape{2, -1}), ShapeError);
  Shape full{1, 2, 3, 4, 5, 6};
  EXPECT_THROW(full.push_back(7), ShapeError);
}

TEST(Shape, BroadcastsTrailingAxes) {
  EXPECT_EQ(broadcast("op", {2, 1, 3}, {4, 1}), (Shape{2, 4, 3}));
  EXPECT_EQ(broadcast("op", {}, {4, 1}), (Shape{4, 1}));
  EXPECT_EQ(broadcast("op", {0, 1}, {1, 3}), (Shape{0, 3}));
  EXPECT_EQ(text_of<ShapeError>([] {
              broadcast("op", {2, 3}, {4});
            }),
            "op: shapes [2, 3] and [4] given; trailing extents must be equal or 1");
  EXPECT_THROW(broadcast("op", {0}, {2}), ShapeError);
}

TEST(Shape, ResolvesAxesFromTheBack) {
  EXPECT_EQ(resolve_axis("op", -1, 3), 2);
  EXPECT_EQ(resolve_axis("op", 0, 3), 0);
  EXPECT_THROW(resolve_axis("op", 3, 3), ShapeError);
  EXPECT_THROW(resolve_axis("op", -4, 3), ShapeError);
  EXPECT_THROW(resolve_axis("op", 0, 0), ShapeError);
}

TEST(Layout, OfTooManyElementsThrows) {
  EXPECT_THROW(Layout::packed({int64_t{1} << 40, int64_t{1} << 40}, DType::f32), ShapeError);
  EXPECT_THROW(Layout::packed({std::numeric_limits<int64_t>::max(), 2}, DType::u8), ShapeError);
}

TEST(Tensor, HoldsValuesOfEachDtype) {
  const std::vector<float> f32{1.5f, -2};
  const std::vector<double> f64{1e300, 0.1};
  const std::vector<int32_t> i32{-7, 2147483647};
  const std::vector<uint8_t> u8{0, 255};
  EXPECT_EQ(Tensor::from(f32, {2}).to_vector<float>(), f32);
  EXPECT_EQ(Tensor::from(f64, {1, 2}).to_vector<double>(), f64);
  EXPECT_EQ(Tensor::from(i32, {2, 1}).to_vector<int32_t>(), i32);
  EXPECT_EQ(Tensor::from(u8, {2}).to_vector<uint8_t>(), u8);
  EXPECT_EQ(Tensor::from(i32, {2}).dtype(), DType::i32);
  EXPECT_EQ(Tensor::from(std::vector<float>{}, {0, 3}).size(), 0);
  EXPECT_EQ(text_of<ShapeError>([&] { Tensor::from(f32, {3}); }), "tensor: 2 values given for shape [3]; needs 3");
}

TEST(Tensor, GivesItsOnlyElement) {
  EXPECT_EQ(Tensor::scalar(0.1, DType::f64).item(), 0.1);
  EXPECT_EQ(Tensor::scalar(0.1).item(), static_cast<double>(0.1f));
  EXPECT_EQ(Tensor::scalar(-3, DType::i32).item(), -3);
  EXPECT_EQ(Tensor::scalar(200, DType::u8).item(), 200);
  EXPECT_EQ(ones({1, 1, 1}).item(), 1);
  EXPECT_EQ(text_of<ShapeError>([] { ones({2}).item(); }), "item: the tensor has shape [2]; needs exactly one element");
  EXPECT_THROW(ones({0}).item(), ShapeError);
}

TEST(Tensor, ReadsOnlyItsOwnDtype) {
  EXPECT_EQ(text_of<TypeError>([] { ones({2}).data<double>(); }),
            "data: the tensor is f32; read as f64; needs its own type, or cast(x, DType::f64)");
  EXPECT_THROW(ones({2}).to_vector<int32_t>(), TypeError);
}

TEST(Tensor, WhenEmptyThrows) {
  const Tensor none;
  EXPECT_FALSE(none.defined());
  EXPECT_FALSE(none.needs_grad());
  EXPECT_THROW(none.shape(), GraphError);
  EXPECT_THROW(none.item(), GraphError);
  EXPECT_THROW(none.to_vector<float>(), GraphError);
}

TEST(Tensor, CopiesShareAndMovesEmpty) {
  Tensor a = ones({3});
  Tensor b = a;
  EXPECT_TRUE(a.same(b));
  const Tensor c = std::move(a);
  EXPECT_TRUE(c.same(b));
  b.data<float>()[1] = 5;
  EXPECT_EQ(c.to_vector<float>(), (std::vector<float>{1, 5, 1}));
}

TEST(Views, ShareTheBuffer) {
  const Tensor x = cast(reshape(arange(24), {2, 3, 4}), DType::f64);
  for (const Tensor& view : {reshape(x, {6, 4}), permute(x, {2, 0, 1}), slice(x, 2, 1, 4, 2), flip(x, 0),
                             expand(slice(x, 0, 0, 1), {5, 3, 4}), x.detach(), flatten(x)})
    EXPECT_EQ(&view.buffer(), &x.buffer());
  EXPECT_EQ(packed(x).same(x), true);
  EXPECT_NE(&packed(transpose(x)).buffer(), &x.buffer());
  EXPECT_NE(&reshape(transpose(x), {24}).buffer(), &x.buffer());
}

TEST(Views, HaveStridesAndOffsets) {
  const Tensor x = reshape(arange(12, DType::i32), {3, 4});
  const Tensor t = transpose(x);
  EXPECT_EQ(t.strides(), (Shape{1, 4}));
  EXPECT_FALSE(t.is_packed());
  EXPECT_EQ(t.to_vector<int32_t>(), (std::vector<int32_t>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  const Tensor s = slice(flip(x, 1), 1, 0, 4, 2);
  EXPECT_EQ(s.strides()[1], -2);
  EXPECT_EQ(s.to_vector<int32_t>(), (std::vector<int32_t>{3, 1, 7, 5, 11, 9}));
  EXPECT_EQ(expand(slice(x, 1, 0, 1), {3, 2}).strides(), (Shape{4, 0}));
  EXPECT_TRUE(slice(x, 0, 1, 3).is_packed());
  EXPECT_EQ(slice(x, 0, 1, 3).layout().offset, 4);
  EXPECT_EQ(split(x, {1, 3}, 1)[1].to_vector<int32_t>(), (std::vector<int32_t>{1, 2, 3, 5, 6, 7, 9, 10, 11}));
}

TEST(Views, OutliveWhatTheyView) {
  Tensor view;
  {
    const Tensor x = arange(10, DType::f64);
    view = slice(x, 0, 7, 10);
  }
  EXPECT_EQ(view.to_vector<double>(), (std::vector<double>{7, 8, 9}));
}

TEST(Assign, ChangesAllViewsAndTheVersion) {
  const Tensor x = zeros({2, 3});
  const Tensor column = slice(x, 1, 1, 2);
  const uint32_t before = x.buffer().version();
  assign(column, Tensor::scalar(4));
  EXPECT_GT(x.buffer().version(), before);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 4, 0, 0, 4, 0}));
}

TEST(Tensors, ListsOfAnyLength) {
  Tensors few{ones({1}), ones({2})}, many(9);
  EXPECT_EQ(few.size(), 2u);
  EXPECT_EQ(few[1].size(), 2);
  for (size_t i = 0; i < many.size(); ++i) many[i] = Tensor::scalar(static_cast<double>(i));
  const Tensors copy = many;
  EXPECT_EQ(copy[8].item(), 8);
  EXPECT_FALSE(Tensors(3)[2].defined());
}

template <class T>
concept Readable = requires(const Tensor& x) { x.data<T>(); };
static_assert(Readable<float> && Readable<double> && Readable<int32_t> && Readable<uint8_t>);
static_assert(!Readable<int64_t> && !Readable<char> && !Readable<bool> && !Readable<long double>);

TEST(Numbers, ThatADtypeCannotHoldAreRefused) {
  for (const double value : {300.0, -1.0, 256.0, 3e9, std::nan("")}) {
    EXPECT_THROW(full({2}, value, DType::u8), ValueError) << value;
    EXPECT_THROW(Tensor::scalar(value, DType::u8), ValueError) << value;
    EXPECT_THROW(pad(zeros({2}, DType::u8), 0, 1, 1, value), ValueError) << value;
  }
  for (const double value : {3e9, -3e9, 2147483648.0, std::nan("")})
    EXPECT_THROW(Tensor::scalar(value, DType::i32), ValueError) << value;
  EXPECT_EQ(full({1}, 255.5, DType::u8).to_vector<uint8_t>()[0], 255);
  EXPECT_EQ(Tensor::scalar(-2147483648.0, DType::i32).item(), -2147483648.0);
}

TEST(Views, OfExtremeExtentsAreRightOrRefused) {
  const Tensor x = arange(5);
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();
  for (const int64_t step : {kMost, kMost - 1, int64_t{5}})
    EXPECT_EQ(slice(x, 0, 1, 5, step).to_vector<float>(), std::vector<float>{1}) << step;
  for (const int64_t step : {kLeast, kLeast + 1, int64_t{-5}})
    EXPECT_EQ(slice(x, 0, 3, kLeast, step).to_vector<float>(), std::vector<float>{3}) << step;
  EXPECT_EQ(slice(x, 0, kLeast, kMost).size(), 5);
  EXPECT_EQ(slice(x, 0, 4, 4, kMost).size(), 0);
  EXPECT_THROW(pad(x, 0, kMost, 1), ShapeError);
  EXPECT_THROW(pad(x, 0, kMost / 2, kMost / 2), ShapeError);
  EXPECT_THROW(expand(zeros({1, 1}), {int64_t{1} << 40, int64_t{1} << 40}), ShapeError);
  EXPECT_THROW(arange(int64_t{1} << 61), ShapeError);
}

}  // namespace
}  // namespace mollify
