// A layer of one's own, dense of low rank: y = U·V·x + b with U [outputs, rank], V [rank, inputs]. It declares its
// weights and computes; initialization, training, files and bounds follow. Prints the loss on drawn digits before and
// after training, and bounds of a digit's outputs over a box.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

struct LowRank final : nn::Layer {
  LowRank(int64_t outputs, int64_t rank) : outputs(outputs), rank(rank) {}
  const char* kind() const override { return "low_rank"; }
  Shape declare(nn::Declaration& declaration, const Shape& input) override {
    down =
        declaration.weight("down", {rank, input.back()}, nn::Role::weight, /*fan_in=*/input.back(), /*fan_out=*/rank);
    up = declaration.weight("up", {outputs, rank}, nn::Role::weight, rank, outputs);
    bias = declaration.weight("bias", {outputs}, nn::Role::bias, rank, outputs);
    return {outputs};
  }
  Tensor apply(nn::Pass& pass, const Tensor& x) const override {
    return dense(dense(x, pass.weights[down], {}), pass.weights[up], pass.weights[bias]);
  }
  int64_t outputs, rank;
  size_t down = 0, up = 0, bias = 0;  // where a pass has them
};

int main(int argc, char** argv) {
  const nn::Network network(
      "own", {28, 28, 1},
      nn::sequential(nn::flatten(), std::make_unique<LowRank>(64, /*rank=*/8), nn::relu(), nn::dense(10)));
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, /*seed=*/1);
  const datasets::Dataset digits = datasets::digits(200, /*seed=*/0, datasets::Split::train);
  const datasets::Batch batch = datasets::make_batch(digits, datasets::epoch_order(200, /*seed=*/0, /*epoch=*/0));
  const auto loss = [&](const Tensor& w) { return nn::mean_cross_entropy(network(w, batch.images), batch.labels); };
  const double before = loss(weights).item();
  const auto optimizer = optim::adam(optim::constant(3e-3));
  for (int i = 0; i < 60; ++i) optimizer->step(weights, loss);
  const double after = loss(weights).item();
  std::cout << "loss " << before << ", after 60 steps " << after << "\n";

  const char* file = argc > 1 ? argv[1] : "own_layer.safetensors";
  nn::save(file, network, weights, {});
  const bool same = all(nn::load(file, network).weights == weights).item();

  const Tensor image = batch.images(Slice{0, 1}), outputs = network(weights, image);
  const nn::bounds::Graph graph(network, weights);
  const nn::bounds::Box box = nn::bounds::Bounds(graph, {.box = nn::bounds::ball(image, 0.01, 0, 1)}).output();
  std::cout << "outputs over the box of radius 0.01: " << box.lower << " to " << box.upper << "\n";
  const bool within = all(box.lower <= outputs).item() && all(outputs <= box.upper).item();
  return same && within && after < before / 10 ? 0 : 1;
}
