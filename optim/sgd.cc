#include <mollify/optim/optimizer.h>

namespace mollify::optim {
namespace {

class Sgd final : public Optimizer {
 public:
  Sgd(Schedule learning_rate, const SgdOptions& options) : Optimizer(std::move(learning_rate)), options_(options) {
    require<ValueError>(options.momentum >= 0 && options.momentum < 1, "sgd: momentum {}; needs 0 ≤ momentum < 1",
                        options.momentum);
    require<ValueError>(options.weight_decay >= 0 && options.clip_norm >= 0,
                        "sgd: weight decay {}, clip norm {}; need at least 0", options.weight_decay, options.clip_norm);
    require<ValueError>(!options.nesterov || options.momentum > 0,
                        "sgd: Nesterov with momentum {}; needs a positive one", options.momentum);
  }

  Tensor update(const Tensor& weights, const Loss& loss) override {
    auto [value, g] = gradient(weights, loss, options_.clip_norm);
    if (!how_.learning_rate.defined()) {
      how_ = {rate(), Tensor::scalar(options_.momentum, weights.dtype()),
              Tensor::scalar(options_.weight_decay, weights.dtype()), options_.nesterov};
      if (options_.momentum > 0)
        velocity_ = velocity_.defined() ? to(velocity_, weights.device()) : zeros_like(weights);
    }
    sgd_step(weights, g, velocity_, how_);
    return value;
  }

  std::map<std::string, Tensor> state() const override {
    auto state = Optimizer::state();
    if (velocity_.defined()) state["velocity"] = velocity_;
    return state;
  }

  void set_state(const std::map<std::string, Tensor>& state) override {
    Optimizer::set_state(state);
    if (options_.momentum > 0) restore(velocity_, state, "velocity", steps());
  }

 private:
  SgdOptions options_;
  SgdStep how_;
  Tensor velocity_;
};

}  // namespace

std::unique_ptr<Optimizer> sgd(Schedule learning_rate, const SgdOptions& options) {
  return std::make_unique<Sgd>(std::move(learning_rate), options);
}

}  // namespace mollify::optim
