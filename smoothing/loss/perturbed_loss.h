// A loss at many weights w + s·z, read from its trace so that what is linear in the weights is computed once.
#pragma once

#include <mollify/optim/gradient.h>

#include <memory>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// What the loss computes from its weights by linear operations, such as the products with a network's input, is split
// into its value at w and its change along z: f(w + s·z) = f(w) + s·f(z). The former are computed once, the latter once
// for a direction; only what follows them is computed for every s. Where `put` places the weights among others that
// stay, a direction is sparse: pieces without any of its numbers do not move and are computed once, and a first dense
// layer's product takes as much work as there are numbers.
class PerturbedLoss {
 public:
  // Traces the loss: it must not read values, nor its weights' history. Keeps views of `weights` and of what the loss
  // reads. Records no history.
  PerturbedLoss(const optim::Loss& loss, const Tensor& weights);
  ~PerturbedLoss();

  void turn_to(const Tensor& direction);         // z, in the weights' shape
  Tensor operator()(const Tensor& scale) const;  // the loss at w + scale·z, scale 0-d; needs a direction

 private:
  class Reading;
  std::unique_ptr<Reading> reading_;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
