#include <mollify/optim/svrg.h>

#include <mollify/engine/plan.h>

namespace mollify::optim {
namespace {

Tensor gradient_at(const Tensor& weights, const Loss& loss) { return grad(loss)(weights); }

}  // namespace

Svrg::Svrg(Schedule learning_rate, const SvrgOptions& options)
    : Optimizer(std::move(learning_rate)), options_(options) {}

void Svrg::start_round(const Tensor& weights, const Loss& full_loss) {
  require_no_capture("svrg: start_round");
  if (candidate_.defined()) assign(weights, candidate_);
  anchor_ = zeros_like(weights);
  assign(anchor_, weights);
  full_gradient_ = gradient_at(anchor_, full_loss);
  inner_steps_ = 0;
}

Tensor Svrg::from_gradient(const Tensor& gradient, const Loss& anchor_loss) const {
  require<ValueError>(anchor_.defined(), "svrg: a step before the first round; needs start_round()");
  return no_grad([&] { return gradient - gradient_at(anchor_, anchor_loss) + full_gradient_; });
}

Tensor Svrg::direction(const Tensor& weights, const Loss& loss, const Loss& anchor_loss) const {
  return from_gradient(gradient_at(weights, loss), anchor_loss);
}

Tensor Svrg::update(const Tensor& weights, const Loss& loss, const Loss& anchor_loss) {
  require_no_capture("svrg: update");  // its draw of the next anchor is the host's
  const auto [value, g] = gradient(weights, loss, 0);
  const Tensor direction = from_gradient(g, anchor_loss);
  if (!how_.learning_rate.defined())
    how_ = {rate(), Tensor::scalar(0, weights.dtype()), Tensor::scalar(0, weights.dtype())};
  sgd_step(weights, direction, {}, how_);

  // After n inner steps each of their n iterates is the candidate with probability 1/n.
  ++inner_steps_;
  const uint64_t draw =
      random_words({options_.seed, stream_of(Purpose::svrg_anchor)}, static_cast<uint32_t>(steps()), 0).word[0];
  const bool replace =
      options_.next == SvrgOptions::Next::last || draw * static_cast<uint64_t>(inner_steps_) >> 32 == 0;
  if (replace) {
    if (!candidate_.defined()) candidate_ = zeros_like(weights);
    assign(candidate_, weights);
  }
  return value;
}

std::map<std::string, Tensor> Svrg::state() const {
  auto state = Optimizer::state();
  if (anchor_.defined()) {
    state["anchor"] = anchor_;
    state["full_gradient"] = full_gradient_;
    state["inner_steps"] = Tensor::scalar(static_cast<double>(inner_steps_), DType::f64);
  }
  if (candidate_.defined()) state["candidate"] = candidate_;
  return state;
}

void Svrg::set_state(const std::map<std::string, Tensor>& state) {
  Optimizer::set_state(state);
  anchor_ = full_gradient_ = candidate_ = {};
  inner_steps_ = 0;
  const bool in_round = state.contains("anchor") || state.contains("full_gradient") || state.contains("inner_steps");
  if (in_round || steps() > 0) {
    restore(anchor_, state, "anchor", 1);  // a round has all of these
    restore(full_gradient_, state, "full_gradient", 1);
    Tensor inner_steps;
    restore(inner_steps, state, "inner_steps", 1);
    inner_steps_ = static_cast<int64_t>(inner_steps.item());
  }
  if (state.contains("candidate") || (inner_steps_ > 0 && options_.next == SvrgOptions::Next::last))
    restore(candidate_, state, "candidate", 1);
}

}  // namespace mollify::optim
