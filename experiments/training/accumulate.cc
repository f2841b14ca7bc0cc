#include <mollify/experiments/training/accumulate.h>

#include <mollify/engine/grad.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

// Rows `first` to `first + count` of those inputs whose leading axis is the batch's, that of the first one: views. The
// others stay.
Tensors rows_of(const Tensors& inputs, int64_t first, int64_t count) {
  Tensors part(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& input = inputs[i];
    const bool of_rows = input.rank() > 0 && input.dim(0) == inputs[0].dim(0);
    part[i] = of_rows ? slice(input, 0, first, first + count) : input;
  }
  return part;
}

}  // namespace

// The value is that of the parts; the gradient g is attached by a term (w − w')·g that is zero, w' being w without its
// history.
Tensor mean_over_parts(const Tensor& weights, const Tensors& inputs, int64_t rows,
                       const std::function<Tensor(const Tensor& weights, const Tensors& part, int64_t number)>& loss) {
  const int64_t all = inputs[0].dim(0);
  const Tensor point = weights.detach();
  Tensor value = Tensor::scalar(0, weights.dtype()), gradient = zeros_like(point);
  for (int64_t first = 0; first < all; first += rows) {
    const int64_t count = std::min(rows, all - first);
    const Tensors part = rows_of(inputs, first, count);
    const double share = static_cast<double>(count) / static_cast<double>(all);
    const auto part_loss = [&](const Tensor& w) { return loss(w, part, first / rows) * share; };
    if (!is_recording()) {
      value = value + part_loss(point);
      continue;
    }
    const auto [part_value, part_gradient] = value_and_grad(part_loss)(point);
    value = value + part_value;
    gradient = gradient + part_gradient;
  }
  if (!is_recording()) return value;
  return value.detach() + sum((weights - point) * gradient.detach());
}

}  // namespace mollify::experiments
