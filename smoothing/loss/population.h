// What a population of perturbed weights w ± s·z says of a loss smoothed over its weights, L_s(w) = E L(w + s·z): its
// gradients in w and in s, from the population's losses alone.
#pragma once

#include <mollify/engine/random.h>
#include <mollify/smoothing/sigma.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// How the directions z of a population are drawn, and what their losses count for. The direction of pair j in a step is
// a function of (seed, step, j, index), that of MonteCarlo's antithetic draws: it is drawn again where it is needed and
// never kept.
struct Population {
  int64_t pairs = 10;
  // two: L(w + s·z) − L(w − s·z) over 2s (PGPE with 2·pairs members; sparse zeroth-order optimisation with k = pairs).
  // one: L(w + s·z) − L(w) over s. point: L(w + s·z) over s, of far greater variance.
  enum class Sides { point, one, two } sides = Sides::two;
  enum class Directions { normal, signs } directions = Directions::normal;  // signs: Rademacher's
  bool ranks = false;  // losses count by their rank, from −½ to ½: another descent direction, no gradient of L_s
  uint64_t seed = 0;
};

// Losses of a step's members, [pairs] each. The mean over pairs leaves out those with a loss that is not finite: all of
// them where L(w) counts and is none.
struct Members {
  Tensor plus, minus;  // at w + s·z and w − s·z; minus is empty unless both sides count
  Tensor center;       // L(w), 0-d; may be empty where it does not count
};

class PopulationEstimate {
 public:
  // `step` is i32 and 0-d, s the noise's deviation: 0-d, or a number for each of the `weights` numbers. Those are on
  // the device. Throws ValueError where the population is none.
  PopulationEstimate(const Population& how, const Tensor& step, int64_t weights, const Tensor& s,
                     Device device = Device::cpu);

  Tensor direction(int64_t pair) const;           // z_j, [weights]
  Tensor directions() const;                      // of all pairs, [pairs, weights]
  Tensor gradient(const Members& members) const;  // (1/pairs) Σ (difference)/s · z_j
  // In s, one number in all or one for each weight as s has: (1/pairs) Σ (value_j − baseline_j)·(z_j² − 1)/s with the
  // pair's mean loss, over weights summed where s is one. The baseline is the mean of the other pairs: a third of the
  // variance of L(w), and unbiased, as it does not depend on z_j. Needs two pairs.
  Tensor scale_gradient(const Members& members) const;
  Tensor left_out(const Members& members) const;  // pairs that are not counted, 0-d

 private:
  bool center_counts(const Members& members) const;
  Tensor counted(const Members& members) const;        // 1 for pairs whose losses are finite, else 0
  Members valued(const Members& members) const;        // by ranks where they count, 0 for pairs that are left out
  Tensor drawn_sum(const Tensor& coefficients) const;  // Σ_j c_j z_j

  Population how_;
  Tensor step_, s_;
  int64_t weights_;
  Device device_;
  RandomKey key_;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
