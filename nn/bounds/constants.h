// How far numbers that a function computes from others alone, such as scale/√(variance + ε), are from real arithmetic.
#pragma once

#include <mollify/engine/trace.h>

#include <map>
#include <utility>
#include <vector>

namespace mollify::nn::bounds {

// Relative errors in units of the unit roundoff, so that they count as so many roundings more on the way of every term
// with such a factor.
// 0: exact, as what is given is, and as sums, products, quotients and roots are that leave no remainder. ∞: nothing is
// known, after cancellation of rounded numbers or functions of them that are steep.
class ConstantRoundings {
 public:
  // In the order in which they were computed. Reads their values.
  explicit ConstantRoundings(const std::vector<Constant>& constants);
  // The most of any number of x, which the constants led to or which is given.
  double of(const Tensor& x) const;

 private:
  using Place = std::pair<const Buffer*, std::vector<int64_t>>;  // offset, extents, strides
  static Place place_of(const Tensor& x);
  std::map<Place, double> known_;
  bool overwritten_ = false;
};

}  // namespace mollify::nn::bounds
