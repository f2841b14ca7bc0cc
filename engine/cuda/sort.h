// Order and running sums along rows of packed device memory, [rows, count]. NaN counts as larger than all numbers, and
// as equal to NaN.
#pragma once

#include <cstdint>

namespace mollify::cuda {

// Where each row's maximum is, the first of equals; count > 0.
template <class T>
void argmax(const T* x, int64_t rows, int64_t count, int32_t* out);

// out: [rows, count], sums of the numbers up to and including each (from each on, if reverse), carried in f64.
template <class T>
void cumsum(const T* x, int64_t rows, int64_t count, bool reverse, T* out);

// The first `kept` numbers of every row in sorted order and where they were, both [rows, kept]; equals stay in order.
// Up to 32 are selected in about one pass; more are sorted, rows longer than a block's tile by merging through memory.
template <class T>
void sort(const T* x, int64_t rows, int64_t count, int64_t kept, bool descending, T* values, int32_t* indices);

}  // namespace mollify::cuda
