// What linear_algebra.cc needs of LAPACK. Matrices are column-major; results are 0, or what LAPACK says is wrong. The
// functions throw Error in a build without LAPACK. OpenBLAS is set to one thread at the first call (openblas.h).
#pragma once

namespace mollify::cpu::lapack {

template <class T>
int cholesky_upper(int n, T* a);  // potrf, U
template <class T>
int solve_upper(bool transposed, int n, int columns, const T* u, T* b);  // trtrs
template <class T>
int solve_transposed(int n, int columns, T* a, T* b);  // getrf, getrs
template <class T>
int eigen_upper(int n, T* a, T* values);  // syevd, vectors in a

// Makes all of them for T where they are defined.
#define MOLLIFY_LAPACK_OF(T)                              \
  template int cholesky_upper(int, T*);                   \
  template int solve_upper(bool, int, int, const T*, T*); \
  template int solve_transposed(int, int, T*, T*);        \
  template int eigen_upper(int, T*, T*)

}  // namespace mollify::cpu::lapack
