#include <mollify/engine/cpu/openblas.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/error.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>

extern "C" {
void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
            const float*, const int*, const float*, float*, const int*, size_t, size_t);
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*, const int*,
            const double*, const int*, const double*, double*, const int*, size_t, size_t);
void openblas_set_num_threads(int) __attribute__((weak));  // another BLAS has none
}

namespace mollify::cpu::openblas {
namespace {

// The part of c that one thread computes at a time. OpenBLAS packs a and b for each anew, which smaller parts would
// feel.
constexpr int64_t kPanelRows = 512, kPanelColumns = 256;

// A matrix as BLAS reads it: contiguous columns ("N"), or the transpose of that ("T").
template <class T>
struct Operand {
  const T* data;
  const char* form;
  int stride;
};

// xᵀ of x[rows, columns]. BLAS wants a stride no shorter than a column even where there is only one.
template <class T>
Operand<T> transposed(const Matrix<T>& x, int64_t rows, int64_t columns) {
  const bool by_rows = x.column_stride == 1;
  const int64_t stride = by_rows ? std::max(x.row_stride, columns) : std::max(x.column_stride, rows);
  return {x.data, by_rows ? "N" : "T", static_cast<int>(std::max<int64_t>(stride, 1))};
}

// c[m, n] = a·b + kept·c as BLAS, whose matrices are column-major, has it: cᵀ = bᵀ·aᵀ + kept·cᵀ. With kept = 0 what c
// holds is not read.
template <class T>
void multiply(int m, int n, int k, const Operand<T>& at, const Operand<T>& bt, T kept, T* c, int c_stride) {
  const T one = 1;
  const auto gemm = [] {
    if constexpr (sizeof(T) == 4) return sgemm_;
    else return dgemm_;
  }();
  gemm(bt.form, at.form, &n, &m, &k, &one, bt.data, &bt.stride, at.data, &at.stride, &kept, c, &c_stride, 1, 1);
}

}  // namespace

void use_one_thread() {
  static const bool once = [] {
    if (openblas_set_num_threads && !std::getenv("MOLLIFY_OPENBLAS_THREADS")) openblas_set_num_threads(1);
    return true;
  }();
  (void)once;
}

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c, int64_t c_stride) {
  const int64_t longest = std::max({k, a.row_stride, a.column_stride, b.row_stride, b.column_stride, c_stride});
  require<ValueError>(longest <= std::numeric_limits<int>::max(),
                      "products by OpenBLAS: an extent or stride of {} given; needs at most {}", longest,
                      std::numeric_limits<int>::max());
  const int64_t row_panels = (m + kPanelRows - 1) / kPanelRows,
                column_panels = (n + kPanelColumns - 1) / kPanelColumns;
  parallel_for(row_panels * column_panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % row_panels * kPanelRows, column = i / row_panels * kPanelColumns;
      const int64_t rows = std::min(kPanelRows, m - row), columns = std::min(kPanelColumns, n - column);
      T* to = c + row * c_stride + column;
      for (int64_t r = 0; bias && r < rows; ++r) std::copy_n(bias + column, columns, to + r * c_stride);
      multiply(static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(k),
               transposed<T>({a.data + row * a.row_stride, a.row_stride, a.column_stride}, rows, k),
               transposed<T>({b.data + column * b.column_stride, b.row_stride, b.column_stride}, k, columns),
               bias ? T{1} : T{0}, to, static_cast<int>(c_stride));
    }
  });
}

template void gemm(int64_t, int64_t, int64_t, Matrix<float>, Matrix<float>, const float*, float*, int64_t);
template void gemm(int64_t, int64_t, int64_t, Matrix<double>, Matrix<double>, const double*, double*, int64_t);

}  // namespace mollify::cpu::openblas
