// What must be refused, and how the text says it.
#include "row_test.h"

#include <limits>

namespace mollify::op_table {
namespace {

// Expects an E whose text names the operation and holds all of `parts`.
template <class E, class F>
void expect_refused(const std::string& name, const std::vector<std::string>& parts, const F& f) {
  try {
    f();
    ADD_FAILURE() << name << " took it";
  } catch (const E& e) {
    const std::string text = e.what();
    EXPECT_EQ(text.find(name), 0u) << text;
    EXPECT_NE(text.find("; "), std::string::npos) << text << ": does not say what is needed";
    for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << text << ": lacks " << part;
  } catch (const std::exception& e) {
    ADD_FAILURE() << name << " threw another exception: " << e.what();
  }
}

class Errors : public RowTest {};
MOLLIFY_FOR_ROWS(Errors, true);

TEST_P(Errors, NameTheShapesThatDoNotFit) {
  for (const Misfit& misfit : row().misfits) {
    SCOPED_TRACE(describe(misfit.shapes));
    const Tensors inputs = tensors_of(sample(row(), misfit.shapes, DType::f32));
    std::vector<std::string> shapes;
    for (size_t j = 0; j < std::min<size_t>(2, misfit.shapes.size()); ++j)
      shapes.push_back(to_string(misfit.shapes[j]));
    expect_refused<ShapeError>(row().error_name(), shapes, [&] { misfit.run(inputs); });
  }
}

class RefusingErrors : public RowTest {};
MOLLIFY_FOR_ROWS(RefusingErrors, !row.takes_integers);

TEST_P(RefusingErrors, NameTheOperationThatTakesNoIntegers) {
  const Case& c = row().cases[0];
  Tensors inputs(c.shapes.size());
  for (size_t j = 0; j < inputs.size(); ++j) inputs[j] = full(c.shapes[j], 1, DType::i32);
  expect_refused<TypeError>(row().type_error_name(), {"i32"}, [&] { c.run(inputs); });
}

class MixingErrors : public RowTest {};
MOLLIFY_FOR_ROWS(MixingErrors, row.cases[0].shapes.size() > 1);

TEST_P(MixingErrors, NameTheDtypesThatDiffer) {
  const Case& c = row().cases[0];
  const size_t first = row().name == "where" ? 1 : 0;  // where's first input here only makes the condition
  for (size_t j = first + 1; j < c.shapes.size(); ++j) {
    Tensors inputs = tensors_of(sample(row(), c.shapes, DType::f32));
    inputs[j] = cast(inputs[j], DType::f64);
    expect_refused<TypeError>(row().type_error_name(), {"f32", "f64"}, [&] { c.run(inputs); });
  }
}

TEST(SingleErrors, OfEmptyTensors) {
  expect_refused<GraphError>("exp", {"empty"}, [] { exp(Tensor()); });
  expect_refused<GraphError>("matmul", {"input 1"}, [] { matmul(ones({2, 2}), Tensor()); });
}

TEST(SingleErrors, OfNumbersOutOfRange) {
  const Tensor x = ones({1, 4, 4, 1}), step = Tensor::scalar(0, DType::i32);
  expect_refused<ValueError>("dropout", {"1"}, [&] { dropout(x, 1.0, {}, step); });
  expect_refused<ValueError>("dropout", {"-0.5"}, [&] { dropout(x, -0.5, {}, step); });
  expect_refused<ValueError>("top_k", {"-1"}, [&] { top_k(x, -1); });
  expect_refused<ValueError>("batch_norm", {"-1"}, [&] { batch_norm(x, ones({1}), ones({1}), -1); });
  expect_refused<ValueError>("conv2d", {"strides 0"}, [&] { conv2d(x, ones({1, 1, 1, 1}), {}, {.stride_height = 0}); });
  expect_refused<ValueError>("conv2d", {"padding"}, [&] { conv2d(x, ones({1, 1, 1, 1}), {}, {.pad_left = -1}); });
  expect_refused<ShapeError>("conv2d", {"3 groups"}, [&] { conv2d(x, ones({2, 1, 1, 1}), {}, {.groups = 3}); });
  expect_refused<ValueError>("average_pool2d", {"window 0"}, [&] { average_pool2d(x, {.kernel_height = 0}); });
  expect_refused<ValueError>("max_pool2d", {"padding 2"}, [&] { max_pool2d(x, {.pad_top = 2}); });
}

TEST(SingleErrors, OfIndices) {
  const Tensor x = ones({2, 3});
  const Tensor negative = Tensor::from(std::vector<int32_t>{0, -1}, {2, 1}),
               large = Tensor::from(std::vector<int32_t>{0, 3}, {2, 1});
  expect_refused<ValueError>("gather", {"-1", "[2, 3]"}, [&] { gather(x, negative); });
  expect_refused<ValueError>("gather", {"3", "[2, 3]"}, [&] { gather(x, large); });
  expect_refused<ValueError>("scatter_add", {"3"}, [&] { scatter_add({2, 3}, large, ones({2, 1})); });
  expect_refused<ValueError>("one_hot", {"-1"}, [&] { one_hot(negative, 3); });
  expect_refused<TypeError>("gather", {"f32"}, [&] { gather(x, ones({2, 1})); });
  expect_refused<TypeError>("one_hot", {"f32"}, [&] { one_hot(x, 3); });
  expect_refused<TypeError>("one_hot", {"i32"}, [&] { one_hot(negative, 3, DType::i32); });
  expect_refused<TypeError>("cross_entropy", {"f32"}, [&] { cross_entropy(x, ones({2})); });
  expect_refused<ShapeError>("cross_entropy", {"[2, 3]", "[2, 1]"}, [&] { cross_entropy(x, negative); });
  expect_refused<ShapeError>("take", {"[2, 1]"}, [&] { take(x, negative); });
  expect_refused<TypeError>("where", {"f32"}, [&] { where(x, x, x); });
}

TEST(SingleErrors, OfAxes) {
  const Tensor x = ones({2, 3});
  expect_refused<ShapeError>("sum", {"axis 2"}, [&] { sum(x, {2}); });
  expect_refused<ShapeError>("logsumexp", {"axis -3"}, [&] { logsumexp(x, -3); });
  expect_refused<ShapeError>("cumsum", {"axis 5"}, [&] { cumsum(x, 5); });
  expect_refused<ShapeError>("flip", {"axis 2"}, [&] { flip(x, 2); });
  expect_refused<ShapeError>("transpose", {"axis"}, [&] { transpose(ones({3})); });
  expect_refused<ShapeError>("concat", {"no tensors"}, [] { concat({}); });
  expect_refused<ShapeError>("max", {"[0]"}, [] { max(ones({0})); });
  expect_refused<ShapeError>("arange", {"-1"}, [] { arange(-1); });
}

TEST(SingleErrors, OfPositions) {
  expect_refused<ValueError>("positions", {"2 after 2", "vector of 3"}, [] { Positions({0, 2, 2}, 3); });
  expect_refused<ValueError>("positions", {"3 after -1", "vector of 3"}, [] { Positions({3}, 3); });
  expect_refused<ValueError>("positions", {"-1 after"}, [] { Positions({-1}, 3); });
  expect_refused<ValueError>("positions", {"2147483648"}, [] { Positions({}, int64_t{1} << 31); });
  expect_refused<ShapeError>("put", {"[2]", "[5]"}, [] { put(ones({5}), Positions({1}, 5), ones({2})); });
  expect_refused<ShapeError>("sparse_dense", {"[2]", "[2, 3]"}, [] {
    sparse_dense(ones({2, 3}), Positions({1}, 4), ones({2}));
  });
}

TEST(SingleErrors, OfCasts) {
  for (const double value :
       {256.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    expect_refused<ValueError>("cast", {"u8"}, [&] { cast(Tensor::scalar(value, DType::f64), DType::u8); });
  expect_refused<ValueError>("cast", {"i32"}, [] { cast(Tensor::scalar(2147483648.0, DType::f64), DType::i32); });
  EXPECT_EQ(cast(Tensor::scalar(-2147483648.9, DType::f64), DType::i32).item(), -2147483648.0);
  EXPECT_EQ(cast(Tensor::scalar(255.9), DType::u8).item(), 255);
  EXPECT_EQ(cast(Tensor::scalar(-0.9), DType::u8).item(), 0);
}

TEST(SingleErrors, OfUpdates) {
  const Tensor w = ones({3, 2}), one = Tensor::scalar(1);
  const SgdStep how{one, one, one};
  expect_refused<ShapeError>("sgd_step", {"strides", "packed"}, [&] { sgd_step(transpose(w), transpose(w), {}, how); });
  expect_refused<ShapeError>("adam_step", {"strides", "packed"}, [&] {
    adam_step(w, w, slice(ones({3, 4}), 1, 0, 4, 2), ones({3, 2}), {one, one, one, one, one, one, one});
  });
}

}  // namespace
}  // namespace mollify::op_table
