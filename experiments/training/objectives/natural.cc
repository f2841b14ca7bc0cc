// The loss of the images as they are.
#include <mollify/experiments/training/objectives/objective.h>

namespace mollify::experiments {
namespace {

class Natural final : public Objective {
 public:
  const char* name() const override { return "natural"; }
  bool is_traceable() const override { return true; }
  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    const nn::Network::Result result =
        setting().network(weights, state, inputs[0], nn::Mode::train, {.seed = setting().seed}, number);
    return {setting().loss(result.output, inputs[1]), result.output.detach(), result.state.detach()};
  }
};

}  // namespace

std::unique_ptr<Objective> natural_objective() { return std::make_unique<Natural>(); }

}  // namespace mollify::experiments
