// Bounds of an operation of one's own by a rule of one's own: soft thresholding, which moves x by λ toward 0 and gives
// 0 within ±λ. Prints the range of a network over a box by interval arithmetic, by CROWN, and of samples.
#include <mollify/mollify.h>

#include <iostream>
#include <limits>

using namespace mollify;
using nn::bounds::Box, nn::bounds::Lines, nn::bounds::Method;

// Made of other operations; to those who read a network, such as bounds, it is one.
struct Threshold { double lambda; };
const Op soft_threshold_op{
    .name = "soft_threshold", .shape = broadcast_shape, .made_of = [](Inputs in, const Attributes& how) -> Tensors {
      const double lambda = how.as<Threshold>().lambda;
      return in[0] - clip(in[0], -lambda, lambda);
    }};
Tensor soft_threshold(const Tensor& x, Threshold how) { return apply(soft_threshold_op, x, how); }

// What rounding may lose of h(x) − slope·x, its own subtraction and one more included: nothing where none is charged.
Tensor lost(const Tensor& h, const Tensor& rise, double roundoff) {
  return (abs(h) + abs(rise)) * (8 * roundoff) + (roundoff > 0 ? nn::bounds::smallest_normal(h.dtype()) : 0);
}

Box interval(const TracedStep& step, const Box& x, double roundoff) {  // it rises
  const Threshold how = step.node().attributes.as<Threshold>();
  const Tensor low = soft_threshold(x.lower, how), high = soft_threshold(x.upper, how);
  return {low - lost(low, low, roundoff), high + lost(high, high, roundoff)};
}

// Both lines have the chord's slope. h less a line is least and greatest at an end of the box or at a kink.
Lines lines(const TracedStep& step, const Box& x, const Tensor& /*alpha*/, double roundoff) {
  const Threshold how = step.node().attributes.as<Threshold>();
  const auto number = [&](double value) { return Tensor::scalar(value, x.lower.dtype()); };
  const auto kink = [&](double at) { return clip(number(at), x.lower, x.upper); };
  const Tensor width = x.upper - x.lower, climb = soft_threshold(x.upper, how) - soft_threshold(x.lower, how),
               slope = climb / where(width > 0.0, width, number(1));
  Tensor low = number(std::numeric_limits<double>::infinity()), high = -low;
  for (const Tensor& p : {x.lower, x.upper, kink(-how.lambda), kink(how.lambda)}) {
    const Tensor h = soft_threshold(p, how), rise = slope * p, loss = lost(h, rise, roundoff);
    low = minimum(low, h - rise - loss);
    high = maximum(high, h - rise + loss);
  }
  return {slope, low, slope, high};
}

int main() {
  nn::bounds::add_relaxation({.operation = "soft_threshold", .interval = interval, .lines = lines});
  const Tensor v = randn({16, 4}, 1, DType::f64), bias = randn({16}, 2, DType::f64), w = randn({1, 16}, 3, DType::f64);
  const nn::bounds::Graph graph([&](const Tensor& x) { return dense(soft_threshold(dense(x, v, bias), {0.5}), w, {}); },
                                {4}, DType::f64);
  const auto bounds = [&](Method method, double roundoff) {
    const Box box = nn::bounds::ball(zeros({1, 4}, DType::f64), 0.25, -1, 1);
    return nn::bounds::Bounds(graph, {box}, {.method = method, .roundoff = roundoff}).output();
  };
  const Box ibp = bounds(Method::ibp, 0), crown = bounds(Method::crown, 0),
            charged = bounds(Method::crown, nn::bounds::unit_roundoff(DType::f64));
  const Tensor samples = graph(rand({10000, 4}, 4, DType::f64) * 0.5 - 0.25);
  const Box sampled{min(samples), max(samples)};
  std::cout << "interval arithmetic " << ibp.lower << " to " << ibp.upper << "\nCROWN " << crown.lower << " to "
            << crown.upper << "\nsamples " << sampled.lower << " to " << sampled.upper << "\n";
  const auto within = [](const Box& inner, const Box& outer) {
    return outer.lower.item() <= inner.lower.item() && inner.upper.item() <= outer.upper.item();
  };
  return within(sampled, crown) && within(crown, charged) && within(charged, ibp) ? 0 : 1;
}
