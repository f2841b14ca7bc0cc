// Where the elements lie must not matter: transposed, sliced, flipped and repeated inputs give what packed ones give.
#include "row_test.h"

#include <memory>

namespace mollify::op_table {
namespace {

// The same values, stored with the axes in reverse order.
Tensor stored_transposed(const Tensor& x) {
  std::vector<int> reversed;
  for (int axis = x.rank(); axis-- > 0;) reversed.push_back(axis);
  return permute(packed(permute(x, std::span<const int>(reversed))), std::span<const int>(reversed));
}

// Every second element of something longer along every axis, from an offset.
Tensor stored_with_gaps(const Tensor& x) {
  Tensor out = x;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const int64_t extent = x.shape()[axis];
    const Tensor pairs = stack(Tensors{zeros_like(out), out}, axis + 1);
    Shape doubled = out.shape();
    doubled[axis] = 2 * extent;
    out = slice(reshape(pairs, doubled), axis, 1, 2 * extent, 2);
  }
  return out;
}

// Every axis stored backwards.
Tensor stored_flipped(const Tensor& x) {
  Tensor out = x;
  for (int axis = 0; axis < x.rank(); ++axis) out = flip(out, axis);
  out = packed(out);
  for (int axis = 0; axis < x.rank(); ++axis) out = flip(out, axis);
  return out;
}

const std::pair<const char*, Tensor (*)(const Tensor&)> kStorages[] = {
    {"transposed", stored_transposed}, {"with gaps", stored_with_gaps}, {"flipped", stored_flipped}};

class Layouts : public RowTest {
 protected:
  // Calls f with each case and its inputs. Storing with gaps takes an axis more.
  template <class F>
  void for_inputs(const F& f) const {
    for (const DType dtype : {DType::f32, DType::f64})
      for (const Case& c : row().cases) {
        SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
        bool fits = true;
        for (const Shape& shape : c.shapes) fits &= shape.rank() < kMaxRank;
        if (fits) f(c, tensors_of(sample(row(), c.shapes, dtype, 2)));
      }
  }
  void expect_same(const Tensors& got, const Tensors& wanted) const {
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const Array expected = array_of(wanted[i]);
      EXPECT_EQ(difference(array_of(got[i]), expected, row().elementwise() ? 0 : row().ulps, scale_of(row(), expected)),
                "")
          << "output " << i;
    }
  }
};
MOLLIFY_FOR_ROWS(Layouts, true);

TEST_P(Layouts, OfInputsDoNotMatter) {
  for_inputs([&](const Case& c, const Tensors& inputs) {
    const Tensors wanted = c.run(inputs);
    for (const auto& [name, stored] : kStorages) {
      SCOPED_TRACE(name);
      Tensors all(inputs.size());
      for (size_t j = 0; j < inputs.size(); ++j) {
        all[j] = stored(inputs[j]);
        Tensors one = inputs;
        one[j] = all[j];
        if (inputs.size() > 1) expect_same(c.run(one), wanted);
      }
      expect_same(c.run(all), wanted);
    }
  });
}

// One vector repeated along an axis: the values, and the gradient, which adds up over the repetitions.
TEST_P(Layouts, OfRepeatedInputsDoNotMatter) {
  for_inputs([&](const Case& c, const Tensors& inputs) {
    for (size_t j = 0; j < inputs.size(); ++j)
      for (int axis = 0; axis < inputs[j].rank(); ++axis) {
        const Shape& shape = inputs[j].shape();
        if (shape[axis] < 2) continue;
        SCOPED_TRACE("input " + std::to_string(j) + " repeated along " + std::to_string(axis));
        const Tensor line = slice(inputs[j], axis, 0, 1);
        Tensors repeated = inputs, stored = inputs;
        repeated[j] = expand(line, shape);
        stored[j] = packed(repeated[j]);
        const Tensors wanted = c.run(stored);
        expect_same(c.run(repeated), wanted);
        if (!row().differentiable) continue;
        const Tensor x = variable(packed(line));
        repeated[j] = expand(x, shape);
        const Tensors outputs = floating_of(c.run(repeated)), seeds = random_like(outputs, 29);
        const Tensor gradient = vjp_of(outputs, seeds, {x}, false)[0];
        const Tensor y = variable(stored[j]);
        stored[j] = y;
        const Tensor terms = vjp_of(floating_of(c.run(stored)), seeds, {y}, false)[0];
        const Array expected = array_of(sum(terms, {axis}, true));
        EXPECT_EQ(difference(array_of(gradient), expected, 4 * row().ulps,
                             largest(array_of(terms)) * static_cast<double>(shape[axis]) + 1),
                  "");
      }
  });
}

