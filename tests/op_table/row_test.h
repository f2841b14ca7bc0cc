// What the generic tests over the table share.
#pragma once

#include "op_table.h"

#include <mollify/engine/grad.h>

#include <gtest/gtest.h>

namespace mollify::op_table {

// A test for each row; the parameter is the row's number in the table.
class RowTest : public ::testing::TestWithParam<size_t> {
 protected:
  const Row& row() const { return table()[GetParam()]; }
};

inline auto rows_where(bool (*wanted)(const Row&)) {
  std::vector<size_t> numbers;
  for (size_t i = 0; i < table().size(); ++i)
    if (wanted(table()[i])) numbers.push_back(i);
  return ::testing::ValuesIn(numbers);
}
inline std::string name_of_row(const ::testing::TestParamInfo<size_t>& info) {
  return test_name(table()[info.param], info.param);
}

#define MOLLIFY_FOR_ROWS(suite, condition)                                                                    \
  INSTANTIATE_TEST_SUITE_P(Row, suite, rows_where([]([[maybe_unused]] const Row& row) { return condition; }), \
                           name_of_row)

inline std::string describe(const std::vector<Shape>& shapes) {
  std::string text = "inputs";
  for (const Shape& shape : shapes) text += " " + to_string(shape);
  return text;
}

// Scale of the tolerance: values of an elementwise operation are right one by one, others in proportion to the largest.
inline double scale_of(const Row& row, const Array& expected) {
  return row.elementwise() ? 0 : std::max(1.0, largest(expected));
}

inline void expect_close(const Row& row, const Arrays& got, const Arrays& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_EQ(difference(got[i], expected[i], row.ulps, scale_of(row, expected[i])), "") << "output " << i;
}

inline void expect_equal_bits(const Tensors& a, const Tensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(difference(array_of(a[i]), array_of(b[i]), 0, 0), "") << "output " << i;
}

inline bool all_empty(const Case& c) {
  return std::all_of(c.shapes.begin(), c.shapes.end(), [](const Shape& shape) { return shape.size() == 0; });
}

// New variables of the values.
inline Tensors variables_of(const Tensors& values) {
  Tensors out(values.size());
  for (size_t i = 0; i < values.size(); ++i) out[i] = variable(values[i]);
  return out;
}

// The outputs that have gradients.
inline Tensors floating_of(const Tensors& outputs) {
  std::vector<Tensor> kept;
  for (const Tensor& output : outputs)
    if (is_floating(output.dtype())) kept.push_back(output);
  return Tensors(std::span<const Tensor>(kept));
}

inline Tensors random_like(const Tensors& tensors, uint64_t seed) {
  Tensors out(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    out[i] = tensor_of(random_array(tensors[i].shape(), tensors[i].dtype(), seed + i));
  return out;
}

inline double dot(const Tensors& a, const Tensors& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const Array x = array_of(a[i]), y = array_of(b[i]);
    for (size_t j = 0; j < x.values.size(); ++j) total += x.values[j] * y.values[j];
  }
  return total;
}

// Gradients of Σ seeds·outputs with respect to fresh variables of the inputs.
inline Tensors pulled_back(const Case& c, const Tensors& inputs, uint64_t seed, bool create_graph = false) {
  const Tensors variables = variables_of(inputs);
  const Tensors outputs = floating_of(c.run(variables));
  return vjp_of(outputs, random_like(outputs, seed), variables, create_graph);
}

}  // namespace mollify::op_table
