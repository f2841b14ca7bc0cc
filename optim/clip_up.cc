#include <mollify/optim/optimizer.h>

namespace mollify::optim {
namespace {

class ClipUp final : public Optimizer {
 public:
  ClipUp(Schedule learning_rate, const ClipUpOptions& options, std::unique_ptr<Gradient> gradient)
      : Optimizer(std::move(learning_rate), std::move(gradient)),
        most_speed_(options.most_speed),
        momentum_(numbers().add(checked("clip_up: momentum", options.momentum, 1))) {
    require<ValueError>(options.most_speed > 0, "clip_up: greatest speed {}; needs more than 0", options.most_speed);
  }

  Tensor update(const Tensor& weights, const Loss& loss) override {
    const auto [value, g] = gradient(weights, loss, /*clip_norm=*/0);
    if (!velocity_.defined() || velocity_.device() != weights.device())
      velocity_ = velocity_.defined() ? to(velocity_, weights.device()) : zeros_like(weights);
    const NoGrad quiet;
    const Tensor zero = zeros({}, weights.dtype()), length = norm(g);
    const Tensor push = where(greater(length, zero), g / length, zero);
    const Tensor moved = velocity_ * numbers()[momentum_] + push * rate();
    const Tensor speed = norm(moved), most = rate() * most_speed_;
    assign(velocity_, where(greater(speed, most), moved * (most / speed), moved));
    assign(weights, weights - velocity_);
    return value;
  }

  std::map<std::string, Tensor> state() const override {
    auto state = Optimizer::state();
    if (velocity_.defined()) state["velocity"] = velocity_;
    return state;
  }
  void set_state(const std::map<std::string, Tensor>& state) override {
    Optimizer::set_state(state);
    restore(velocity_, state, "velocity", steps());
  }

 private:
  double most_speed_;
  size_t momentum_;  // among the numbers
  Tensor velocity_;
};

}  // namespace

std::unique_ptr<Optimizer> clip_up(Schedule learning_rate, const ClipUpOptions& options,
                                   std::unique_ptr<Gradient> gradient) {
  return std::make_unique<ClipUp>(std::move(learning_rate), options, std::move(gradient));
}

}  // namespace mollify::optim
