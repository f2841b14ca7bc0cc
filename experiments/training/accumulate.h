// Losses of batches that are too large to be recorded at once.
#pragma once

#include <mollify/engine/ops.h>

#include <functional>

namespace mollify::experiments {

// The mean of `loss` over a batch as a function of weights that holds the record of `rows` of its rows at a time: each
// part counts by its share of the rows. Inputs whose leading axis is not the first one's stay whole. Its value and its
// first gradient are right; it has no second one. `loss` is given the weights, the part's inputs and its number, from
// 0.
Tensor mean_over_parts(const Tensor& weights, const Tensors& inputs, int64_t rows,
                       const std::function<Tensor(const Tensor& weights, const Tensors& part, int64_t number)>& loss);

}  // namespace mollify::experiments
