#include <mollify/smoothing/reading.h>

#include <string_view>

namespace mollify::smoothing {
namespace {

bool is(const Step& step, std::string_view name) { return step.op().name == name; }

bool is_elementwise_product(const Step& step) { return is(step, "multiply") || is(step, "divide"); }

StepKind kind_of_product(const Step& step) {
  const Inputs in = step.in();
  if (in.size() > 2 && is_abstract(in[2])) return StepKind::unknown;
  if (is_abstract(in[1])) return is(step, "multiply") && !is_abstract(in[0]) ? StepKind::linear : StepKind::unknown;
  return is_elementwise_product(step) ? StepKind::linear : StepKind::weighted;
}

// The windows' numbers at one place of the kernel: [N, OH, OW, C].
Tensor window_place(const Tensor& padded, const Pool2d& how, int64_t row, int64_t column, int64_t height, int64_t width) {
  const Tensor rows = slice(padded, 1, row, row + (height - 1) * how.stride_height + 1, how.stride_height);
  return slice(rows, 2, column, column + (width - 1) * how.stride_width + 1, how.stride_width);
}

Moments clark_max_pool2d(const Moments& x, const Pool2d& how) {
  const Shape& shape = x.mean.shape();
  const int64_t height = (shape[1] + how.pad_top + how.pad_bottom - how.kernel_height) / how.stride_height + 1;
  const int64_t width = (shape[2] + how.pad_left + how.pad_right - how.kernel_width) / how.stride_width + 1;
  constexpr double kNever = -1e30;  // padding never wins
  const auto padded = [&](const Tensor& t, double value) {
    return pad(pad(t, 1, how.pad_top, how.pad_bottom, value), 2, how.pad_left, how.pad_right, value);
  };
  const Tensor mean = padded(x.mean, kNever), variance = padded(x.variance, 0);
  Moments greatest;
  for (int64_t row = 0; row < how.kernel_height; ++row)
    for (int64_t column = 0; column < how.kernel_width; ++column) {
      const Moments here{window_place(mean, how, row, column, height, width), window_place(variance, how, row, column, height, width)};
      greatest = greatest.mean.defined() ? clark_max(greatest, here) : here;
    }
  return greatest;
}

}  // namespace

Trace traced(const nn::Network& network, const Tensor& weights, const Tensor& state, int64_t rows) {
  Shape shape = network.input();
  shape.insert(0, rows);
  const Tensor step = Tensor::scalar(0, DType::i32);
  return trace([&](const Tensor& x) { return network(weights, state, x, nn::Mode::frozen, {}, step).output; },
               Layout::packed(shape, weights.dtype(), weights.device()));
}

std::string place(const Step& step) {
  return step.label.empty() ? format("operation '{}'", step.op().name) : format("layer '{}'", step.label);
}

Tensors replay(const Step& step, Inputs in) { return apply_all(step.op(), in, step.node().attributes); }

StepKind kind_of(const Step& step) {
  if (step.op().linearity == Linearity::sum) return StepKind::linear;
  if (step.op().linearity == Linearity::product) return kind_of_product(step);
  if (is(step, "max_pool2d")) return StepKind::max_pool;
  if (is(step, "dropout")) return StepKind::dropout;
  const Inputs in = step.in();
  for (size_t i = 1; i < in.size(); ++i)
    if (is_abstract(in[i])) return StepKind::unknown;
  return find_activation(step.op().name) ? StepKind::activation : StepKind::unknown;
}

Tensors linear_variances(const Step& step, Inputs variances) {
  if (step.op().linearity == Linearity::product) {
    const bool left = is_abstract(step.in()[0]);
    const Tensor other = square(step.in()[left ? 1 : 0]);
    return replay(step, left ? Inputs(variances[0], other) : Inputs(other, variances[1]));
  }
  Tensors in(variances.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const Tensor& given = step.in()[i];
    in[i] = is_abstract(given) || !is_floating(given.dtype()) ? variances[i] : zeros_like(given);
  }
  if (is(step, "subtract")) return in[0] + in[1];
  if (is(step, "negative")) return in[0];
  const Tensors variance = replay(step, in);
  if (!is(step, "average_pool2d")) return variance;  // every coefficient is 0 or 1
  const Pool2d& how = step.node().attributes.as<Pool2d>();
  return variance[0] / static_cast<double>(how.kernel_height * how.kernel_width);
}

Moments nonlinear_moments(const Step& step, Inputs in, const Tensor& s) {
  if (kind_of(step) == StepKind::max_pool) return clark_max_pool2d({in[0], expand(square(s), in[0].shape())}, step.node().attributes.as<Pool2d>());
  return moments_of(*find_activation(step.op().name), in, step.node().attributes, s);
}

Moments nonlinear_total(const Step& step, Inputs in, const Tensor& s) {
  if (kind_of(step) != StepKind::max_pool) return total_of(*find_activation(step.op().name), in, step.node().attributes, s);
  const Moments all = nonlinear_moments(step, in, s);
  return {all.mean, sum(all.variance)};
}

Tensor nonlinear_mean(const Step& step, Inputs in, const Tensor& s) {
  if (kind_of(step) == StepKind::max_pool) return nonlinear_moments(step, in, s).mean;
  return find_activation(step.op().name)->mean(in, step.node().attributes, s);
}

}  // namespace mollify::smoothing
