// Losses of a batch: scalars, the mean over its rows.
#pragma once

#include <mollify/engine/ops.h>

#pragma GCC visibility push(default)
namespace mollify::nn {

// Mean cross-entropy of logits [B, classes] and labels i32 [B].
Tensor mean_cross_entropy(const Tensor& logits, const Tensor& labels);

// Mean over the batch of ‖output − one_hot(label)‖², labels i32 [B]: what smooths in closed form. Targets of real
// numbers are taken as they are: of the outputs' shape, or, where an output is one number, [B]. Throws ShapeError.
Tensor mean_squared_error(const Tensor& outputs, const Tensor& labels_or_targets);

// Share of rows whose largest output is the label's; labels [B] or [B, 1]. Throws ShapeError. 0 of no labels.
double accuracy(const Tensor& outputs, const Tensor& labels);

}  // namespace mollify::nn
#pragma GCC visibility pop
