// SABR (Müller et al. 2023): IBP in a small box around an attacked image.
#include <mollify/experiments/training/objectives/bounded.h>

namespace mollify::experiments {
namespace {

using nn::bounds::Method;

class Sabr final : public BoundedObjective {
 public:
  Sabr() : BoundedObjective("sabr", Method::ibp, Method::ibp, 0.5), tau_(zeros({})), rest_(zeros({})) {}

  Options options() override {
    Options all = BoundedObjective::options();
    add(all, {{{"sabr-lambda", "Objective",
                "radius of sabr's small boxes, as a share of --eps (its authors: 0.4 for MNIST at 0.1, 0.1 for "
                "CIFAR-10 at 2/255)",
                nullptr},
               &lambda_,
               Rule{.low = 0, .high = 1, .above_low = true}},
              attack_steps_option()});
    return all;
  }
  const char* uncaptured() const override { return kAttacksUncaptured; }

  void advance(int64_t step) override {
    BoundedObjective::advance(step);
    assign(tau_, lambda_ * radius_now());
    assign(rest_, rest());
  }
  Tensors inputs(const Tensor& weights, const Tensor& state, const Sample& sample) const override {
    if (!is_bounded()) return Objective::inputs(weights, state, sample);
    return {sample.images, sample.labels, sample.indices, attacked(weights, state, sample, rest(), step())};
  }

 protected:
  nn::bounds::Box box(const Tensors& inputs) const override {
    return small_box(inputs[0], inputs[3], tau_, rest_, range());
  }

 private:
  double rest() const { return (1 - lambda_) * radius_now(); }

  double lambda_ = 0.4;
  Tensor tau_, rest_;  // 0-d: the small radius, and what is left of the ball's
};

}  // namespace

std::unique_ptr<Objective> sabr_objective() { return std::make_unique<Sabr>(); }

}  // namespace mollify::experiments
