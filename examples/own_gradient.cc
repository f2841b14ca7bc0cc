// A gradient of one's own for any optimizer, from values of the loss alone: the mean over normal z, drawn anew in each
// step, of z·(loss(w + r·z) − loss(w − r·z))/2r, with a radius r that a schedule moves. Prints how far many estimates'
// mean is from a known gradient, in standard errors, and the loss of a regression in captured steps of Adam.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

class Pairs final : public optim::Gradient {
 public:
  Pairs(int64_t count, optim::Schedule radius, uint64_t seed)
      : count_(count), radius_(std::move(radius)), seed_(seed) {}

  void attach(optim::Numbers& numbers) override {
    numbers_ = &numbers;
    place_ = numbers.add(radius_);
  }
  Estimate operator()(const Tensor& weights, const optim::Loss& loss) override {
    const Tensor& radius = (*numbers_)[place_];
    Tensor total = zeros_like(weights);
    for (int64_t i = 0; i < count_; ++i) {  // a draw is a function of seed, stream and step
      const RandomKey key{seed_, static_cast<uint64_t>(i)};
      const Tensor z = normal(weights.shape(), key, numbers_->step(), weights.dtype()), way = z * radius;
      total = total + z * (loss(weights + way) - loss(weights - way));
    }
    return {loss(weights), total / (radius * (2.0 * static_cast<double>(count_)))};
  }

 private:
  int64_t count_;
  optim::Schedule radius_;
  uint64_t seed_;
  const optim::Numbers* numbers_ = nullptr;
  size_t place_ = 0;  // of the radius among them
};

int main() {
  // Of a linear loss: plain steps add the estimates up. One has the variance (‖c‖² + c_i²)/pairs.
  constexpr int64_t kSteps = 500, kPairs = 4;
  const Tensor c = linspace(-1, 1, 20, DType::f64), sums = zeros_like(c);
  const auto plain = optim::sgd(optim::constant(1), {}, std::make_unique<Pairs>(kPairs, optim::constant(0.1), 1));
  for (int64_t i = 0; i < kSteps; ++i) plain->step(sums, [&](const Tensor& w) { return sum(c * w); });
  const Tensor deviation = sqrt((sum_of_squares(c) + square(c)) / static_cast<double>(kSteps * kPairs));
  const double worst = max(abs(sums / -static_cast<double>(kSteps) - c) / deviation).item();
  std::cout << "estimates are off by at most " << worst << " standard errors\n";

  const Tensor x = randn({200, 20}, /*seed=*/2), y = sum(x * linspace(0, 1, 20), 1), w = zeros({20});
  const optim::Loss loss = [&](const Tensor& at) { return mean(square(sum(x * at, 1) - y)); };
  const double before = loss(w).item();
  const auto adam = optim::adam(optim::constant(0.02), {},
                                std::make_unique<Pairs>(kPairs, optim::step_decay(0.1, 0.99, 1), /*seed=*/3));
  Captured step = capture([&](const Tensors&) -> Tensors { return adam->update(w, loss); });
  for (int i = 0; i < 300; ++i) {
    adam->advance(DType::f32);
    step({});
  }
  std::cout << "regression: loss " << before << ", after 300 steps " << loss(w) << "\n";
  return worst < 4 && loss(w).item() < before / 100 ? 0 : 1;
}
