// Vectors and matrices of which few numbers matter, in packed device memory: as in engine/cpu/sparse.h.
#pragma once

#include <cstdint>

namespace mollify::cuda {

template <class T>
void put(const T* x, int64_t size, const T* values, const int32_t* places, int64_t count, T* out);

template <class T>
void sparse_dense(const T* columns, int64_t inputs, int64_t rows, const T* values, const int32_t* places, int64_t count,
                  int64_t outputs, T* out);

}  // namespace mollify::cuda
