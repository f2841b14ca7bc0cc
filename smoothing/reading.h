// What the readers of this folder share when they walk a network's trace.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/engine/trace.h>
#include <mollify/nn/network.h>
#include <mollify/smoothing/activations.h>

#include <string>

namespace mollify::smoothing {

// The network's operations on [rows, …] inputs: dropout shows, batch norm uses the statistics in `state`.
Trace traced(const nn::Network& network, const Tensor& weights, const Tensor& state, int64_t rows);

// "layer 'dense1'", or the operation where no layer is named.
std::string place(const Step& step);

// The operation of a step on other inputs.
Tensors replay(const Step& step, Inputs in);

// The step's inputs with the abstract ones replaced by what `value` gives for them.
template <class F>
Tensors inputs_of(const Step& step, const F& value) {
  Tensors in(step.in().size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = is_abstract(step.in()[i]) ? value(step.in()[i]) : step.in()[i];
  return in;
}

enum class StepKind { linear, weighted, activation, max_pool, dropout, unknown };
// linear: of all its abstract inputs together, others fixed. weighted: a product of an abstract left side and weights.
// An activation's other inputs, such as a slope, have values.
StepKind kind_of(const Step& step);

// Variances of a linear step's outputs for independent inputs: its coefficients, squared, on the inputs' variances.
Tensors linear_variances(const Step& step, Inputs variances);

// Mean and variance of an activation or a max pooling whose inputs are `in` with independent normal noise of deviation s, which
// broadcasts. Of max pooling by pairwise Clark with matched moments: an approximation.
Moments nonlinear_moments(const Step& step, Inputs in, const Tensor& s);
Moments nonlinear_total(const Step& step, Inputs in, const Tensor& s);  // the variances' sum, 0-d, in place of the variances
Tensor nonlinear_mean(const Step& step, Inputs in, const Tensor& s);

}  // namespace mollify::smoothing
