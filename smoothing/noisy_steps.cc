#include <mollify/smoothing/noisy_steps.h>

#include <mollify/engine/ops/rules.h>

namespace mollify::smoothing {
namespace {

// The windows' numbers at one place of the kernel, images being on axes `axis` and `axis` + 1: [N, …, OH, OW, C].
Tensor window_place(const Tensor& padded, const Pool2d& how, int axis, int64_t row, int64_t column, int64_t height,
                    int64_t width) {
  const Tensor rows = slice(padded, axis, row, row + (height - 1) * how.stride_height + 1, how.stride_height);
  return slice(rows, axis + 1, column, column + (width - 1) * how.stride_width + 1, how.stride_width);
}

// The greater of two, with the factors weighted by how often each is the greater (Clark 1961, eq. 7).
JointMoments greater_of(const JointMoments& a, const JointMoments& b) {
  if (!a.factors.defined()) {
    const Moments greatest = clark_max({a.mean, a.variance}, {b.mean, b.variance});
    return {greatest.mean, greatest.variance, {}};
  }
  const Tensor covariance = sum(a.factors * b.factors, {1});
  const Moments greatest = clark_max({a.mean, a.variance}, {b.mean, b.variance}, covariance);
  const Tensor theta = root(a.variance + b.variance - covariance * 2.0), difference = a.mean - b.mean;
  const Tensor first = spread_over(step_smoothed(difference, theta)),
               second = spread_over(step_smoothed(-difference, theta));
  return {greatest.mean, greatest.variance, a.factors * first + b.factors * second};
}

}  // namespace

Tensor spread_over(const Tensor& x) {
  Shape shape = x.shape();
  shape.insert(1, 1);
  return reshape(x, shape);
}

JointMoments clark_max_pool2d(const JointMoments& x, const Pool2d& how) {
  const Shape& shape = x.mean.shape();
  const int64_t height = (shape[1] + how.pad_top + how.pad_bottom - how.kernel_height) / how.stride_height + 1;
  const int64_t width = (shape[2] + how.pad_left + how.pad_right - how.kernel_width) / how.stride_width + 1;
  constexpr double kNever = -1e30;  // padding never wins
  const auto padded = [&](const Tensor& t, int axis, double value) {
    return pad(pad(t, axis, how.pad_top, how.pad_bottom, value), axis + 1, how.pad_left, how.pad_right, value);
  };
  const Tensor mean = padded(x.mean, 1, kNever), variance = padded(x.variance, 1, 0);
  const Tensor factors = x.factors.defined() ? padded(x.factors, 2, 0) : Tensor();
  JointMoments greatest;
  for (int64_t row = 0; row < how.kernel_height; ++row)
    for (int64_t column = 0; column < how.kernel_width; ++column) {
      const auto place = [&](const Tensor& t, int axis) {
        return window_place(t, how, axis, row, column, height, width);
      };
      const JointMoments here{place(mean, 1), place(variance, 1), factors.defined() ? place(factors, 2) : Tensor()};
      greatest = greatest.mean.defined() ? greater_of(greatest, here) : here;
    }
  return greatest;
}

StepKind kind_of(const TracedStep& step) {
  const StepKind kind = nn::kind_of(step);
  return kind == StepKind::nonlinear && !find_activation(step.op().name) ? StepKind::unknown : kind;
}

Moments nonlinear_moments(const TracedStep& step, Inputs in, const Tensor& s) {
  if (kind_of(step) == StepKind::max_pool) {
    const JointMoments greatest =
        clark_max_pool2d({in[0], zeros_like(in[0]) + square(s), {}}, step.node().attributes.as<Pool2d>());
    return {greatest.mean, greatest.variance};
  }
  return moments_of(*find_activation(step.op().name), in, step.node().attributes, s);
}

Moments nonlinear_total(const TracedStep& step, Inputs in, const Tensor& s) {
  if (kind_of(step) != StepKind::max_pool)
    return total_of(*find_activation(step.op().name), in, step.node().attributes, s);
  const Moments all = nonlinear_moments(step, in, s);
  return {all.mean, sum(all.variance)};
}

Tensor nonlinear_mean(const TracedStep& step, Inputs in, const Tensor& s) {
  if (kind_of(step) == StepKind::max_pool) return nonlinear_moments(step, in, s).mean;
  return find_activation(step.op().name)->mean(in, step.node().attributes, s);
}

}  // namespace mollify::smoothing
