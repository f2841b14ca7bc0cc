// Matrix products by OpenBLAS, and how it is kept to one thread. The functions throw Error in a build without OpenBLAS.
#pragma once

#include <mollify/engine/cpu/gemm.h>

namespace mollify::cpu::openblas {

// Of OpenBLAS, at the first call; nothing where the environment has MOLLIFY_OPENBLAS_THREADS.
void use_one_thread();

// As cpu::gemm but for the order of the sums, after use_one_thread. ValueError where k or a stride is no int.
template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c, int64_t c_stride);

}  // namespace mollify::cpu::openblas
