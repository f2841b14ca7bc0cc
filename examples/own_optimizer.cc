// An optimizer of one's own, Lion (Chen et al. 2023): w ← w − rate·(sign(β₁m + (1 − β₁)g) + decay·w),
// m ← β₂m + (1 − β₂)g, with a decay that a schedule moves. Prints the loss of a network in captured steps, the second
// half by another Lion that goes on from the first one's state, and whether eager steps end in the same bits.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

class Lion final : public optim::Optimizer {
 public:
  Lion(optim::Schedule learning_rate, const optim::Scheduled& decay)
      : Optimizer(std::move(learning_rate)), decay_(numbers().add(optim::checked("lion: weight decay", decay))) {}

  Tensor update(const Tensor& weights, const optim::Loss& loss) override {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.99;
    const auto [value, g] = gradient(weights, loss, /*clip_norm=*/0);
    if (!momentum_.defined()) momentum_ = zeros_like(weights);  // what later updates overwrite
    const Tensor direction = sign(momentum_ * kBeta1 + g * (1 - kBeta1)) + weights * numbers()[decay_];
    assign(weights, weights - direction * rate());
    assign(momentum_, momentum_ * kBeta2 + g * (1 - kBeta2));
    return value;
  }
  std::map<std::string, Tensor> state() const override {
    auto state = Optimizer::state();
    if (momentum_.defined()) state["momentum"] = momentum_;
    return state;
  }
  void set_state(const std::map<std::string, Tensor>& state) override {
    Optimizer::set_state(state);
    restore(momentum_, state, "momentum", steps());
  }

 private:
  size_t decay_;  // among the numbers
  Tensor momentum_;
};

int main() {
  const nn::Network network("mlp", {2}, nn::sequential(nn::dense(32), nn::relu(), nn::dense(2)));
  const Tensor x = randn({200, 2}, /*seed=*/1), labels = cast(x(all, 0) * x(all, 1) > 0.0, DType::i32);
  const auto loss = [&](const Tensor& w) { return nn::mean_cross_entropy(network(w, x), labels); };
  const auto initial = [&] { return network.initial_weights(nn::Initialization::kaiming_normal, /*seed=*/2); };
  const auto make = [] { return Lion(optim::cosine(1e-2, 200), optim::polynomial(0.1, 200, 1)); };

  const Tensor weights = initial(), eager_weights = initial();
  Lion first = make(), second = make(), eager = make();
  for (Lion* lion : {&first, &second}) {
    if (lion == &second) second.set_state(first.state());
    Captured step = capture([&](const Tensors&) -> Tensors { return lion->update(weights, loss); });
    for (int i = 0; i < 100; ++i) {
      lion->advance(DType::f32);
      step({});
    }
    std::cout << "after " << lion->steps() << " steps: loss " << loss(weights) << "\n";
  }
  for (int i = 0; i < 200; ++i) eager.step(eager_weights, loss);
  const bool same = all(weights == eager_weights).item();
  std::cout << "eager steps give " << (same ? "the same" : "other") << " bits\n";
  return same && loss(weights).item() < 0.1 ? 0 : 1;
}
