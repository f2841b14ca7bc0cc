// An attack of one's own, momentum iterative (Dong et al. 2018): steps along the sign of a sum of gradients. `judged`
// moves what it found into ball and box, and says what succeeds, as certificates ask. Prints how many drawn digits the
// network gets right, how many keep their class under this attack and under pgd, and how many are certified.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

Tensor momentum_attack(const smoothing::Function& f, const Tensor& x, const Tensor& labels, double epsilon) {
  constexpr int kSteps = 10;
  Tensor at = x, velocity = zeros_like(x);
  for (int i = 0; i < kSteps; ++i) {
    const Tensor g = grad([&](const Tensor& t) { return sum(cross_entropy(f(t), labels)); })(at);
    velocity = velocity + g / (sum(abs(g), {1, 2, 3}, /*keep=*/true) + 1e-30);
    at = clip(at + sign(velocity) * (epsilon / kSteps), 0, 1);
  }
  return at;
}

int main() {
  const nn::Network network = nn::make("cnn3_tiny", {28, 28, 1}, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, /*seed=*/1);
  const auto optimizer = optim::adam(optim::constant(5e-3));
  const datasets::Dataset digits = datasets::digits(2000, /*seed=*/0, datasets::Split::train);
  datasets::Loader loader(digits, {.batch_size = 50});
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    loader.start_epoch(epoch);
    while (const auto batch = loader.next())
      optimizer->step(
          weights, [&](const Tensor& w) { return nn::mean_cross_entropy(network(w, batch->images), batch->labels); });
  }

  constexpr double kEpsilon = 0.02;
  const smoothing::Function f = [&](const Tensor& t) { return network(weights, t); };
  const smoothing::Threat threat{.epsilon = kEpsilon, .box = {Tensor::scalar(0), Tensor::scalar(1)}};
  const datasets::Batch test =
      datasets::make_batch(datasets::digits(200, 0, datasets::Split::test), datasets::epoch_order(200, 0, 0));
  const Tensor &x = test.images, &labels = test.labels;
  const auto found = smoothing::judged(f, x, labels, momentum_attack(f, x, labels, kEpsilon), threat);
  const auto by_pgd = smoothing::pgd(f, x, labels, threat);
  const nn::bounds::Graph graph(network, weights);
  const nn::bounds::Bounds bounds(graph, {.box = nn::bounds::ball(x, kEpsilon, 0, 1)});
  const Tensor certified = min(bounds.lower(nn::bounds::margin_rows(labels, 10)), 1) > 0.0;

  const auto count = [](const Tensor& truths) { return sum(cast(truths, DType::f32)).item(); };
  const double right = count(argmax(f(x)) == labels), kept = count(logical_not(found.success)),
               kept_by_pgd = count(logical_not(by_pgd.success));
  std::cout << "of 200: " << right << " right, " << kept << " under this attack, " << kept_by_pgd << " under pgd, "
            << count(certified) << " certified\n";
  const Tensor moved = abs(cast(found.inputs, DType::f64) - cast(x, DType::f64));
  const bool sound = all(moved <= kEpsilon).item() && !any(logical_and(found.success, certified)).item();
  return sound && kept < right && kept < kept_by_pgd + 10 ? 0 : 1;
}
