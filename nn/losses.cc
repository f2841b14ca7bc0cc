#include <mollify/nn/losses.h>

namespace mollify::nn {

Tensor mean_cross_entropy(const Tensor& logits, const Tensor& labels) { return mean(cross_entropy(logits, labels)); }

Tensor mean_squared_error(const Tensor& outputs, const Tensor& labels_or_targets) {
  require(outputs.rank() > 0, "mean_squared_error: outputs are one number; needs a row for each example");
  Tensor targets = labels_or_targets;
  if (!is_floating(targets.dtype())) targets = one_hot(targets, outputs.dim(-1), outputs.dtype());
  // Broadcasting [B] against [B, 1] would be a sum over pairs of examples.
  if (targets.shape() == Shape{outputs.dim(0)} && targets.size() == outputs.size())
    targets = reshape(targets, outputs.shape());
  require(targets.shape() == outputs.shape(),
          "mean_squared_error: outputs are {}, targets {}; needs the same shape, or labels of integers",
          outputs.shape(), targets.shape());
  return sum_of_squares(outputs - targets) / static_cast<double>(outputs.dim(0));
}

double accuracy(const Tensor& outputs, const Tensor& labels) {
  if (labels.size() == 0) return 0;
  const Tensor choices = argmax(outputs);
  Shape column = choices.shape();
  column.push_back(1);
  require(labels.shape() == choices.shape() || labels.shape() == column,
          "accuracy: outputs are {}, labels {}; needs one label per row", outputs.shape(), labels.shape());
  return mean(cast(equal(choices, reshape(labels, choices.shape())), DType::f64)).item();
}

}  // namespace mollify::nn
