// What the readers of a network's trace share: smoothing, moments and bounds.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/engine/trace.h>
#include <mollify/nn/network.h>

#include <string>
#include <string_view>

namespace mollify::nn {

// The network's operations on [rows, …] inputs: dropout shows, batch norm uses the statistics in `state`.
Trace traced(const Network& network, const Tensor& weights, const Tensor& state, int64_t rows);

// "layer 'dense1'", or the operation where no layer is named.
std::string place(const TracedStep& step);

inline bool is(const TracedStep& step, std::string_view operation) { return step.op().name == operation; }

// The operation of a step on other inputs.
Tensors replay(const TracedStep& step, Inputs in);

// The step's inputs with the abstract ones replaced by what `value` gives for them.
template <class F>
Tensors inputs_of(const TracedStep& step, const F& value) {
  Tensors in(step.in().size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = is_abstract(step.in()[i]) ? value(step.in()[i]) : step.in()[i];
  return in;
}

enum class StepKind { linear, weighted, nonlinear, max_pool, dropout, unknown };
// linear: of all its abstract inputs together, others fixed. weighted: a product of an abstract left side and weights.
// nonlinear: any other operation of one abstract input, its first; further inputs, such as a slope, have values.
StepKind kind_of(const TracedStep& step);

// A linear or weighted step without its constant part: the coefficients on the inputs.
Tensors linear_part(const TracedStep& step, Inputs in);

// What the outputs of a linear or weighted step get from spreads around its inputs: radii add up by absolute
// coefficients, variances of independent numbers by squared ones.
enum class Spread { radius, variance };
Tensors linear_spread(const TracedStep& step, Inputs spreads, Spread kind);

}  // namespace mollify::nn
