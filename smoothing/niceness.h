// σ-niceness (Hazan et al. 2016; new σ-nice, σ_m-nice: Sato & Iiduka): what graduated optimisation needs of f_δ for its
// rates.
#pragma once

#include <mollify/smoothing/smoothed_functions.h>

#include <optional>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// Of one δ of a falling sequence.
struct NicenessLevel {
  double delta;
  double minimiser;            // x*_δ of f_δ over the function's box, which δ widens
  double least_curvature;      // of f_δ within `reach`·δ of x*_δ: σ_m where it is positive
  std::optional<double> step;  // |x*_δ − x*_δ′| to the next level's δ′; none for the last
  bool convex, near;           // least_curvature > 0; step ≤ δ′, or no next level
  bool nice() const { return convex && near; }
};

// For functions of one number, and so for each coordinate of separable ones. `deltas` fall and are above 0; reach is
// Hazan's 3. A search over points that follow the function's waves, refined to 1e-10. Throws ValueError for other δ and
// where f_δ is infinite.
std::vector<NicenessLevel> niceness(const SmoothedFunction& f, const std::vector<double>& deltas, double reach = 3);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
