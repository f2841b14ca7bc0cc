#include <mollify/optim/optimizer.h>

#include <algorithm>
#include <limits>

namespace mollify::optim {
namespace {

class Adam final : public Optimizer {
 public:
  Adam(Schedule learning_rate, const AdamOptions& options, bool decoupled, std::unique_ptr<Gradient> gradient)
      : Optimizer(std::move(learning_rate), std::move(gradient)),
        options_(options),
        decoupled_(decoupled),
        weight_decay_(numbers().add(checked("adam: weight decay", options.weight_decay))),
        step_(numbers().add([](int64_t step) { return static_cast<double>(step + 1); })) {
    require<ValueError>(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
                        "adam: betas {} and {}; need 0 ≤ beta < 1", options.beta1, options.beta2);
    require<ValueError>(options.epsilon >= 0 && options.clip_norm >= 0,
                        "adam: epsilon {}, clip norm {}; need at least 0", options.epsilon, options.clip_norm);
  }

  Tensor update(const Tensor& weights, const Loss& loss) override {
    const auto [value, g] = gradient(weights, loss, options_.clip_norm);
    if (!how_.learning_rate.defined()) start(weights);
    adam_step(weights, g, first_, second_, how_);
    return value;
  }

  std::map<std::string, Tensor> state() const override {
    auto state = Optimizer::state();
    if (first_.defined()) {
      state["first"] = first_;
      state["second"] = second_;
    }
    return state;
  }

  void set_state(const std::map<std::string, Tensor>& state) override {
    Optimizer::set_state(state);
    restore(first_, state, "first", steps());
    restore(second_, state, "second", steps());
  }

 private:
  void start(const Tensor& weights) {
    const auto number = [&](double value) { return Tensor::scalar(value, weights.dtype()); };
    const double largest = std::max(options_.beta1, options_.beta2);
    require<ValueError>(number(largest).item() < 1,
                        "adam: beta {} is 1 as {}; needs one that is below 1 in the weights' dtype", largest,
                        weights.dtype());
    how_ = {.learning_rate = rate(),
            .beta1 = number(options_.beta1),
            .beta2 = number(options_.beta2),
            .epsilon = number(options_.epsilon_inside ? 0 : options_.epsilon),
            .weight_decay = decoupled_ ? number(0) : numbers()[weight_decay_],
            .decoupled_decay = decoupled_ ? numbers()[weight_decay_] : number(0),
            .step = options_.bias_correction ? numbers()[step_] : number(std::numeric_limits<double>::infinity()),
            .epsilon_inside = number(options_.epsilon_inside ? options_.epsilon : 0)};
    first_ = first_.defined() ? to(first_, weights.device()) : zeros_like(weights);
    second_ = second_.defined() ? to(second_, weights.device()) : zeros_like(weights);
  }

  AdamOptions options_;
  bool decoupled_;
  size_t weight_decay_, step_;  // among the numbers; the step's counts from 1
  AdamStep how_;
  Tensor first_, second_;
};

}  // namespace

std::unique_ptr<Optimizer> adam(Schedule learning_rate, const AdamOptions& options,
                                std::unique_ptr<Gradient> gradient) {
  return std::make_unique<Adam>(std::move(learning_rate), options, false, std::move(gradient));
}
std::unique_ptr<Optimizer> adamw(Schedule learning_rate, AdamOptions options, std::unique_ptr<Gradient> gradient) {
  return std::make_unique<Adam>(std::move(learning_rate), options, true, std::move(gradient));
}

}  // namespace mollify::optim
