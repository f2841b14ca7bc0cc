#include <mollify/optim/optimizer.h>

namespace mollify::optim {
namespace {

class Sgd final : public Optimizer {
 public:
  Sgd(Schedule learning_rate, const SgdOptions& options, std::unique_ptr<Gradient> gradient)
      : Optimizer(std::move(learning_rate), std::move(gradient)),
        nesterov_(options.nesterov),
        has_velocity_(options.momentum.constant != 0.0),
        clip_norm_(options.clip_norm),
        momentum_(numbers().add(checked("sgd: momentum", options.momentum, 1))),
        weight_decay_(numbers().add(checked("sgd: weight decay", options.weight_decay))) {
    require<ValueError>(options.clip_norm >= 0, "sgd: clip norm {}; needs at least 0", options.clip_norm);
    require<ValueError>(!nesterov_ || has_velocity_, "sgd: Nesterov with momentum 0; needs a positive one");
  }

  Tensor update(const Tensor& weights, const Loss& loss) override {
    const auto [value, g] = gradient(weights, loss, clip_norm_);
    if (has_velocity_ && (!velocity_.defined() || velocity_.device() != weights.device()))
      velocity_ = velocity_.defined() ? to(velocity_, weights.device()) : zeros_like(weights);
    sgd_step(weights, g, velocity_, {rate(), numbers()[momentum_], numbers()[weight_decay_], nesterov_});
    return value;
  }

  std::map<std::string, Tensor> state() const override {
    auto state = Optimizer::state();
    if (velocity_.defined()) state["velocity"] = velocity_;
    return state;
  }

  void set_state(const std::map<std::string, Tensor>& state) override {
    Optimizer::set_state(state);
    if (has_velocity_) restore(velocity_, state, "velocity", steps());
  }

 private:
  bool nesterov_, has_velocity_;
  double clip_norm_;
  size_t momentum_, weight_decay_;  // among the numbers
  Tensor velocity_;
};

}  // namespace

std::unique_ptr<Optimizer> sgd(Schedule learning_rate, const SgdOptions& options, std::unique_ptr<Gradient> gradient) {
  return std::make_unique<Sgd>(std::move(learning_rate), options, std::move(gradient));
}

}  // namespace mollify::optim
