// The loss of images under Gaussian noise (Cohen, Rosenfeld & Kolter 2019).
#include <mollify/experiments/training/objectives/noisy.h>

namespace mollify::experiments {
namespace {

class Gaussian final : public NoisyObjective {
 public:
  Gaussian() : NoisyObjective("gaussian", 1, {90, 256, 0.1, 1e-4, {1.0 / 3, 2.0 / 3}, 0.1}) {}

  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    const auto found = train_mode(weights, state, noisy(inputs[0], inputs[2], number), number);
    return result(setting().loss(found.output, copies(inputs[1])), found);
  }
};

}  // namespace

std::unique_ptr<Objective> gaussian_objective() { return std::make_unique<Gaussian>(); }

}  // namespace mollify::experiments
