// Sharpness: how much a loss rises near given weights, in the worst case and on average (Andriushchenko et al. 2023).
#pragma once

#include <mollify/smoothing/attacks/attack.h>
#include <mollify/smoothing/loss/sample_losses.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// The neighbourhood: w + c ⊙ u with ‖u‖ ≤ ρ in the norm, c = |w| where it is adaptive, which makes it the same for
// networks that differ by a rescaling of their layers, else 1.
struct SharpnessOptions {
  Norm norm = Norm::linf;
  double rho = 2e-4;
  bool adaptive = false;
  int64_t batch = 128;   // samples of a batch; what is left of the last one is left out
  int64_t steps = 20;    // gradients of a run, one more for its start
  int64_t restarts = 1;  // runs of each batch: the first starts along the gradient at w, others at random
  uint64_t seed = 0;     // of the random starts
};

struct Sharpness {
  double value, standard_error;
  std::vector<double> batches = {};  // of each batch; `value` is their mean
};

// E_batches max_u L(w + c ⊙ u) − L(w), by Auto-PGD in u from the ball's edge: a lower bound on the maximum, and at
// least 0. Batches are samples in succession, and captured. Throws ValueError unless there are two batches, for ρ that
// is not above 0, and for other numbers out of range.
Sharpness worst_case_sharpness(const SampleLosses& losses, const Tensor& weights, const SharpnessOptions& how = {});

// E L(w + c ⊙ u) − L(w) over u ~ N(0, ρ²I), with L the mean over all samples: `samples` of the noise in antithetic
// pairs.
struct AverageSharpnessOptions {
  double rho = 2e-4;
  bool adaptive = false;
  int64_t samples = 64;
  uint64_t seed = 0;
};
Sharpness average_sharpness(const SampleLosses& losses, const Tensor& weights, const AverageSharpnessOptions& how = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
