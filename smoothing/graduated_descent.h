// Explicit graduated optimisation (Hazan et al. 2016; Sato & Iiduka, AAAI 2025): descent on f_s, f smoothed with
// Gaussian noise, level by level as s falls. Implicit, by SGD's own noise: optim/graduated.h.
#pragma once

#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/loss/loss_gradients.h>

#include <memory>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// s of each step: geometric from `first` to `last` over the levels, `last` from then on; other courses are schedules of
// a Sigma. Levels and steps are the published experiment's, 1,020 steps. That starts from s = 1, from where its
// learning rate .01·s brings all of Rastrigin's coordinates into the middle basin along its linear course; along the
// geometric one sampled gradients leave some outside unless it starts from 2. That code's noise δz is s = δ a
// coordinate; the theory's δ, with E‖u‖ ≤ 1, is s = δ/√d.
struct GraduatedLevels {
  double first = 2, last = 0.01;
  int64_t levels = 51, steps = 20;  // steps of a level
};
Sigma graduated_sigma(const GraduatedLevels& levels = {});  // throws ValueError for levels that are none

// The gradient of a smoothed loss that is known as a function of weights and s, such as gaussian_form's. The step's own
// loss is evaluated once, at the weights, and only reported.
std::unique_ptr<optim::Gradient> gradient_from_form(SmoothedLoss form, const Sigma& s);

// The mean of ∇f(w ± s·z_j) for a function over the last axis, […, d] → […], such as test_functions(): all samples,
// whole pairs of them, in one evaluation. gradient_from_gradients is the same, draws included, for a loss of the
// weights alone. About a minimum where ∇f is odd the noise of pairs vanishes: on Rastrigin 100 samples a step end at
// 1e-35, and at 3e-4 where they are independent.
std::unique_ptr<optim::Gradient> gradient_from_rows(Tensor (*function)(const Tensor& x), const Sigma& s,
                                                    int64_t samples, uint64_t seed);

// Gradient descent with the learning rate rate·s, on what `gradient` estimates, which should have the same s.
std::unique_ptr<optim::Optimizer> graduated_descent(double rate, const Sigma& s,
                                                    std::unique_ptr<optim::Gradient> gradient);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
