// Test functions of one number with their derivatives, and what their expectation under noise takes.
#pragma once

#include <mollify/smoothing/coordinate_noise.h>
#include <mollify/smoothing/smoothed_functions.h>

#include <string>
#include <type_traits>

namespace mollify::smoothing {

struct Profile {
  Jet (*jet)(double x);
  double (*far)(double x);  // mean over a wave, for large |x|, of a function that is finite under heavy tails
  double limit;             // of `far` at infinity
  double panel;             // on which 16 nodes integrate its waves
  double even_at;           // a large number about which the waves are even
  double slope_jump;        // at 0
};
const Profile& profile_of(const std::string& name);  // throws ValueError for rosenbrock

// E f(x − δu), finite, with derivatives, by Gauss–Legendre panels. Throws ValueError for δ that they cannot follow.
Jet expectation(const Profile& f, const CoordinateNoise& noise, double x, double delta);

// N/D with its derivatives, from those of both.
template <class V>
struct JetOf {
  V value, slope, curvature;
};
template <class V>
auto quotient(V n, V n1, V n2, V d, V d1, V d2) {
  const V turn = n1 * d - n * d1;
  const JetOf<V> all{n / d, turn / (d * d), (n2 * d - n * d2) / (d * d) - d1 * turn * 2.0 / (d * d * d)};
  if constexpr (std::is_same_v<V, double>)
    return Jet{all.value, all.slope, all.curvature};
  else
    return all;
}

}  // namespace mollify::smoothing
