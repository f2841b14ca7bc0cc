// Values of every row: against the reference, at the edges of arithmetic, with NaN among the inputs.
#include "row_test.h"

#include <hwy/targets.h>

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

class Values : public RowTest {
 protected:
  void expect_reference() const {
    for (const DType dtype : {DType::f32, DType::f64})
      for (const Case& c : row().cases) {
        SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
        const Arrays inputs = sample(row(), c.shapes, dtype);
        expect_close(row(), arrays_of(c.run(tensors_of(inputs))), c.reference(inputs));
      }
  }
};
MOLLIFY_FOR_ROWS(Values, true);

class NaNs : public RowTest {};
MOLLIFY_FOR_ROWS(NaNs, row.label != "to_i32");  // an integer cannot be NaN: errors_test has it refused

TEST_P(Values, AreTheReference) { expect_reference(); }

TEST_P(Values, AreTheReferenceOnEverySimdTarget) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    expect_reference();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// A NaN at the first, a middle or the last element of each input reaches what the reference says it reaches.
TEST_P(NaNs, ReachWhatTheyShould) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Case& c : row().cases) {
      for (size_t j = 0; j < c.shapes.size(); ++j)
        for (const int64_t place : {int64_t{0}, c.shapes[j].size() / 2, c.shapes[j].size() - 1}) {
          if (c.shapes[j].size() == 0 || place < 0 || c.shapes[j].size() > 100) continue;
          SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype) + " NaN in input " + std::to_string(j) + " at " +
                       std::to_string(place));
          Arrays inputs = sample(row(), c.shapes, dtype);
          inputs[j].values[static_cast<size_t>(place)] = std::numeric_limits<double>::quiet_NaN();
          const Arrays got = arrays_of(c.run(tensors_of(inputs)));
          Arrays expected = c.reference(inputs);
          ASSERT_EQ(got.size(), expected.size());
          for (size_t i = 0; i < got.size(); ++i)
            for (size_t k = 0; k < got[i].values.size(); ++k) {
              const bool is_nan = std::isnan(got[i].values[k]), wanted = std::isnan(expected[i].values[k]);
              EXPECT_TRUE(is_nan == wanted || (is_nan && row().zero_times_nan))
                  << "output " << i << ", element " << k << " is " << got[i].values[k];
            }
        }
    }
}

class Elementwise : public RowTest {};
MOLLIFY_FOR_ROWS(Elementwise, row.elementwise());

std::vector<double> edges(DType dtype) {
  const bool single = dtype == DType::f32;
  using F = std::numeric_limits<float>;
  using D = std::numeric_limits<double>;
  const double largest = single ? F::max() : D::max(), least_normal = single ? F::min() : D::min(),
               least = single ? F::denorm_min() : D::denorm_min();
  return {D::quiet_NaN(), D::infinity(), -D::infinity(), 0.0,          -0.0,          1,     -1,    0.5, -2.5, 3, 30,
          -200,           largest,       -largest,       least_normal, -least_normal, least, -least};
}

// All combinations of NaN, infinities, zeros, the largest and least numbers.
TEST_P(Elementwise, HasIeeeValuesAtTheEdges) {
  const size_t count = row().cases[0].shapes.size();
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<double> values = edges(dtype);
    size_t combinations = 1;
    for (size_t j = 0; j < count; ++j) combinations *= values.size();
    Arrays inputs(count, Array{{static_cast<int64_t>(combinations)}, {}, dtype});
    for (size_t i = 0; i < combinations; ++i)
      for (size_t j = 0, rest = i; j < count; ++j, rest /= values.size())
        inputs[j].values.push_back(values[rest % values.size()]);
    const Array got = array_of(row().cases[0].run(tensors_of(inputs))[0]);
    for (size_t i = 0; i < combinations; ++i) {
      double element[3];
      bool any_nan = false;
      std::string text;
      for (size_t j = 0; j < count; ++j) {
        element[j] = inputs[j].values[i];
        any_nan |= std::isnan(element[j]);
        text += format(" {}", element[j]);
      }
      const Array one{{}, {got.values[i]}, got.dtype}, expected{{}, {row().scalar(element)}, got.dtype};
      EXPECT_EQ(difference(one, expected, row().ulps, 0), "") << to_string(dtype) << " of" << text;
      EXPECT_TRUE(!any_nan || row().selects || std::isnan(got.values[i]))
          << to_string(dtype) << " of" << text << " is " << got.values[i];
    }
  }
}

}  // namespace
}  // namespace mollify::op_table
