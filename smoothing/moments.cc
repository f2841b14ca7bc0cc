#include <mollify/smoothing/moments.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/engine/random.h>
#include <mollify/smoothing/noisy_steps.h>

#include <algorithm>

namespace mollify::smoothing {
namespace {

Tensor not_negative(const Tensor& x) { return maximum(x, Tensor::scalar(0, x.dtype())); }

// [N, K, …] as rows of their own, and back.
Tensor folded(const Tensor& factors) {
  Shape shape = factors.shape();
  const int64_t rows = shape[0] * shape[1];
  shape.erase(0);
  shape[0] = rows;
  return reshape(factors, shape);
}
Tensor unfolded(const Tensor& rows, int64_t directions) {
  Shape shape = rows.shape();
  shape[0] /= directions;
  shape.insert(1, directions);
  return reshape(rows, shape);
}
class Propagation {
 public:
  Propagation(const nn::Network& network, const Tensor& weights, const Tensor& state, const Tensor& x,
              const NoiseScales& noise, const Correlations& correlations)
      : noisy_input_(!noise.input.is_none()),
        noisy_weights_(!noise.weights.is_none()),
        weight_variance_(square(noise.weights.tensor(x.dtype()))),
        trace_(traced(network, weights, state, x.shape()[0])),
        directions_(std::min(correlations.directions, sources())) {
    if (directions_ > 0) wide_ = traced(network, weights, state, x.shape()[0] * directions_);
    set(trace_.input, wide_.input, input(x, noise.input.tensor(x.dtype())));
  }

  Moments run() {
    for (size_t i = 0; i < trace_.steps.size(); ++i) follow(i);
    return {values_[trace_.output].mean, values_[trace_.output].variance};
  }

 private:
  int64_t sources() const;
  Tensor slots(const Shape& shape, DType dtype, Device device);
  JointMoments joined(const Tensor& mean, const Tensor& factors, const Tensor& own);
  JointMoments input(const Tensor& x, const Tensor& s);

  Tensors factors_through(const TracedStep& wide) const;
  void linear(size_t i);
  JointMoments weighted(size_t i);
  JointMoments nonlinear(const TracedStep& step);
  JointMoments pooled(const TracedStep& step);
  JointMoments masked(const TracedStep& step);
  void follow(size_t i);

  void set(const Tensor& output, const Tensor& wide, const JointMoments& value) {
    values_.set(output, value);
    if (directions_ > 0) factors_.set(wide, value.factors);
  }
  void set(size_t i, size_t k, const JointMoments& value) {
    set(trace_.steps[i].outputs[k], directions_ > 0 ? wide_.steps[i].outputs[k] : Tensor(), value);
  }