class StridedGradients : public Layouts {};
MOLLIFY_FOR_ROWS(StridedGradients, row.differentiable);

TEST_P(StridedGradients, AreThoseOfPackedInputs) {
  for_inputs([&](const Case& c, const Tensors& inputs) {
    const Tensors wanted = pulled_back(c, inputs, 31);
    for (const auto& [name, stored] : kStorages) {
      SCOPED_TRACE(name);
      Tensors strided(inputs.size());
      for (size_t j = 0; j < inputs.size(); ++j) strided[j] = stored(inputs[j]);
      const Tensors variables = variables_of(strided);
      const Tensors outputs = floating_of(c.run(variables));
      Tensors seeds = random_like(outputs, 31);
      for (Tensor& seed : seeds)
        if (seed.rank() < kMaxRank) seed = stored(seed);
      const Tensors got = vjp_of(outputs, seeds, variables, false);
      for (size_t j = 0; j < got.size(); ++j) {
        const Array expected = array_of(wanted[j]);
        EXPECT_EQ(difference(array_of(got[j]), expected, 4 * row().ulps, largest(expected) + 1), "") << "input " << j;
      }
    }
  });
}

// Rules of operations that are linear in the rows of input 0: k·B rows of a gradient are k gradients of B rows.
bool has_row_cases(const Row& row) {
  return std::any_of(row.cases.begin(), row.cases.end(), [](const Case& c) { return c.rows; });
}

class RowsOfGradients : public RowTest {};
MOLLIFY_FOR_ROWS(RowsOfGradients, has_row_cases(row));

// Follows input 0 from the output down to the variable, as a reader of the record does.
Tensor pulled_through(const Tensor& output, Tensor gradient) {
  Tensor t = output;
  while (t.node()->op->shape != nullptr) {  // a variable has no shape rule
    const Node& node = *t.node();
    const Tensors gradients{gradient}, no_outputs(1);
    const auto needed = std::make_unique<bool[]>(node.inputs.size());
    needed[0] = true;
    gradient = node.op->vjp(VjpArguments(node, gradients, no_outputs, {needed.get(), node.inputs.size()}))[0];
    t = node.inputs[0];
  }
  return gradient;
}

TEST_P(RowsOfGradients, OfSeveralBatchesAreThoseOfEach) {
  for (const Case& c : row().cases) {
    if (!c.rows) continue;
    SCOPED_TRACE(describe(c.shapes));
    Tensors inputs = tensors_of(sample(row(), c.shapes, DType::f64, 3));
    inputs[0] = variable(inputs[0]);
    const Tensor output = c.run(inputs)[0];
    Tensors gradients(3), wanted(3);
    for (size_t k = 0; k < 3; ++k) {
      gradients[k] = random_like({output}, 40 + k)[0];
      wanted[k] = vjp_of({output}, {gradients[k]}, {inputs[0]}, false)[0];
    }
    const Array expected = array_of(concat(wanted));
    EXPECT_EQ(difference(array_of(pulled_through(output, concat(gradients))), expected, 64, largest(expected) + 1), "");
  }
}

}  // namespace
}  // namespace mollify::op_table
