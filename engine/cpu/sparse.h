// Vectors and matrices of which few numbers matter, in packed memory. Places rise.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// out = x with values[i] at places[i].
template <class T>
void put(const T* x, int64_t size, const T* values, const int32_t* places, int64_t count, T* out);

// out [rows, outputs]: out[r, o] = Σ values[k]·columns[i, r] over the k with places[k] = o·inputs + i, in rising order.
template <class T>
void sparse_dense(const T* columns, int64_t inputs, int64_t rows, const T* values, const int32_t* places, int64_t count,
                  int64_t outputs, T* out);

}  // namespace mollify::cpu
