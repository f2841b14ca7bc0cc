// Every row captured: what is replayed has the bits of what is run, values and gradients, on inputs that the capture
// never saw.
#include "row_test.h"

#include <mollify/engine/plan.h>

namespace mollify::op_table {
namespace {

class CapturedRow : public RowTest {};
MOLLIFY_FOR_ROWS(CapturedRow, true);

// Values, then the gradients of the floating ones where there are any.
Tensors values_and_gradients(const Row& row, const Case& c, const Tensors& inputs) {
  if (!row.differentiable) return c.run(inputs);
  const Tensors variables = variables_of(inputs), outputs = c.run(variables), floating = floating_of(outputs);
  Tensors seeds(floating.size());
  for (size_t i = 0; i < seeds.size(); ++i) seeds[i] = cos(floating[i].detach());
  const Tensors gradients = vjp_of(floating, seeds, variables, false);
  Tensors all(outputs.size() + gradients.size());
  for (size_t i = 0; i < outputs.size(); ++i) all[i] = outputs[i];
  for (size_t i = 0; i < gradients.size(); ++i) all[outputs.size() + i] = gradients[i];
  return all;
}

TEST_P(CapturedRow, GivesTheSameBits) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Case& c : row().cases) {
      SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
      Captured captured = capture([&](const Tensors& inputs) { return values_and_gradients(row(), c, inputs); });
      for (uint64_t seed = 0; seed < 4; ++seed) {  // runs as it is, captures, replays, replays
        SCOPED_TRACE(seed);
        const Tensors inputs = tensors_of(sample(row(), c.shapes, dtype, seed));
        const Tensors got = captured(inputs);
        expect_equal_bits(got, values_and_gradients(row(), c, inputs));
      }
      EXPECT_EQ(captured.plans().size(), 1u);
    }
}

}  // namespace
}  // namespace mollify::op_table
