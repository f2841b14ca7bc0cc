// An activation of one's own, squareplus, from outside the library: trained, smoothed with noise, and bounded.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

int main() {
  const auto squareplus = nn::register_activation(
      {.name = "squareplus",
       .function = [](const Tensor& x) { return (x + sqrt(square(x) + 4.0)) * 0.5; },
       .curve = {{.form = nn::bounds::CurveForm::convex, .least = 0}}});  // bounds draw lines around it
  std::cout << "squareplus of -1, 0, 1: " << squareplus({-1, 0, 1}) << "\n";

  // Trained: y = |x₀| + x₁ on random points.
  const nn::Network network("own", {2}, nn::sequential(nn::dense(16), nn::activation("squareplus"), nn::dense(1)));
  const Tensor x = randn({256, 2}, /*seed=*/1), y = abs(x(all, 0)) + x(all, 1);
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, /*seed=*/2);
  const auto optimizer = optim::adam(optim::constant(0.02));
  Tensor loss;
  for (int i = 0; i < 500; ++i)
    loss = optimizer->step(weights, [&](const Tensor& w) { return mean(square(network(w, x)(all, 0) - y)); });
  std::cout << "mean squared error after 500 steps: " << loss << "\n";

  // Smoothed by Gauss–Hermite quadrature, as no closed form was given.
  const auto smoothed = smoothing::smooth(network, smoothing::Sigma::stddev(0.5), smoothing::PenaltyWeights::none(),
                                          smoothing::Approximations::allowed);
  const Tensor point = {{0, 0}};
  std::cout << "at 0, plain and smoothed: " << network(weights, point) << " " << smoothed(weights, point).output
            << "\n";

  // Bounded over a box around 0, by CROWN.
  const nn::bounds::Graph graph(network, weights);
  const nn::bounds::Box box = nn::bounds::Bounds(graph, {.box = {point - 0.1, point + 0.1}}, {}).output();
  std::cout << "over the box of radius 0.1: " << box.lower << " to " << box.upper << "\n";
  const double value = network(weights, point).item();
  return loss.item() < 0.02 && box.lower.item() <= value && value <= box.upper.item() ? 0 : 1;
}
