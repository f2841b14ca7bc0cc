// What is defined along rows of packed memory: the place of the largest, running sums, sorting. NaN counts as the
// largest.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// x: [rows, count], count ≥ 1 → out: [rows]; the first of equals.
template <class T>
void argmax(const T* x, int64_t rows, int64_t count, int32_t* out);

// x → out: [rows, count], from the first number on or, reversed, from the last; carried in f64.
template <class T>
void cumsum(const T* x, int64_t rows, int64_t count, bool reverse, T* out);

// x: [rows, count] → values and their indices: [rows, kept], the first `kept` of each sorted row. Stable.
template <class T>
void sort(const T* x, int64_t rows, int64_t count, int64_t kept, bool descending, T* values, int32_t* indices);

}  // namespace mollify::cpu
