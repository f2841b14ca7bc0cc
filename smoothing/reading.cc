#include <mollify/smoothing/reading.h>

namespace mollify::smoothing {
namespace {

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

StepKind kind_of(const Step& step) {
  const StepKind kind = nn::kind_of(step);
  return kind == StepKind::nonlinear && !find_activation(step.op().name) ? StepKind::unknown : kind;
}

Moments nonlinear_moments(const Step& step, Inputs in, const Tensor& s) {
  if (kind_of(step) == StepKind::max_pool) return clark_max_pool2d({in[0], zeros_like(in[0]) + square(s)}, step.node().attributes.as<Pool2d>());
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
