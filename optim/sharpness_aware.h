// Sharpness-aware gradients: of the loss where it is about largest near the weights, for any optimizer.
#pragma once

#include <mollify/optim/gradient.h>

#include <memory>

#pragma GCC visibility push(default)
namespace mollify::optim {

// SAM (Foret et al. 2021): the gradient at w + e, e = ρ·g/‖g‖ for the gradient g at w, both by `inner`; empty: exact.
// The loss is that at w, whose evaluation is the first: statistics of batch norm are to come from it alone. Where g is
// 0, so is e. Throws ValueError for ρ that is not above 0 and finite.
std::unique_ptr<Gradient> sam(double rho = 0.05, std::unique_ptr<Gradient> inner = nullptr);

// ASAM (Kwon et al. 2021), which does not change when weights are rescaled: e = ρ·T²g/‖Tg‖ with T = |w| + offset, for
// all weights alike.
struct AsamOptions {
  double rho = 0.5, offset = 0.01;
};
std::unique_ptr<Gradient> asam(const AsamOptions& options = {}, std::unique_ptr<Gradient> inner = nullptr);

}  // namespace mollify::optim
#pragma GCC visibility pop
