#include <mollify/smoothing/gsmooth.h>

#include <algorithm>

namespace mollify::smoothing {
namespace {

optim::Loss at(const SmoothedLoss& loss, Sigma sigma) {
  return [&loss, sigma = std::move(sigma)](const Tensor& weights) { return loss(weights, sigma); };
}

}  // namespace

GSmooth::GSmooth(std::unique_ptr<optim::Optimizer> optimizer, Sigma sigma)
    : optimizer_(std::move(optimizer)), sigma_(std::move(sigma)) {
  require<ValueError>(optimizer_ != nullptr, "gsmooth: no optimizer given; needs one");
  number_ = optimizer_->numbers().add([sigma = sigma_](int64_t step) { return sigma.at(step).stddev(); });
}

GSmooth::GSmooth(std::unique_ptr<optim::Optimizer> optimizer, Sigma start, const SlghRule& rule)
    : GSmooth(std::move(optimizer), std::move(start)) {
  require<ValueError>(rule.rate >= 0 && rule.decay > 0 && rule.decay <= 1 && rule.least >= 0,
                      "gsmooth: SLGH's rate {}, decay {} and least {}; need rate ≥ 0, 0 < decay ≤ 1, least ≥ 0",
                      rule.rate, rule.decay, rule.least);
  rule_ = rule;
  sigma_ = Sigma::stddev(sigma_.stddev());
}

Sigma GSmooth::sigma() const {
  return rule_ && s_.defined() ? Sigma::stddev(s_.item()) : sigma_.at(optimizer_->steps());
}

void GSmooth::advance(DType dtype) { optimizer_->advance(dtype); }

Tensor GSmooth::update(const Tensor& weights, const SmoothedLoss& loss) {
  if (!rule_) return optimizer_->update(weights, at(loss, Sigma::stddev(optimizer_->numbers()[number_])));
  if (!s_.defined()) s_ = to(Tensor::scalar(sigma_.stddev(), DType::f64), weights.device());
  const NoGrad guard;
  const Tensor now = cast(s_, weights.dtype()), fixed = weights.detach();
  const Tensor slope = grad([&](const Tensor& s) { return loss(fixed, Sigma::stddev(s)); })(now);
  const Tensor value = optimizer_->update(weights, at(loss, Sigma::stddev(now)));
  const Tensor fallen = minimum(s_ - cast(slope, DType::f64) * rule_->rate, s_ * rule_->decay);
  assign(s_, maximum(fallen, Tensor::scalar(rule_->least, DType::f64)));
  return value;
}

std::map<std::string, Tensor> GSmooth::state() const {
  auto state = optimizer_->state();
  if (rule_) state["sigma"] = Tensor::scalar(sigma().stddev(), DType::f64);
  return state;
}

void GSmooth::set_state(const std::map<std::string, Tensor>& state) {
  optimizer_->set_state(state);
  if (!rule_) return;
  const auto found = state.find("sigma");
  require<ValueError>(found != state.end(), "gsmooth: the state has no 'sigma'; needs one");
  sigma_ = Sigma::stddev(found->second.item());
  s_ = {};
}

GSmoothSvrg::GSmoothSvrg(optim::Schedule learning_rate, Sigma sigma, Anchor anchor, const optim::SvrgOptions& options)
    : svrg_(std::move(learning_rate), options), sigma_(std::move(sigma)), round_sigma_(sigma_.at(0)), anchor_(anchor) {}

Sigma GSmoothSvrg::anchor_sigma() const { return anchor_ == Anchor::plain ? Sigma::stddev(0.0) : round_sigma_; }

void GSmoothSvrg::start_round(const Tensor& weights, const SmoothedLoss& full_loss) {
  const Sigma next = sigma_.at(rounds_);
  require<ValueError>(next.stddev() <= round_sigma_.stddev(),
                      "gsmooth_svrg: σ rises from {} to {} in round {}; needs a schedule that does not",
                      round_sigma_.paper(), next.paper(), rounds_);
  round_sigma_ = next;
  svrg_.start_round(weights, at(full_loss, anchor_sigma()));
  ++rounds_;
}

std::map<std::string, Tensor> GSmoothSvrg::state() const {
  auto state = svrg_.state();
  state["rounds"] = Tensor::scalar(static_cast<double>(rounds_), DType::f64);
  return state;
}

void GSmoothSvrg::set_state(const std::map<std::string, Tensor>& state) {
  const auto found = state.find("rounds");
  require<ValueError>(found != state.end(), "gsmooth_svrg: the state has no 'rounds'; needs one");
  svrg_.set_state(state);
  rounds_ = static_cast<int64_t>(found->second.item());
  round_sigma_ = sigma_.at(std::max<int64_t>(0, rounds_ - 1));
}

Tensor GSmoothSvrg::step(const Tensor& weights, const SmoothedLoss& loss) {
  return svrg_.step(weights, at(loss, round_sigma_), at(loss, anchor_sigma()));
}

Tensor GSmoothSvrg::direction(const Tensor& weights, const SmoothedLoss& loss) const {
  return svrg_.direction(weights, at(loss, round_sigma_), at(loss, anchor_sigma()));
}

}  // namespace mollify::smoothing
