// MTL-IBP (De Palma et al. 2024): the bound of IBP and the loss of attacked images, mixed.
#include <mollify/experiments/training/objectives/bounded.h>

namespace mollify::experiments {
namespace {

using nn::bounds::Method;

class MtlIbp final : public BoundedObjective {
 public:
  MtlIbp() : BoundedObjective("mtl-ibp", Method::ibp, Method::ibp, 0.5) {}

  Options options() override {
    Options all = BoundedObjective::options();
    add(all, {{{"mtl-alpha", "Objective", "IBP's share of mtl-ibp's loss", nullptr}, &alpha_, share()},
              attack_steps_option()});
    return all;
  }
  const char* uncaptured() const override { return kAttacksUncaptured; }

  Tensors inputs(const Tensor& weights, const Tensor& state, const Sample& sample) const override {
    if (!is_bounded()) return Objective::inputs(weights, state, sample);
    return {sample.images, sample.labels, sample.indices, attacked(weights, state, sample, radius_now(), step())};
  }

 protected:
  Tensor mixed(const Tensor& bound, const Tensor& weights, const Tensors& inputs) const override {
    return bound * alpha_ + setting().loss(setting().network(weights, inputs[3]), inputs[1]) * (1 - alpha_);
  }

 private:
  double alpha_ = 0.5;
};

}  // namespace

std::unique_ptr<Objective> mtl_ibp_objective() { return std::make_unique<MtlIbp>(); }

}  // namespace mollify::experiments
