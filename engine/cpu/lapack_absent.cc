// In place of lapack.cc where there is no LAPACK.
#include <mollify/engine/cpu/lapack.h>
#include <mollify/engine/error.h>

namespace mollify::cpu::lapack {
namespace {

[[noreturn]] void throw_absent() {
  throw Error(
      "linear algebra: this build has no LAPACK; needs one that was set up with libopenblas-dev (-Dlapack=enabled)");
}

}  // namespace

template <class T>
int cholesky_upper(int, T*) {
  throw_absent();
}
template <class T>
int solve_upper(bool, int, int, const T*, T*) {
  throw_absent();
}
template <class T>
int solve_transposed(int, int, T*, T*) {
  throw_absent();
}
template <class T>
int eigen_upper(int, T*, T*) {
  throw_absent();
}

#define MOLLIFY_LAPACK_OF(T)                              \
  template int cholesky_upper(int, T*);                   \
  template int solve_upper(bool, int, int, const T*, T*); \
  template int solve_transposed(int, int, T*, T*);        \
  template int eigen_upper(int, T*, T*)
MOLLIFY_LAPACK_OF(float);
MOLLIFY_LAPACK_OF(double);

}  // namespace mollify::cpu::lapack
