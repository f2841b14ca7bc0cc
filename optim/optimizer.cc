#include <mollify/optim/optimizer.h>

#include <mollify/engine/plan.h>

namespace mollify::optim {

Optimizer::Optimizer(Schedule learning_rate, std::unique_ptr<Gradient> gradient)
    : gradient_(gradient ? std::move(gradient) : exact_gradient()) {
  numbers_.add(std::move(learning_rate));
  gradient_->attach(numbers_);
}

std::map<std::string, Tensor> Optimizer::state() const {
  std::map<std::string, Tensor> state = gradient_->state();
  state["steps"] = Tensor::scalar(static_cast<double>(steps_), DType::f64);
  return state;
}

void Optimizer::set_state(const std::map<std::string, Tensor>& state) {
  const auto found = state.find("steps");
  require<ValueError>(found != state.end(), "optimizer: the state has no 'steps'; needs one");
  steps_ = static_cast<int64_t>(found->second.item());
  gradient_->set_state(state);
}

void Optimizer::restore(Tensor& own, const std::map<std::string, Tensor>& state, const char* name, int64_t steps) {
  const auto found = state.find(name);
  require<ValueError>(found != state.end() || steps == 0, "optimizer: the state of {} steps has no '{}'; needs one",
                      steps, name);
  if (found == state.end()) {
    if (own.defined()) assign(own, zeros_like(own));
    return;
  }
  const Tensor& value = found->second;
  const bool fits = own.defined() && own.shape() == value.shape() && own.dtype() == value.dtype();
  if (!fits) own = Tensor::empty(Layout::packed(value.shape(), value.dtype(), value.device()));
  assign(own, to(value.detach(), own.device()));
}

Gradient::Estimate Optimizer::gradient(const Tensor& weights, const Loss& loss, double clip) {
  Gradient::Estimate estimate = (*gradient_)(weights, loss);
  if (clip > 0) estimate.gradient = clip_norm(estimate.gradient, clip);
  return estimate;
}

void Optimizer::advance(DType dtype) {
  require_no_capture("optimizer: advance");
  numbers_.advance(steps_, dtype);
  ++steps_;
}

Schedule checked(const char* what, const Scheduled& number, double end) {
  const Schedule schedule = [what, at = number.at, end](int64_t step) {
    const double value = at(step);
    require<ValueError>(value >= 0 && value < end, "{} {}; needs at least 0 and less than {}", what, value, end);
    return value;
  };
  if (number.constant) schedule(0);
  return schedule;
}

Tensor clip_norm(const Tensor& g, double longest) {
  require<ValueError>(longest > 0, "clip_norm: longest norm {}; needs a positive number", longest);
  const Tensor norm = sqrt(sum_of_squares(g));
  return g * (longest / maximum(norm, Tensor::scalar(longest, g.dtype())));
}

}  // namespace mollify::optim
