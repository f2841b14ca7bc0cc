// Losses of batches that are too large to be recorded at once.
#pragma once

#include <mollify/engine/ops.h>

#include <functional>

namespace mollify::experiments {

// Rows `first` to `first + count` of those inputs whose leading axis is the batch's, that of the first one: views. The
// others stay.
Tensors rows_of(const Tensors& inputs, int64_t first, int64_t count);

// The mean of `loss` over a batch as a function of weights that holds the record of `rows` of its rows at a time: each
// part counts by its share of the rows. Its value and its first gradient are right; it has no second one. `loss` is
// given the weights, the part's inputs and its number, from 0.
Tensor mean_over_parts(const Tensor& weights, const Tensors& inputs, int64_t rows,
                       const std::function<Tensor(const Tensor& weights, const Tensors& part, int64_t number)>& loss);

}  // namespace mollify::experiments
