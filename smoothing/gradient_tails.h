// Tails of the noise of gradients, from draws of its vector: light ones have a finite E e^{c|X|} for some c > 0, heavy
// ones fall as x^−α.
#pragma once

#include <mollify/engine/tensor.h>

#include <functional>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct TailOptions {
  int64_t draws = 1000;
  int64_t coordinates = 10000;  // drawn ones that are kept whole; all where there are fewer
  double share = 0.001;         // of the kept numbers, the largest magnitudes: Hill's index is theirs
  int64_t points = 101;         // of quantiles
  uint64_t seed = 0;            // of the coordinates
};

// Coordinates have scales of their own, whose mixture looks heavy where each of them is light: they are divided by
// their standard deviation before they are pooled, a kept number by that of the other draws. Deviations are about 0,
// the noise's mean.
struct Tails {
  int64_t draws = 0, weights = 0, constant = 0;  // coordinates of all, and those without deviation, which are left out
  double kurtosis = 0;             // excess, the mean over all coordinates; its expectation is 0 of normal draws
  double median_kurtosis = 0;      // over the coordinates: few draws reach some, which have most of the mean
  double raw_kurtosis = 0;         // of all numbers pooled as they are
  int64_t kept = 0, extremes = 0;  // coordinates, and the numbers of theirs that Hill's index counts
  // Hill's α of the kept numbers, its error from the spread over ten parts of the draws (numbers of one draw depend on
  // each other), and the α that normal numbers would have there.
  double hill = 0, hill_error = 0, normal_hill = 0;
  std::vector<double> normal, empirical;  // quantiles: of the normal distribution, equally spaced, and of the kept

  bool heavy() const { return hill < 4; }  // no finite fourth moment
};

// Draw `number` of the noise, a vector of f32 or f64 of mean 0, is what `noise` gives. Throws ValueError unless there
// are two draws, and for other numbers out of range, for numbers that are not finite, and where no coordinate varies;
// ShapeError for vectors of several shapes.
Tails tails_of(const std::function<Tensor(int64_t number)>& noise, const TailOptions& how = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
