#include <mollify/smoothing/moments.h>

#include <mollify/smoothing/reading.h>

namespace mollify::smoothing {
namespace {

// y = A_θ x + b with noise on x (variance V), on θ and b (variance w): Var y = A_{θ²} V + w·A_1 (x² + V) + w.
Moments weighted(const Step& step, const Moments& x, const Tensor& weight_variance) {
  const Inputs in = step.in();
  const Tensor mean = replay(step, inputs_of(step, [&](const Tensor&) { return x.mean; }))[0];
  const Tensor through = replay(step, {x.variance, square(in[1])})[0];
  const Tensor own = replay(step, {square(x.mean) + x.variance, ones_like(in[1])})[0] * weight_variance;
  return {mean, in.size() > 2 ? through + own + weight_variance : through + own};
}

// The deviation; at variance 0 without a slope, which would be infinite, and with it every gradient NaN.
Tensor deviation_of(const Tensor& variance) {
  const Tensor zero = Tensor::scalar(0, variance.dtype()), some = less(zero, variance);
  return where(some, sqrt(where(some, variance, Tensor::scalar(1, variance.dtype()))), zero);
}

Moments masked(const Moments& x, double rate) { return {x.mean, x.variance + (square(x.mean) + x.variance) * (rate / (1 - rate))}; }

}  // namespace

Moments propagate_moments(const nn::Network& network, const Tensor& weights, const Tensor& state, const Tensor& x, const NoiseScales& noise) {
  require(x.rank() == network.input().rank() + 1, "propagate_moments: input is {}; needs {} with any number of rows", x.shape(), network.input());
  const Trace trace = traced(network, weights, state, x.shape()[0]);
  const Tensor weight_variance = square(noise.weights.tensor(x.dtype()));
  TraceValues<Moments> values;
  values.set(trace.input, {x, zeros_like(x) + square(noise.input.tensor(x.dtype()))});
  for (const Step& step : trace.steps) {
    const auto mean = [&](const Tensor& t) { return values[t].mean; };
    const auto variance = [&](const Tensor& t) { return values[t].variance; };
    switch (kind_of(step)) {
      case StepKind::linear: {
        const Tensors means = replay(step, inputs_of(step, mean)), variances = linear_spread(step, inputs_of(step, variance), Spread::variance);
        for (size_t i = 0; i < means.size(); ++i) values.set(step.outputs[i], {means[i], expand(variances[i], means[i].shape())});
        break;
      }
      case StepKind::weighted: values.set(step.outputs[0], weighted(step, values[step.in()[0]], weight_variance)); break;
      case StepKind::dropout: values.set(step.outputs[0], masked(values[step.in()[0]], step.in()[2].item())); break;
      case StepKind::nonlinear:
      case StepKind::max_pool: values.set(step.outputs[0], nonlinear_moments(step, inputs_of(step, mean), deviation_of(variance(step.in()[0])))); break;
      case StepKind::unknown: throw ValueError(format("propagate_moments: {} computes {}, which has no rule", place(step), step.op().name));
    }
  }
  return values[trace.output];
}

}  // namespace mollify::smoothing