  const bool noisy_input_, noisy_weights_;
  const Tensor weight_variance_;
  const Trace trace_;
  const int64_t directions_;
  Trace wide_;  // with a row for each direction of each row: linear steps take factors through it
  TraceValues<JointMoments> values_;
  TraceValues<Tensor> factors_;  // of the wide trace's tensors
  int64_t next_slot_ = 0;
};

// The most that may be carried: numbers that something is added to.
int64_t Propagation::sources() const {
  int64_t count = noisy_input_ ? trace_.input.size() : 0;
  for (const TracedStep& step : trace_.steps) {
    const StepKind kind = kind_of(step);
    if (kind == StepKind::linear || (kind == StepKind::weighted && !noisy_weights_)) continue;
    count += step.outputs[0].size();
  }
  return count / trace_.input.shape()[0];
}

// [K, …]: the sign of every number in the slot that is its own, 0 elsewhere. Slots are given in the order of the
// numbers, so that those of one slot are far apart in an image.
Tensor Propagation::slots(const Shape& shape, DType dtype, Device device) {
  const int64_t count = shape.size() / shape[0];
  RandomSequence random({0, stream_of(Purpose::shared_directions)}, static_cast<uint32_t>(next_slot_));
  std::vector<int32_t> slot(static_cast<size_t>(count));
  std::vector<double> sign(slot.size());
  for (size_t j = 0; j < slot.size(); ++j) {
    slot[j] = static_cast<int32_t>((next_slot_ + static_cast<int64_t>(j)) % directions_);
    sign[j] = random.uniform() < 0.5 ? -1 : 1;
  }
  next_slot_ += count;
  const Tensor indices = to(Tensor::from(slot, {1, count}), device),
               signs = to(cast(Tensor::from(sign, {1, count}), dtype), device);
  Shape wanted = shape;
  wanted[0] = directions_;
  return reshape(scatter_add({directions_, count}, indices, signs, 0), wanted);
}

// Adds each number's own variance, as a source of its own where sources are kept.
JointMoments Propagation::joined(const Tensor& mean, const Tensor& factors, const Tensor& own) {
  if (directions_ == 0) return {mean, own, {}};
  const Tensor all = factors + spread_over(root(own)) * slots(mean.shape(), mean.dtype(), mean.device());
  return {mean, sum(square(all), {1}), all};
}

JointMoments Propagation::input(const Tensor& x, const Tensor& s) {
  const Tensor own = zeros_like(x) + square(s);
  if (directions_ == 0) return {x, own, {}};
  Shape shape = x.shape();
  shape.insert(1, directions_);
  const Tensor none = expand(to(Tensor::scalar(0, x.dtype()), x.device()), shape);
  return noisy_input_ ? joined(x, none, own) : JointMoments{x, zeros_like(x), none};
}

// What a step that is linear in its abstract inputs makes of their factors.
Tensors Propagation::factors_through(const TracedStep& wide) const {
  Tensors rows = linear_part(wide, inputs_of(wide, [&](const Tensor& t) { return folded(factors_[t]); }));
  for (Tensor& t : rows) t = unfolded(t, directions_);
  return rows;
}

void Propagation::linear(size_t i) {
  const TracedStep& step = trace_.steps[i];
  const Tensors means = replay(step, inputs_of(step, [&](const Tensor& t) { return values_[t].mean; }));
  if (directions_ == 0) {
    const Tensors variances =
        linear_spread(step, inputs_of(step, [&](const Tensor& t) { return values_[t].variance; }), Spread::variance);
    for (size_t k = 0; k < means.size(); ++k) set(i, k, {means[k], expand(variances[k], means[k].shape()), {}});
  } else {
    const Tensors factors = factors_through(wide_.steps[i]);
    for (size_t k = 0; k < means.size(); ++k) set(i, k, {means[k], sum(square(factors[k]), {1}), factors[k]});
  }
}

// y = A_θ x + b with noise on x (variance V), on θ and b (variance w): Var y = A_{θ²} V + w·A_1 (x² + V) + w. What θ
// and b add to one number of y is uncorrelated with what they add to another in dense layers; in convolutions, too, it
// is taken to be.
JointMoments Propagation::weighted(size_t i) {
  const TracedStep& step = trace_.steps[i];
  const Inputs in = step.in();
  const JointMoments& x = values_[in[0]];
  const Tensor mean = replay(step, inputs_of(step, [&](const Tensor&) { return x.mean; }))[0];
  const auto own = [&] {
    const Tensor products = replay(step, {square(x.mean) + x.variance, ones_like(in[1])})[0] * weight_variance_;
    return in.size() > 2 ? products + weight_variance_ : products;
  };
  if (directions_ == 0) return {mean, replay(step, {x.variance, square(in[1])})[0] + own(), {}};
  const Tensor factors = factors_through(wide_.steps[i])[0];
  return noisy_weights_ ? joined(mean, factors, own()) : JointMoments{mean, sum(square(factors), {1}), factors};
}

// To first order in the correlations: Cov(h(x), h(y)) = E h'(x) E h'(y) Cov(x, y), the rest of Var h(x) being the
// number's own.
JointMoments Propagation::nonlinear(const TracedStep& step) {
  const JointMoments& x = values_[step.in()[0]];
  const Tensor s = root(x.variance);
  const Moments h = nonlinear_moments(step, inputs_of(step, [&](const Tensor&) { return x.mean; }), s);
  if (directions_ == 0) return {h.mean, h.variance, {}};
  const auto mean = [&](const Tensor& at) {
    return nonlinear_mean(step, inputs_of(step, [&](const Tensor&) { return at; }), s);
  };
  const Tensor slope = vjp(mean, x.mean, ones_like(x.mean)).second;
  return joined(h.mean, x.factors * spread_over(slope), not_negative(h.variance - square(slope) * x.variance));
}

JointMoments Propagation::pooled(const TracedStep& step) {
  const JointMoments greatest = clark_max_pool2d(values_[step.in()[0]], step.node().attributes.as<Pool2d>());
  if (directions_ == 0) return greatest;
  return joined(greatest.mean, greatest.factors, not_negative(greatest.variance - sum(square(greatest.factors), {1})));
}

// A mask of dropout, 0 or 1/(1 − rate), drawn for each number.
JointMoments Propagation::masked(const TracedStep& step) {
  const JointMoments& x = values_[step.in()[0]];
  const double rate = step.in()[2].item();
  const Tensor own = (square(x.mean) + x.variance) * (rate / (1 - rate));
  return directions_ == 0 ? JointMoments{x.mean, x.variance + own, {}} : joined(x.mean, x.factors, own);
}

void Propagation::follow(size_t i) {
  const TracedStep& step = trace_.steps[i];
  switch (kind_of(step)) {
    case StepKind::linear: return linear(i);
    case StepKind::weighted: return set(i, 0, weighted(i));
    case StepKind::dropout: return set(i, 0, masked(step));
    case StepKind::nonlinear: return set(i, 0, nonlinear(step));
    case StepKind::max_pool: return set(i, 0, pooled(step));
    case StepKind::unknown:
      throw ValueError(format("propagate_moments: {} computes {}, which has no rule", place(step), step.op().name));
  }
}

}  // namespace

Moments propagate_moments(const nn::Network& network, const Tensor& weights, const Tensor& state, const Tensor& x,
                          const NoiseScales& noise, const Correlations& correlations) {
  require(x.rank() == network.input().rank() + 1, "propagate_moments: input is {}; needs {} with any number of rows",
          x.shape(), network.input());
  require<ValueError>(correlations.directions >= 0, "propagate_moments: {} directions given; needs at least 0",
                      correlations.directions);
  return Propagation(network, weights, state, x, noise, correlations).run();
}

}  // namespace mollify::smoothing
