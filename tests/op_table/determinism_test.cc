// Results do not depend on the number of threads: values and gradients of large inputs, bit by bit.
#include "row_test.h"

#include <mollify/engine/cpu/threads.h>

namespace mollify::op_table {
namespace {

class Threads : public RowTest {
 protected:
  ~Threads() override { set_num_threads(before_); }

 private:
  int before_ = num_threads();
};
MOLLIFY_FOR_ROWS(Threads, !row.large.empty());

TEST_P(Threads, DoNotChangeABit) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Case& c : row().large) {
      SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
      const Tensors inputs = tensors_of(sample(row(), c.shapes, dtype, 4));
      Tensors values, gradients;
      for (const int count : {1, 2, 4}) {
        SCOPED_TRACE(count);
        set_num_threads(count);
        const Tensors new_values = c.run(inputs);
        const Tensors new_gradients = row().differentiable ? pulled_back(c, inputs, 53) : Tensors();
        if (count > 1) {
          expect_equal_bits(new_values, values);
          expect_equal_bits(new_gradients, gradients);
        }
        values = new_values;
        gradients = new_gradients;
      }
    }
}

}  // namespace
}  // namespace mollify::op_table
