// The loss of images attacked by PGD (Madry et al. 2018).
#include <mollify/experiments/training/objectives/ball.h>

namespace mollify::experiments {
namespace {

class Pgd final : public BallObjective {
 public:
  const char* name() const override { return "pgd"; }
  Options options() override {
    Options all = BallObjective::options();
    all.push_back(attack_steps_option());
    return all;
  }
  const char* uncaptured() const override { return kAttacksUncaptured; }

  void advance(int64_t step) override { step_ = step; }
  Tensors inputs(const Tensor& weights, const Tensor& state, const Sample& sample) const override {
    const double reached = *radius(step_);
    if (!(reached > 0)) return Objective::inputs(weights, state, sample);
    return {attacked(weights, state, sample, reached, step_), sample.labels, sample.indices};
  }
  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs, const Tensor&) const override {
    const nn::Network::Result result = setting().network(weights, state, inputs[0], nn::Mode::train);
    return {with_weight_norm(setting().loss(result.output, inputs[1]), weights), result.output.detach(),
            result.state.detach()};
  }

 private:
  int64_t step_ = 0;
};

}  // namespace

std::unique_ptr<Objective> pgd_objective() { return std::make_unique<Pgd>(); }

}  // namespace mollify::experiments
