// Networks smoothed in closed form (Starnes & Webster 2023): no sampling, one evaluation.
//
// The network is read as constraints x_{l+1} = A_θ h(x_l) + b whose squared residuals l = ‖A_θ h(x) + b − y‖², A_θ
// linear in its weights θ, are smoothed over x, θ, b and y with independent noise of deviation s (Theorem 6.1, Props.
// E.2, E.3 and eqs. 29–31 in general):
//   l_s = ‖A_θ h_s(x) + b − y‖²   the term at the smoothed activation: what the smoothed network makes 0
//       + Σ A_{θ²} V_h(x)         weights squared, on the variance V_h = (h²)_s − h_s² (Tables 1 and 4 print + for −)
//       + s² ‖√(h²)_s(x)‖²_C      ‖z‖²_C = Σ over outputs of the squares of all the inputs that each reads
//       + 2 s² dim(y)             a constant
// For h the identity V = s². Data carry no noise: what is computed from the input alone, activations included, stays as
// it is. The first weighted layer, on the data, and linear maps without weights (pooling, flattening, residual
// addition, batch norm with fixed statistics) are left with constants, which nothing here charges.
#pragma once

#include <mollify/nn/network.h>
#include <mollify/smoothing/sigma.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// joint: an activation that only feeds a dense layer or a convolution is one term with it (Theorem 6.1),
//        Σ A_{θ²} V_h(x) + s² ‖√(h²)_s(x)‖²_C.
// split: every activation is a term of its own (Tables 2 and 4), Σ V_h(x), and the layer's activation is the identity.
enum class Form { joint, split };

// λ of each term by the name of its layer: "activation1", "dense1", … Layers without a term of their own, such as a
// joined activation, may be named too: one map serves both forms.
struct PenaltyWeights {
  std::map<std::string, double> by_layer;
  double otherwise = 0;             // of layers that by_layer leaves out
  bool every_layer_named = true;    // then such layers are errors
  Form form = Form::joint;

  static PenaltyWeights uniform(double weight, Form form = Form::joint) { return {{}, weight, false, form}; }
  static PenaltyWeights none() { return uniform(0); }
};

// What has no closed form is an error, or approximated: Gauss–Hermite for activations, pairwise Clark with matched
// moments for max pooling, and activations of activations within a layer one after the other.
enum class Approximations { refused, allowed };

class SmoothedNetwork {
 public:
  // network must outlive this.
  SmoothedNetwork(const nn::Network& network, Sigma sigma, const PenaltyWeights& weights,
                  Approximations approximations);

  struct Result {
    Tensor output;   // [N, …], of the smoothed network
    Tensor penalty;  // 0-d: mean over the N rows of Σ λ·(terms that depend on weights or activations)
    Tensor constant; // 0-d: Σ λ·(terms that depend on the scale alone), whose slope is felt by those who choose it
  };
  // Batch norm uses the statistics in `state`; dropout is smoothed too: the identity, and its variance rate/(1 −
  // rate)·x² as a penalty.
  // Differentiable in weights, x and sigma. Throws ValueError naming a layer that cannot be smoothed or has no penalty
  // weight.
  Result operator()(const Tensor& weights, const Tensor& state, const Tensor& x, const Sigma& sigma) const;
  Result operator()(const Tensor& weights, const Tensor& state, const Tensor& x) const {
    return (*this)(weights, state, x, sigma_);
  }
  Result operator()(const Tensor& weights, const Tensor& x) const { return (*this)(weights, {}, x, sigma_); }

  // Layers with a penalty, in order: the names that PenaltyWeights takes.
  std::vector<std::string> penalised_layers() const;

  const nn::Network& network() const { return *network_; }
  const Sigma& sigma() const { return sigma_; }

  struct Term;  // what is known of one operation of the network beforehand

 private:
  const nn::Network* network_;
  Sigma sigma_;
  std::shared_ptr<const std::vector<Term>> terms_;
};

// The smoothed counterpart of any network whose operations are linear, in the table of activations, or dropout.
// Unsupported layers and unknown names among the penalty weights are errors here already.
SmoothedNetwork smooth(const nn::Network& network, const Sigma& sigma,
                       const PenaltyWeights& weights = PenaltyWeights::none(),
                       Approximations approximations = Approximations::refused);
// The network must outlive its smoothed counterpart.
SmoothedNetwork smooth(const nn::Network&& network, const Sigma& sigma,
                       const PenaltyWeights& weights = PenaltyWeights::none(),
                       Approximations approximations = Approximations::refused) = delete;

// `weight` times the mean over the batch of ‖output − one_hot(label)‖², plus the penalty and its constant: with
// weight 1 the smoothed loss, also as a function of the scale; the authors' code has the outputs' mean, 1/classes,
// beside penalties that are not scaled.
Tensor smoothed_squared_error(const SmoothedNetwork::Result& result, const Tensor& labels, double weight = 1);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
