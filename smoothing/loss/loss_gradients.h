// Gradients of a loss smoothed over its weights, L_s(w) = E L(w + s·z) with z standard normal, for any optimizer.
#pragma once

#include <mollify/optim/gradient.h>
#include <mollify/smoothing/loss/exchange.h>
#include <mollify/smoothing/loss/population.h>

#include <memory>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// From loss values alone (Spall 1992; PGPE: Sehnke et al. 2010; sparse zeroth-order optimisation: Ohta et al. 2020,
// whose μ is s): also of losses that jump or have no gradient. The first evaluation of a step is at w itself.
struct FromValues : Population {
  // What a step may change of s besides its schedule: a step of gradient descent, for all weights or each apart, on
  // ∂L_s/∂s (SLGH's second rule: Iwakiri et al. 2022), which changes s by a fifth at most and keeps it from `least` to
  // `most`.
  enum class Scale { scheduled, learned, learned_each } scale = Scale::scheduled;
  double scale_rate = 0.01, least = 1e-6, most = 1;
  // Computes once what is linear in the weights (PerturbedLoss): the loss must not read values, and should do the same
  // operations for all members.
  bool share_linear_parts = false;
  // Divides the pairs among processes, which exchange loss values only and end in the bits of one. Throws ValueError
  // where they are more than the pairs.
  std::shared_ptr<const Exchange> exchange = {};
};
// Throws ValueError for pairs, rates and bounds that are none.
std::unique_ptr<optim::Gradient> gradient_from_values(const Sigma& s, const FromValues& how = {});

// The mean of ∇L at w + s·z_j (randomised gradient smoothing): it does not see where L jumps. antithetic: at w ± s·z_j.
struct FromGradients {
  int64_t samples = 2;  // gradients a step; whole pairs where antithetic
  bool antithetic = true;
  uint64_t seed = 0;
  std::shared_ptr<const Exchange> exchange = {};  // divides the directions; gradients are exchanged, in a fixed order
};
std::unique_ptr<optim::Gradient> gradient_from_gradients(const Sigma& s, const FromGradients& how = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
