#include <mollify/smoothing/loss/population_gradient.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

namespace mollify::smoothing {

using Scale = FromValues::Scale;

optim::Schedule schedule_of(const char* name, const Sigma& s) {
  const optim::Schedule schedule = [name, s](int64_t step) {
    const double stddev = s.at(step).stddev();
    require<ValueError>(stddev > 0, "{}: s {}; needs more than 0", name, stddev);
    return stddev;
  };
  schedule(0);
  return schedule;
}

PopulationGradient::PopulationGradient(const char* name, const Sigma& s, const FromValues& how)
    : how_(how), schedule_(schedule_of(name, s)) {
  require<ValueError>(how.pairs >= 1, "{}: {} pairs; needs at least 1", name, how.pairs);
  require<ValueError>(how.scale_rate >= 0 && how.least > 0 && how.least <= how.most,
                      "{}: a rate of {} for s from {} to {}; needs a rate from 0 and bounds above 0", name,
                      how.scale_rate, how.least, how.most);
  const bool normal = how.directions == Population::Directions::normal;
  require<ValueError>(!is_learned() || (normal && how.pairs >= 2),
                      "{}: s learned from {} pairs of {} directions; needs two pairs of normal ones", name, how.pairs,
                      normal ? "normal" : "sign");
}

void PopulationGradient::attach(optim::Numbers& numbers) {
  numbers_ = &numbers;
  scheduled_ = numbers.add(schedule_);
}

optim::Gradient::Estimate PopulationGradient::operator()(const Tensor& weights, const optim::Loss& loss) {
  const NoGrad quiet;
  const Tensor s = is_learned() ? learned(weights) : (*numbers_)[scheduled_];
  const PopulationEstimate estimate(how_, numbers_->step(), weights.size(), s, weights.device());
  const Members members = evaluate(estimate, weights, loss, s);
  if (!left_out_.defined() || left_out_.device() != weights.device())
    left_out_ = zeros({}, weights.dtype(), weights.device());
  assign(left_out_, estimate.left_out(members));
  const Tensor gradient = reshape(estimate.gradient(members), weights.shape());
  if (is_learned()) learn(s, estimate.scale_gradient(members));
  return {members.center, gradient};
}

Tensor PopulationGradient::next_scale(const Tensor& weights, int64_t step) {
  return is_learned() ? learned(weights) : Tensor::scalar(schedule_(step), weights.dtype());
}

Tensor PopulationGradient::learned(const Tensor& weights) {
  if (!learned_.defined() || learned_.device() != weights.device()) {
    const Shape shape = how_.scale == Scale::learned ? Shape{} : Shape{weights.size()};
    learned_ = learned_.defined() ? to(learned_, weights.device())
                                  : full(shape, schedule_(0), weights.dtype(), weights.device());
  }
  return learned_;
}

void PopulationGradient::learn(const Tensor& s, const Tensor& gradient) {
  const auto number = [&](double value) { return Tensor::scalar(value, s.dtype()); };
  const Tensor moved = clip(s - gradient * how_.scale_rate, s * 0.8, s * 1.2);
  assign(learned_, clip(moved, number(how_.least), number(how_.most)));
}

std::map<std::string, Tensor> PopulationGradient::state() const {
  return learned_.defined() ? std::map<std::string, Tensor>{{"scale", learned_}} : std::map<std::string, Tensor>();
}

void PopulationGradient::set_state(const std::map<std::string, Tensor>& state) {
  if (!is_learned()) return;
  const auto found = state.find("scale");
  if (found == state.end()) {
    if (learned_.defined()) assign(learned_, schedule_(0));
  } else if (learned_.defined()) {
    assign(learned_, to(found->second, learned_.device()));
  } else {
    learned_ = found->second.detach() + 0.0;
  }
}

}  // namespace mollify::smoothing
