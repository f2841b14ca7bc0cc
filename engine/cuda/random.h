// Draws of Philox numbers into packed device memory: the same uniform bits as on the CPU, and normals within a few ulp
// of it.
#pragma once

#include <mollify/engine/cpu/random.h>

namespace mollify::cuda {

using cpu::Distribution;

// out[i] = number i of the draw (key, *step), for 0 ≤ i < count ≤ 2^33. How numbers come from words:
// engine/cpu/random.h.
template <class T>
void draw(Distribution distribution, RandomKey key, const int32_t* step, int64_t count, T* out);

// Row r of [rows, count] draws as key.stream + streams[r] and step[r·step_stride], where step_stride is 0 or 1; a
// negative stream is reported as a fault.
template <class T>
void draw_rows(Distribution distribution, RandomKey key, const int32_t* streams, const int32_t* step,
               int64_t step_stride, int64_t rows, int64_t count, T* out);

// out[i] = Σ coefficients[j]·(number i of the draw with j added to the key's stream), in rising order of j.
template <class T>
void draw_sum(Distribution distribution, const T* coefficients, int64_t draws, RandomKey key, const int32_t* step,
              int64_t count, T* out);

// out[i] = x[i]/(1 − *rate) where number i of the uniform draw is at least *rate, 0·x[i] elsewhere.
template <class T>
void dropout(const T* x, int64_t n, RandomKey key, const int32_t* step, const T* rate, T* out);

}  // namespace mollify::cuda
