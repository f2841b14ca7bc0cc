#include <mollify/engine/cpu/lapack.h>

#include <mollify/engine/cpu/openblas.h>

#include <cstddef>
#include <vector>

extern "C" {
void spotrf_(const char*, const int*, float*, const int*, int*, size_t);
void dpotrf_(const char*, const int*, double*, const int*, int*, size_t);
void strtrs_(const char*, const char*, const char*, const int*, const int*, const float*, const int*, float*,
             const int*, int*, size_t, size_t, size_t);
void dtrtrs_(const char*, const char*, const char*, const int*, const int*, const double*, const int*, double*,
             const int*, int*, size_t, size_t, size_t);
void sgetrf_(const int*, const int*, float*, const int*, int*, int*);
void dgetrf_(const int*, const int*, double*, const int*, int*, int*);
void sgetrs_(const char*, const int*, const int*, const float*, const int*, const int*, float*, const int*, int*,
             size_t);
void dgetrs_(const char*, const int*, const int*, const double*, const int*, const int*, double*, const int*, int*,
             size_t);
void ssyevd_(const char*, const char*, const int*, float*, const int*, float*, float*, const int*, int*, const int*,
             int*, size_t, size_t);
void dsyevd_(const char*, const char*, const int*, double*, const int*, double*, double*, const int*, int*, const int*,
             int*, size_t, size_t);
}

namespace mollify::cpu::lapack {
namespace {

template <class T>
constexpr bool kSingle = sizeof(T) == 4;

}  // namespace

template <class T>
int cholesky_upper(int n, T* a) {
  openblas::use_one_thread();
  int info = 0;
  if constexpr (kSingle<T>)
    spotrf_("U", &n, a, &n, &info, 1);
  else
    dpotrf_("U", &n, a, &n, &info, 1);
  return info;
}

template <class T>
int solve_upper(bool transposed, int n, int columns, const T* u, T* b) {
  openblas::use_one_thread();
  int info = 0;
  const char* how = transposed ? "T" : "N";
  if constexpr (kSingle<T>)
    strtrs_("U", how, "N", &n, &columns, u, &n, b, &n, &info, 1, 1, 1);
  else
    dtrtrs_("U", how, "N", &n, &columns, u, &n, b, &n, &info, 1, 1, 1);
  return info;
}

template <class T>
int solve_transposed(int n, int columns, T* a, T* b) {
  openblas::use_one_thread();
  int info = 0;
  std::vector<int> pivots(static_cast<size_t>(n));
  if constexpr (kSingle<T>)
    sgetrf_(&n, &n, a, &n, pivots.data(), &info);
  else
    dgetrf_(&n, &n, a, &n, pivots.data(), &info);
  if (info != 0) return info;
  if constexpr (kSingle<T>)
    sgetrs_("T", &n, &columns, a, &n, pivots.data(), b, &n, &info, 1);
  else
    dgetrs_("T", &n, &columns, a, &n, pivots.data(), b, &n, &info, 1);
  return info;
}

template <class T>
int eigen_upper(int n, T* a, T* values) {
  openblas::use_one_thread();
  int info = 0, least = 0, ask = -1;
  T best = 0;
  const auto call = [&](T* work, int size, int* whole, int whole_size) {
    if constexpr (kSingle<T>)
      ssyevd_("V", "U", &n, a, &n, values, work, &size, whole, &whole_size, &info, 1, 1);
    else
      dsyevd_("V", "U", &n, a, &n, values, work, &size, whole, &whole_size, &info, 1, 1);
  };
  call(&best, ask, &least, ask);  // the sizes that it wants
  std::vector<T> work(static_cast<size_t>(best));
  std::vector<int> whole(static_cast<size_t>(least));
  call(work.data(), static_cast<int>(work.size()), whole.data(), static_cast<int>(whole.size()));
  return info;
}

MOLLIFY_LAPACK_OF(float);
MOLLIFY_LAPACK_OF(double);

}  // namespace mollify::cpu::lapack
