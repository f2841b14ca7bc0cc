// Reductions of packed memory, in an order that the shape alone decides.
#pragma once

#include <cstdint>

namespace mollify::cpu {

enum class Reduction { sum, max, min };

// x: [outer, count, inner] → out: [outer, inner]. Sums of f32 are carried in f64 from chunk to chunk. count = 0: the
// neutral element.
template <class T>
void reduce(Reduction kind, const T* x, int64_t outer, int64_t count, int64_t inner, T* out);

// x: [rows, count] → out: [rows], log Σ exp; −∞ for count = 0.
template <class T>
void logsumexp(const T* x, int64_t rows, int64_t count, T* out);

}  // namespace mollify::cpu
