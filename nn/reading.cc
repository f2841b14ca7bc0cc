#include <mollify/nn/reading.h>

#include <mollify/engine/ops/rules.h>

namespace mollify::nn {
namespace {

bool is_elementwise_product(const TracedStep& step) { return is(step, "multiply") || is(step, "divide"); }

StepKind kind_of_product(const TracedStep& step) {
  const Inputs in = step.in();
  if (in.size() > 2 && is_abstract(in[2])) return StepKind::unknown;
  if (is_abstract(in[1])) return is(step, "multiply") && !is_abstract(in[0]) ? StepKind::linear : StepKind::unknown;
  return is_elementwise_product(step) ? StepKind::linear : StepKind::weighted;
}

// A sum's inputs with zeros in place of those that have values.
Tensors without_constants(const TracedStep& step, Inputs in) {
  Tensors result(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const Tensor& given = step.in()[i];
    result[i] = is_abstract(given) || !is_floating(given.dtype()) ? in[i] : zeros_like(given);
  }
  return result;
}

// A sum without what it adds itself: a pad's value.
Tensors coefficients_of_sum(const TracedStep& step, const Tensors& in) {
  if (is(step, "pad")) return padded_with(0, in[0], step.node().attributes);
  return replay(step, in);
}

// A product with `coefficients` in place of its input that has values, and nothing added.
template <class F>
Tensors product_with(const TracedStep& step, Inputs in, const F& coefficients) {
  const bool left = is_abstract(step.in()[0]);
  const Tensor other = coefficients(step.in()[left ? 1 : 0]);
  return replay(step, left ? Inputs(in[0], other) : Inputs(other, in[1]));
}

}  // namespace

Trace traced(const Network& network, const Tensor& weights, const Tensor& state, int64_t rows) {
  Shape shape = network.input();
  shape.insert(0, rows);
  const Tensor step = Tensor::scalar(0, DType::i32);
  return trace([&](const Tensor& x) { return network(weights, state, x, Mode::frozen, {}, step).output; },
               Layout::packed(shape, weights.dtype(), weights.device()));
}

std::string place(const TracedStep& step) {
  return step.label.empty() ? format("operation '{}'", step.op().name) : format("layer '{}'", step.label);
}

Tensors replay(const TracedStep& step, Inputs in) { return apply_all(step.op(), in, step.node().attributes); }

StepKind kind_of(const TracedStep& step) {
  if (step.op().linearity == Linearity::sum) return StepKind::linear;
  if (step.op().linearity == Linearity::product) return kind_of_product(step);
  if (is(step, "max_pool2d")) return StepKind::max_pool;
  if (is(step, "dropout")) return StepKind::dropout;
  const Inputs in = step.in();
  for (size_t i = 1; i < in.size(); ++i)
    if (is_abstract(in[i])) return StepKind::unknown;
  return StepKind::nonlinear;
}

Tensors linear_part(const TracedStep& step, Inputs in) {
  if (step.op().linearity == Linearity::product)
    return product_with(step, in, [](const Tensor& weights) { return weights; });
  return coefficients_of_sum(step, without_constants(step, in));
}

Tensors linear_spread(const TracedStep& step, Inputs spreads, Spread kind) {
  const bool squares = kind == Spread::variance;
  if (step.op().linearity == Linearity::product)
    return product_with(step, spreads, [&](const Tensor& weights) { return squares ? square(weights) : abs(weights); });
  const Tensors in = without_constants(step, spreads);
  if (is(step, "subtract")) return in[0] + in[1];
  if (is(step, "negative")) return in[0];
  const Tensors spread = coefficients_of_sum(step, in);
  if (!squares || !is(step, "average_pool2d")) return spread;  // every other coefficient is 0 or 1
  const Pool2d& how = step.node().attributes.as<Pool2d>();
  return spread[0] / static_cast<double>(how.kernel_height * how.kernel_width);
}

}  // namespace mollify::nn
