// The two operations that backward bounds are made of beside the network's own.
//
// `rows` [S, K, d…] are K linear functions a·y for each of S samples (S = 1: shared by all N); lines are [N, 1, d…], or
// [N, K, d…] when each row has its own. A coefficient a ≥ 0 takes the first of a pair, a < 0 the second. No gradient
// flows through the choice itself.
#pragma once

#include <mollify/engine/op.h>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

// Which of shared rows [1, K, d…] are wanted for which samples, instead of all for all: R pairs, i32 [R], the samples
// in rising order.
// An empty source: row r is pair r's own. The result's rows are [1, R, d…], its sums [1, R]; lines are [N, 1, d…].
struct Pairs {
  Tensor source, sample;
  Tensor place;         // of rows that are windows: row·columns + column of the number that each pair started from
  int64_t columns = 0;
  bool all() const { return !sample.defined(); }
};

// Rows [1, K, h, w, C] that reach a part of an image [H, W, C] only: from (row·stride − before) on, in both directions,
// of the pair's place.
// Numbers outside the image count for nothing, and are 0 in what relax returns.
struct Window {
  int64_t stride_height = 1, stride_width = 1, before_height = 0, before_width = 0;
  bool operator==(const Window&) const = default;
};

// Where in an image each number of windows [R, h, w, C] lies, flat; H·W·C outside it. i32 [R, h·w·C].
Tensor window_numbers(const Pairs& pairs, const Window& window, const Shape& rows, const Shape& image);

struct Relaxed { Tensor rows, constant; };

// The rows on the other side of lines: a·y ≥ (a·slope)·x + Σ a·intercept for nonnegative_slope·x +
// nonnegative_intercept ≤ y ≤ negative_slope·x + negative_intercept. rows [N, K, d…], constant [N, K]. An empty
// nonnegative_intercept is 0.
Relaxed relax(const Tensor& rows, const Tensor& nonnegative_slope, const Tensor& negative_slope,
              const Tensor& nonnegative_intercept, const Tensor& negative_intercept, const Pairs& pairs = {},
              const Window* window = nullptr);

// Σ_d a ≥ 0 ? a·nonnegative : a·negative, [N, K]: the least value of the rows over a box with these ends. At most d/8 +
// 16 roundings on the way of any term, and one for each line of a window.
Tensor choose_sum(const Tensor& rows, const Tensor& nonnegative, const Tensor& negative, const Pairs& pairs = {},
                  const Window* window = nullptr);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
