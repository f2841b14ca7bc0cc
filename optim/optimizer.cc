#include <mollify/optim/optimizer.h>

#include <mollify/engine/plan.h>

namespace mollify::optim {

std::map<std::string, Tensor> Optimizer::state() const {
  return {{"steps", Tensor::scalar(static_cast<double>(steps_), DType::f64)}};
}

void Optimizer::set_state(const std::map<std::string, Tensor>& state) {
  const auto found = state.find("steps");
  require<ValueError>(found != state.end(), "optimizer: the state has no 'steps'; needs one");
  steps_ = static_cast<int64_t>(found->second.item());
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

std::pair<Tensor, Tensor> Optimizer::gradient(const Tensor& weights, const Loss& loss, double clip) {
  auto [value, g] = value_and_grad(loss)(weights);
  return {value, clip > 0 ? clip_norm(g, clip) : g};
}

void Optimizer::advance(DType dtype) {
  require_no_capture("optimizer: advance");
  if (!rate_.defined() || rate_.dtype() != dtype) {
    rate_ = zeros({}, dtype);
    step_number_ = zeros({}, dtype);
  }
  assign(rate_, Tensor::scalar(learning_rate(), dtype));
  ++steps_;
  assign(step_number_, Tensor::scalar(static_cast<double>(steps_), dtype));
}

Tensor clip_norm(const Tensor& g, double longest) {
  require<ValueError>(longest > 0, "clip_norm: longest norm {}; needs a positive number", longest);
  const Tensor norm = sqrt(sum_of_squares(g));
  return g * (longest / maximum(norm, Tensor::scalar(longest, g.dtype())));
}

}  // namespace mollify::optim
