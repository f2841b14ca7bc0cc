// Sobol points: a low-discrepancy sequence in any number of dimensions, for integrals of smooth functions.
//
// Every dimension is a digital sequence of base 2: of the points k·2^m … (k + 1)·2^m − 1, m <= 32, each interval of
// length 2^−m holds exactly one. Polynomials are the primitive ones over GF(2) in order of degree; the initial numbers
// of the first 21 dimensions are those of Joe & Kuo (SIAM J. Sci. Comput. 30, 2008; new-joe-kuo-6), whose planes are
// even too, and of the others drawn: their planes may be uneven until there are many points. Dimensions from
// kSobolDimensions on are independent uniform numbers.
//
// The key scrambles: nested permutations of the digits (Owen 1995) by a hash (Burley, JCGT 9, 2020). Each point is then
// uniform, the mean of f over the points unbiased, and the intervals above keep their one point.
#pragma once

#include <mollify/engine/ops.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

inline constexpr int64_t kSobolDimensions = 21200;

// Points first … first + count − 1 of the 2^32 there are, [count, dimensions] in (0, 1): the centres of 2^23 (f32) or
// 2^32 (f64) equal cells. Throws ValueError for points that there are not, TypeError for dtypes other than f32 and f64.
Tensor sobol_points(int64_t first, int64_t count, int64_t dimensions, RandomKey key, DType dtype = DType::f32);

// Φ⁻¹ of them: standard normal numbers.
Tensor sobol_normals(int64_t first, int64_t count, int64_t dimensions, RandomKey key, DType dtype = DType::f32);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
