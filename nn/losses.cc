#include <mollify/nn/losses.h>

namespace mollify::nn {

Tensor mean_cross_entropy(const Tensor& logits, const Tensor& labels) { return mean(cross_entropy(logits, labels)); }

Tensor mean_squared_error(const Tensor& outputs, const Tensor& labels) {
  return sum_of_squares(outputs - one_hot(labels, outputs.dim(-1), outputs.dtype())) / static_cast<double>(outputs.dim(0));
}

double accuracy(const Tensor& outputs, const Tensor& labels) {
  if (labels.size() == 0) return 0;
  return mean(cast(equal(argmax(outputs), labels), DType::f64)).item();
}

}  // namespace mollify::nn
