// In place of lapack.cc and openblas.cc where there is no OpenBLAS.
#include <mollify/engine/cpu/lapack.h>
#include <mollify/engine/cpu/openblas.h>
#include <mollify/engine/error.h>

namespace mollify::cpu {
namespace {

[[noreturn]] void throw_absent(const char* what) {
  throw Error(format(
      "{}: this build has no OpenBLAS; needs one that was set up with libopenblas-dev (-Dlapack=enabled)", what));
}

}  // namespace

namespace openblas {

void use_one_thread() { throw_absent("products by OpenBLAS"); }

template <class T>
void gemm(int64_t, int64_t, int64_t, Matrix<T>, Matrix<T>, const T*, T*, int64_t) {
  throw_absent("products by OpenBLAS");
}
template void gemm(int64_t, int64_t, int64_t, Matrix<float>, Matrix<float>, const float*, float*, int64_t);
template void gemm(int64_t, int64_t, int64_t, Matrix<double>, Matrix<double>, const double*, double*, int64_t);

}  // namespace openblas

namespace lapack {

template <class T>
int cholesky_upper(int, T*) {
  throw_absent("linear algebra");
}
template <class T>
int solve_upper(bool, int, int, const T*, T*) {
  throw_absent("linear algebra");
}
template <class T>
int solve_transposed(int, int, T*, T*) {
  throw_absent("linear algebra");
}
template <class T>
int eigen_upper(int, T*, T*) {
  throw_absent("linear algebra");
}

MOLLIFY_LAPACK_OF(float);
MOLLIFY_LAPACK_OF(double);

}  // namespace lapack
}  // namespace mollify::cpu
