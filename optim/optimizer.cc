#include <mollify/optim/optimizer.h>

namespace mollify::optim {

std::map<std::string, Tensor> Optimizer::state() const { return {{"steps", Tensor::scalar(static_cast<double>(steps_), DType::f64)}}; }

void Optimizer::set_state(const std::map<std::string, Tensor>& state) {
  const auto found = state.find("steps");
  require<ValueError>(found != state.end(), "optimizer: the state has no 'steps'; needs one");
  steps_ = static_cast<int64_t>(found->second.item());
}

std::pair<Tensor, Tensor> Optimizer::gradient(const Tensor& weights, const Loss& loss, double clip) {
  auto [value, g] = value_and_grad(loss)(weights);
  return {value, clip > 0 ? clip_norm(g, clip) : g};
}

void Optimizer::advance(DType dtype) {
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
