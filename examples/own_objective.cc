// A training loss of one's own: cross-entropy and a penalty on its gradient in the inputs (Drucker & LeCun 1992), which
// takes second derivatives. Prints a derivative of the penalty beside finite differences, and loss and penalty after
// training in captured steps without and with it.
#include <mollify/mollify.h>

#include <cmath>
#include <iostream>

using namespace mollify;

struct Parts { Tensor loss, penalty; };

// The mean loss of B rows has the gradient g/B at a row whose own loss has the gradient g: the penalty is mean ‖g‖².
Parts parts_of(const nn::Network& network, const Tensor& weights, const Tensor& x, const Tensor& labels) {
  const auto [loss, slopes] =
      value_and_grad([&](const Tensor& at) { return nn::mean_cross_entropy(network(weights, at), labels); })(x);
  return {loss, sum_of_squares(slopes) * static_cast<double>(x.dim(0))};
}

int main() {
  const nn::Network network("mlp", {2}, nn::sequential(nn::dense(32), nn::activation("softplus"), nn::dense(2)));
  const Tensor x = randn({100, 2}, 1, DType::f64), labels = cast(x(all, 0) * x(all, 1) > 0.0, DType::i32);
  const auto initial = [&] { return network.initial_weights(nn::Initialization::kaiming_normal, 2, DType::f64); };

  const Tensor v = randn({network.weight_count()}, 3, DType::f64), w = initial(), step = v * 1e-5;
  const auto penalty = [&](const Tensor& at) { return parts_of(network, at, x, labels).penalty; };
  const Tensor along = sum(grad(penalty)(w) * v), again = (penalty(w + step) - penalty(w - step)) / 2e-5;
  std::cout << "derivative of the penalty along v: " << along << ", by differences " << again << "\n";

  double lengths[2];
  for (const double weight : {0.0, 0.5}) {
    const Tensor weights = initial();
    const auto optimizer = optim::adam(optim::constant(1e-2));
    Captured train = capture([&](const Tensors& in) -> Tensors {  // in: inputs, labels
      return optimizer->update(weights, [&](const Tensor& at) {
        const auto [loss, length] = parts_of(network, at, in[0], in[1]);
        return loss + length * weight;
      });
    });
    for (int i = 0; i < 300; ++i) {
      optimizer->advance(DType::f64);
      train({x, labels});
    }
    const auto [loss, length] = parts_of(network, weights, x, labels);
    lengths[weight > 0] = length.item();
    std::cout << "penalty times " << weight << ": loss " << loss << ", mean squared length " << length << "\n";
  }
  return std::abs(along.item() - again.item()) < 1e-6 * std::abs(along.item()) && lengths[1] < lengths[0] / 2 ? 0 : 1;
}
