// A network from layers, trained in captured steps on drawn digits; tensors print themselves, weights are saved.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

int main(int argc, char** argv) {
  const datasets::Dataset digits = datasets::digits(2000, /*first=*/0, datasets::Split::train);
  const nn::Network network("mlp", {28, 28, 1},
                            nn::sequential(nn::flatten(), nn::dense(64), nn::relu(), nn::dense(10)));
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, /*seed=*/1);
  const auto optimizer = optim::adam(optim::constant(1e-3));

  Captured step = capture([&](const Tensors& in) -> Tensors {  // in: images, labels
    return optimizer->update(weights,
                             [&](const Tensor& w) { return nn::mean_cross_entropy(network(w, in[0]), in[1]); });
  });

  datasets::Loader loader(digits, {.batch_size = 50, .seed = 1});
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    loader.start_epoch(epoch);
    Tensor loss;
    while (const auto batch = loader.next()) {
      optimizer->advance(DType::f32);
      loss = step({batch->images, batch->labels})[0];
    }
    std::cout << "epoch " << epoch + 1 << ": loss of the last batch " << loss << "\n";
  }

  const datasets::Batch first = datasets::make_batch(digits, std::vector<int32_t>{0, 1, 2});
  const Tensor probabilities = softmax(network(weights, first.images));
  std::cout << "probabilities of three digits, " << first.labels << ":\n" << probabilities << "\n";
  std::cout << "of their own class: " << probabilities[0][first.labels[0].item()] << "\n";
  nn::save(argc > 1 ? argv[1] : "mlp.safetensors", network, weights, {});
}
