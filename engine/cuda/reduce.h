// Reductions of packed device memory, in an order that the shape alone decides. Declared as on the CPU, with device
// pointers.
#pragma once

#include <mollify/engine/cpu/reduce.h>

namespace mollify::cuda {

using cpu::Reduction;

// x: [outer, count, inner] → out: [outer, inner]. f32 is summed in f32 by up to sixteen numbers, and from there in f64.
// count = 0: the neutral element.
template <class T>
void reduce(Reduction kind, const T* x, int64_t outer, int64_t count, int64_t inner, T* out);

// out[0] = Σ partials, by one block: the second stage of a sum whose first stage left f64 numbers.
template <class T>
void finish_sum(const double* partials, int64_t count, T* out);

// x: [rows, count] → out: [rows], log Σ exp; −∞ for count = 0.
template <class T>
void logsumexp(const T* x, int64_t rows, int64_t count, T* out);

}  // namespace mollify::cuda
