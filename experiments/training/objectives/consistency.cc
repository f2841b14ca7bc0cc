// Noise, and answers that agree under it (Jeong & Shin 2020): cross-entropy over draws, plus λ·mean_i KL(p̄ ‖ p_i) and
// η times the entropy of p̄, the mean of their probabilities p_i.
#include <mollify/experiments/training/objectives/noisy.h>

#include <mollify/engine/ops.h>

namespace mollify::experiments {
namespace {

class Consistency final : public NoisyObjective {
 public:
  Consistency() : NoisyObjective("consistency", 2, {150, 256, 0.1, 1e-4, {1.0 / 3, 2.0 / 3}, 0.1}) {}

  Options options() override {
    Options all = NoisyObjective::options();
    add(all, {{{"consistency-lambda", "Objective",
                "weight of consistency's divergences (its authors: 5 to 20, more for less noise)", nullptr},
               &lambda_,
               at_least(0)},
              {{"consistency-eta", "Objective", "weight of consistency's entropy", nullptr}, &eta_, at_least(0)}});
    return all;
  }
  std::vector<std::string> terms() const override { return {"cross_entropy", "divergence", "entropy"}; }

  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    const auto found = train_mode(weights, state, noisy(inputs[0], inputs[2], number), number);
    const Tensor outputs = by_draw(found.output), log_mean = log_mean_softmax(outputs), p = exp(log_mean);
    const Tensor loss = setting().loss(found.output, copies(inputs[1]));
    const Tensor divergence = mean(sum(p * (log_mean - log_softmax(outputs)), {2}));
    const Tensor entropy = -mean(sum(p * log_mean, {1}));
    return result(loss + divergence * lambda_ + entropy * eta_, found, {loss, divergence, entropy});
  }

 private:
  double lambda_ = 10, eta_ = 0.5;
};

}  // namespace

std::unique_ptr<Objective> consistency_objective() { return std::make_unique<Consistency>(); }

}  // namespace mollify::experiments
