// Every row on CUDA: values against the reference, gradients against the CPU's, any layout, NaN, and the same bits
// every time.
#include "row_test.h"

#include "../devices.h"

#include <mollify/engine/plan.h>

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

Tensors on(Device device, const Tensors& tensors) {
  Tensors out(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) out[i] = to(tensors[i], device);
  return out;
}

Tensor transpose_all(const Tensor& x) {
  std::vector<int> reversed;
  for (int axis = x.rank(); axis-- > 0;) reversed.push_back(axis);
  return permute(x, std::span<const int>(reversed));
}

// One test for each row where there is a device; without one, a single test that says so.
class OnCuda : public RowTest {
 protected:
  void SetUp() override { MOLLIFY_SKIP_WITHOUT_CUDA(); }
  // What rounds differently there may be off by the CPU's tolerance once more.
  double ulps() const { return 2 * row().ulps; }
  template <class F>
  void for_inputs(const F& f) const {
    for (const DType dtype : {DType::f32, DType::f64})
      for (const Case& c : row().cases) {
        SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
        f(c, sample(row(), c.shapes, dtype));
      }
  }
};
INSTANTIATE_TEST_SUITE_P(Row, OnCuda,
                         cuda::available() ? rows_where([](const Row&) { return true; })
                                           : ::testing::ValuesIn(std::vector<size_t>{0}),
                         name_of_row);

TEST_P(OnCuda, ValuesAreTheReference) {
  for_inputs([&](const Case& c, const Arrays& inputs) {
    const Tensors got = c.run(on(Device::cuda, tensors_of(inputs)));
    const Arrays expected = c.reference(inputs);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].device(), Device::cuda);
      EXPECT_EQ(difference(array_of(got[i]), expected[i], ulps(), scale_of(row(), expected[i])), "") << "output " << i;
    }
  });
}

TEST_P(OnCuda, GradientsAreTheCpus) {
  if (!row().differentiable) return;
  for_inputs([&](const Case& c, const Arrays& inputs) {
    const Tensors wanted = pulled_back(c, tensors_of(inputs), 31);
    const Tensors variables = variables_of(on(Device::cuda, tensors_of(inputs)));
    const Tensors outputs = floating_of(c.run(variables));
    const Tensors got = vjp_of(outputs, on(Device::cuda, random_like(outputs, 31)), variables, false);
    for (size_t j = 0; j < got.size(); ++j) {
      const Array expected = array_of(wanted[j]);
      EXPECT_EQ(difference(array_of(got[j]), expected, 4 * ulps() * row().slack, largest(expected) + 1), "")
          << "input " << j;
    }
  });
}

// Several blocks, several launches.
TEST_P(OnCuda, LargeValuesAreTheCpus) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Case& c : row().large) {
      SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
      const Tensors inputs = tensors_of(sample(row(), c.shapes, dtype));
      const Tensors got = c.run(on(Device::cuda, inputs)), wanted = c.run(inputs);
      for (size_t i = 0; i < got.size(); ++i) {
        const Array expected = array_of(wanted[i]);
        EXPECT_EQ(
            difference(array_of(got[i]), expected, (row().elementwise() ? 1 : 16) * ulps(), scale_of(row(), expected)),
            "")
            << "output " << i;
      }
    }
}

TEST_P(OnCuda, StoredAnyWay) {
  for_inputs([&](const Case& c, const Arrays& inputs) {
    const Tensors packed_inputs = on(Device::cuda, tensors_of(inputs)), wanted = c.run(packed_inputs);
    Tensors strided(packed_inputs.size());
    for (size_t j = 0; j < strided.size(); ++j) {
      Tensor x = packed_inputs[j];
      for (int axis = 0; axis < x.rank(); ++axis) x = flip(x, axis);
      x = transpose_all(packed(transpose_all(packed(x))));
      for (int axis = 0; axis < x.rank(); ++axis) x = flip(x, axis);
      strided[j] = x;
    }
    const Tensors got = c.run(strided);
    for (size_t i = 0; i < got.size(); ++i) {
      const Array expected = array_of(wanted[i]);
      EXPECT_EQ(difference(array_of(got[i]), expected, row().elementwise() ? 0 : ulps(), scale_of(row(), expected)), "")
          << "output " << i;
    }
  });
}

TEST_P(OnCuda, NaNsReachWhatTheyShould) {
  if (row().label == "to_i32") return;  // an integer cannot be NaN
  for_inputs([&](const Case& c, Arrays inputs) {
    for (size_t j = 0; j < c.shapes.size(); ++j) {
      if (c.shapes[j].size() == 0 || c.shapes[j].size() > 100) continue;
      Arrays with = inputs;
      with[j].values[with[j].values.size() / 2] = std::numeric_limits<double>::quiet_NaN();
      const Arrays got = arrays_of(c.run(on(Device::cuda, tensors_of(with)))), expected = c.reference(with);
      for (size_t i = 0; i < got.size(); ++i)
        for (size_t k = 0; k < got[i].values.size(); ++k) {
          const bool is_nan = std::isnan(got[i].values[k]), wanted = std::isnan(expected[i].values[k]);
          EXPECT_TRUE(is_nan == wanted || (is_nan && row().zero_times_nan))
              << "NaN in input " << j << ": output " << i << ", element " << k;
        }
    }
  });
}

TEST_P(OnCuda, SameBitsTwiceAndCaptured) {
  for_inputs([&](const Case& c, const Arrays& inputs) {
    const Tensors x = on(Device::cuda, tensors_of(inputs)), once = c.run(x);
    expect_equal_bits(c.run(x), once);
    Captured captured = capture([&](const Tensors& in) { return c.run(in); });
    for (int i = 0; i < 4; ++i) expect_equal_bits(captured(x), once);
  });
}

}  // namespace
}  // namespace mollify::op_table
