#include <mollify/nn/bounds/interval.h>

#include <mollify/nn/reading.h>

#include <limits>

namespace mollify::nn::bounds {
namespace {

// The step's inputs, those that depend on the graph's input in order from `values`.
template <class F>
Tensors with_inputs(const Graph& graph, int node, const TracedStep& step, const F& value) {
  const Graph::Node& n = graph.nodes()[static_cast<size_t>(node)];
  Tensors in(n.inputs.size());
  for (size_t i = 0, next = 0; i < in.size(); ++i) in[i] = n.inputs[i] < 0 ? step.in()[i] : value(next++);
  return in;
}

}  // namespace

double rounding_share(double terms, double roundoff) {
  const double share = terms * roundoff;
  return share > 0.01 ? std::numeric_limits<double>::infinity() : 1.02 * share;
}

Interval interval_of(const Box& box, double roundoff) {
  const Tensor center = (box.lower + box.upper) * 0.5, radius = (box.upper - box.lower) * 0.5;
  if (roundoff == 0) return {center, radius};
  const Tensor widened = (radius + abs(center)) * (8 * roundoff) + smallest_normal(center.dtype());
  return {center, radius + widened};
}

Box box_of(const Interval& interval, double roundoff) {
  if (roundoff == 0) return {interval.center - interval.radius, interval.center + interval.radius};
  const Tensor radius = interval.radius + (abs(interval.center) + interval.radius) * (4 * roundoff) +
                        smallest_normal(interval.radius.dtype());
  return {interval.center - radius, interval.center + radius};
}

// With δ = 2γ: fl(|W|(r + δ(|c| + r))) ≥ |W|r + γ|W||c|, to which the offset's share and the last additions' come.
Interval through_linear(const Graph& graph, int node, const std::vector<Interval>& inputs, double roundoff) {
  const TracedStep& step = graph.step(node, inputs[0].center.shape()[0]);
  const double roundings = roundoff == 0 ? 0 : graph.roundings(node) + 4,
               share = 2 * rounding_share(roundings, roundoff);
  const Tensor center = replay(step, with_inputs(graph, node, step, [&](size_t i) { return inputs[i].center; }))[0];
  const auto radius_of = [&](size_t i) {
    const Interval& x = inputs[i];
    return share == 0 ? x.radius : x.radius + (abs(x.center) + x.radius) * share + smallest_normal(x.radius.dtype());
  };
  const Tensor radius = linear_spread(step, with_inputs(graph, node, step, radius_of), Spread::radius)[0];
  if (share == 0) return {center, radius};
  const Tensor& offset = graph.offset(node);
  const Tensor magnitude = offset.defined() ? abs(center) + abs(offset) : abs(center);
  return {center, radius + magnitude * share + roundings * smallest_normal(radius.dtype())};
}

Box through_max_pool(const TracedStep& step, const Box& x) {
  return {replay(step, x.lower)[0], replay(step, x.upper)[0]};
}

Tensor magnitude_through_linear(const Graph& graph, int node, const std::vector<Tensor>& inputs, double roundoff) {
  const TracedStep& step = graph.step(node, inputs[0].shape()[0]);
  const double roundings = graph.roundings(node) + 4;
  const Tensor spread =
      linear_spread(step, with_inputs(graph, node, step, [&](size_t i) { return inputs[i]; }), Spread::radius)[0];
  const Tensor sum = graph.offset(node).defined() ? spread + abs(graph.offset(node)) : spread;
  return sum * (1 + 2 * rounding_share(roundings, roundoff)) + roundings * smallest_normal(sum.dtype());
}

Tensor magnitude_of(const Box& box) { return maximum(abs(box.lower), abs(box.upper)); }

}  // namespace mollify::nn::bounds
