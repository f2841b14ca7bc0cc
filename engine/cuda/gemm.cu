#include <mollify/engine/cuda/aligned.h>
#include <mollify/engine/cuda/cublas.h>
#include <mollify/engine/cuda/device.cuh>
#include <mollify/engine/cuda/device.h>
#include <mollify/engine/cuda/gemm.h>
#include <mollify/engine/precision.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

namespace mollify::cuda {
namespace {

// ---- the library's own kernel

constexpr int kThreads = 256, kDepth = 16;

// One tile of kRows × kColumns per block and turn; products beyond the grid's z extent are taken in turns.
template <class T, int kRows, int kColumns>
__global__ void __launch_bounds__(kThreads)
    tiled_product(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride, Matrix<T> b,
                  int64_t b_batch_stride, const T* bias, T* c, int64_t c_stride, int64_t c_batch_stride) {
  constexpr int kThreadRows = kRows / 16, kThreadColumns = kColumns / 16;
  __shared__ T left[kDepth][kRows + 1];
  __shared__ T right[kDepth][kColumns + 1];
  const int64_t column_tiles = (n + kColumns - 1) / kColumns;
  const int64_t first_row = blockIdx.x / column_tiles * kRows, first_column = blockIdx.x % column_tiles * kColumns;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const bool a_along_k = a.column_stride == 1, b_along_k = b.row_stride == 1 && b.column_stride != 1;
  for (int64_t product = blockIdx.z; product < count; product += gridDim.z) {
    const T* a_data = a.data + product * a_batch_stride;
    const T* b_data = b.data + product * b_batch_stride;
    T sum[kThreadRows][kThreadColumns] = {};
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
      for (int i = threadIdx.x; i < kRows * kDepth; i += kThreads) {  // neighbouring threads read neighbours in memory
        const int row = a_along_k ? i / kDepth : i % kRows, depth = a_along_k ? i % kDepth : i / kRows;
        const bool inside = first_row + row < m && k0 + depth < k;
        left[depth][row] = inside ? a_data[(first_row + row) * a.row_stride + (k0 + depth) * a.column_stride] : T(0);
      }
      for (int i = threadIdx.x; i < kColumns * kDepth; i += kThreads) {
        const int column = b_along_k ? i / kDepth : i % kColumns, depth = b_along_k ? i % kDepth : i / kColumns;
        const bool inside = first_column + column < n && k0 + depth < k;
        right[depth][column] =
            inside ? b_data[(k0 + depth) * b.row_stride + (first_column + column) * b.column_stride] : T(0);
      }
      __syncthreads();
#pragma unroll
      for (int depth = 0; depth < kDepth; ++depth) {
        T x[kThreadRows], y[kThreadColumns];
#pragma unroll
        for (int i = 0; i < kThreadRows; ++i) x[i] = left[depth][ty + 16 * i];
#pragma unroll
        for (int j = 0; j < kThreadColumns; ++j) y[j] = right[depth][tx + 16 * j];
#pragma unroll
        for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
          for (int j = 0; j < kThreadColumns; ++j) sum[i][j] = fma(x[i], y[j], sum[i][j]);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
      const int64_t row = first_row + ty + 16 * i;
#pragma unroll
      for (int j = 0; j < kThreadColumns; ++j) {
        const int64_t column = first_column + tx + 16 * j;
        if (row < m && column < n)
          c[product * c_batch_stride + row * c_stride + column] = bias ? sum[i][j] + bias[column] : sum[i][j];
      }
    }
  }
}

template <class T>
__global__ void add_to_rows(int64_t m, int64_t n, const T* bias, T* c, int64_t c_stride) {
  for (int64_t i = global_thread(); i < m * n; i += global_threads()) c[i / n * c_stride + i % n] += bias[i % n];
}

// ---- cuBLASLt: its matrices are column-major, so it is asked for cᵀ[n, m] = bᵀ · aᵀ

constexpr uint64_t kMaxWorkspaceBytes = uint64_t{32} << 20;

template <class T>
constexpr cudaDataType_t kType = sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F;

template <class T>
cublasComputeType_t compute_type(Precision precision) {
  if (sizeof(T) == 8) return CUBLAS_COMPUTE_64F;
  switch (precision) {
    case Precision::tf32: return CUBLAS_COMPUTE_32F_FAST_TF32;
    case Precision::bf16: return CUBLAS_COMPUTE_32F_FAST_16BF;  // rounds on the way in: matrices stay f32 in memory
    default: return CUBLAS_COMPUTE_32F;
  }
}

// One operand as cuBLASLt sees it: what is stored row by row needs no transposition.
struct Operand {
  int64_t leading_dimension;
  bool transposed;
};

template <class T>
Operand operand(const Matrix<T>& matrix, int64_t rows, int64_t columns) {
  if (matrix.column_stride == 1) return {std::max(matrix.row_stride, columns), false};
  return {std::max(matrix.column_stride, rows), true};
}

using Key = std::array<int64_t, 14>;

// Descriptors and the algorithm of one kind of product. Kept for the process.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace_bytes = 0;
  Precision precision = Precision::fp32;  // in which it is served
  bool usable = false;                    // false where cuBLASLt has no algorithm
};

struct Product {
  int64_t count, m, n, k;
  Operand a, b;
  int64_t a_batch_stride, b_batch_stride, c_stride, c_batch_stride;
  Precision precision;
  bool bias;

  Key key() const {
    return {count,
            m,
            n,
            k,
            a.leading_dimension,
            a.transposed,
            b.leading_dimension,
            b.transposed,
            a_batch_stride,
            b_batch_stride,
            c_stride,
            c_batch_stride,
            static_cast<int64_t>(precision),
            bias};
  }
};

template <class Value>
void set_operation(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  cublas_lt().check(cublas_lt().operation_set(operation, attribute, &value, sizeof value),
                    "cublasLtMatmulDescSetAttribute");
}

cublasLtMatrixLayout_t make_layout(cudaDataType_t type, int64_t rows, int64_t columns, const Operand& operand,
                                   int64_t count, int64_t batch_stride) {
  const CublasLt& lt = cublas_lt();
  cublasLtMatrixLayout_t layout;
  if (operand.transposed) std::swap(rows, columns);
  lt.check(lt.layout_create(&layout, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                            operand.leading_dimension),
           "cublasLtMatrixLayoutCreate");
  if (count > 1) {
    const int32_t batch = static_cast<int32_t>(count);
    lt.check(lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch),
             "cublasLtMatrixLayoutSetAttribute");
    lt.check(lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof batch_stride),
             "cublasLtMatrixLayoutSetAttribute");
  }
  return layout;
}

// The first algorithm that the heuristic offers; nothing is timed, so that results repeat.
void choose_algorithm(Plan& plan) {
  const CublasLt& lt = cublas_lt();
  cublasLtMatmulPreference_t preference;
  lt.check(lt.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    lt.check(lt.preference_set(preference, attribute, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMaxWorkspaceBytes);
  // Of all operands, whatever their addresses allow: else a view, or a captured step's memory, would choose another
  // algorithm and other bits.
  for (const auto operand : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(operand, uint32_t{16});
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = lt.heuristic(cublas_lt_handle(), plan.operation, plan.left, plan.right, plan.out,
                                             plan.out, preference, 1, &result, &found);
  lt.preference_destroy(preference);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return;
  lt.check(status, "cublasLtMatmulAlgoGetHeuristic");
  plan.usable = found > 0 && result.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = result.algo;
  plan.workspace_bytes = result.workspaceSize;
}

template <class T>
Plan plan_in(Precision precision, const Product& p, const T* bias) {
  const CublasLt& lt = cublas_lt();
  Plan plan;
  plan.precision = precision;
  lt.check(lt.operation_create(&plan.operation, compute_type<T>(precision), kType<T>), "cublasLtMatmulDescCreate");
  set_operation(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set_operation(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.bias) {
    set_operation(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set_operation(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  plan.left = make_layout(kType<T>, p.n, p.k, p.b, p.count, p.b_batch_stride);
  plan.right = make_layout(kType<T>, p.k, p.m, p.a, p.count, p.a_batch_stride);
  plan.out = make_layout(kType<T>, p.n, p.m, {p.c_stride, false}, p.count, p.c_batch_stride);
  choose_algorithm(plan);
  return plan;
}

void destroy(const Plan& plan) {
  const CublasLt& lt = cublas_lt();
  lt.operation_destroy(plan.operation);
  for (const cublasLtMatrixLayout_t layout : {plan.left, plan.right, plan.out}) lt.layout_destroy(layout);
}

// In the precision asked for, or else in the next better one: not every GPU and version of cuBLASLt rounds f32 operands
// to bf16 on the way.
template <class T>
Plan make_plan(const Product& p, const T* bias) {
  for (Precision precision = sizeof(T) == 8 ? Precision::fp32 : p.precision;;
       precision = precision == Precision::bf16 ? Precision::tf32 : Precision::fp32) {
    const Plan plan = plan_in(precision, p, bias);
    if (plan.usable || precision == Precision::fp32) return plan;
    destroy(plan);
  }
}

// False where cuBLASLt has no algorithm for the product. All addresses are multiples of 16.
template <class T>
bool multiply(const Product& p, const T* a, const T* b, const T* bias, T* c) {
  static std::mutex mutex;                        // plans, and the bias pointer within one
  static auto& plans = *new std::map<Key, Plan>;  // never destroyed: products may run while static objects are
  const CublasLt& lt = cublas_lt();
  const std::lock_guard lock(mutex);
  const Key key = p.key();
  auto found = plans.find(key);
  if (found == plans.end()) found = plans.emplace(key, make_plan(p, bias)).first;
  const Plan& plan = found->second;
  if (!plan.usable) return false;
  if (p.bias) set_operation(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const Scratch<unsigned char> workspace(static_cast<int64_t>(plan.workspace_bytes));
  const T one = 1, zero = 0;
  lt.check(lt.matmul(cublas_lt_handle(), plan.operation, &one, b, plan.left, a, plan.right, &zero, c, plan.out, c,
                     plan.out, &plan.algorithm, workspace.data(), plan.workspace_bytes, stream()),
           "cublasLtMatmul");
  return true;
}

template <class T>
void add_bias(int64_t m, int64_t n, const T* bias, T* c, int64_t c_stride) {
  launch("gemm", add_to_rows<T>, grid_for(m * n, kThreads), kThreads, 0, m, n, bias, c, c_stride);
}

// Where the own kernel is bound by memory too, or the work is less than a launch takes.
bool small(int64_t m, int64_t n, int64_t k) {
  return k <= 256 && (k == 0 || n <= 16 || m * n * k <= 32 * 32 * 32);
}

// Numbers from the first to the last of all `count` matrices.
template <class T>
int64_t extent(const Matrix<T>& matrix, int64_t rows, int64_t columns, int64_t count, int64_t batch_stride) {
  return (count - 1) * batch_stride + (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride + 1;
}

// The result where cuBLASLt can write it: in place, or apart and copied there row by row.
template <class T>
class AlignedResult {
 public:
  AlignedResult(int64_t count, int64_t m, int64_t n, T* c, int64_t c_stride, int64_t c_batch_stride)
      : count_(count), m_(m), n_(n), stride_(c_stride), batch_stride_(c_batch_stride), c_(c),
        apart_(aligned16(c) ? 0 : (count - 1) * c_batch_stride + (m - 1) * c_stride + n) {}
  T* data() const { return aligned16(c_) ? c_ : apart_.data(); }
  void finish() const {
    if (aligned16(c_)) return;
    const auto bytes = [](int64_t numbers) { return static_cast<size_t>(numbers) * sizeof(T); };
    for (int64_t i = 0; i < count_; ++i)
      check(cudaMemcpy2DAsync(c_ + i * batch_stride_, bytes(stride_), apart_.data() + i * batch_stride_, bytes(stride_),
                              bytes(n_), static_cast<size_t>(m_), cudaMemcpyDeviceToDevice, stream()),
            "gemm");
  }

 private:
  int64_t count_, m_, n_, stride_, batch_stride_;
  T* c_;
  Scratch<T> apart_;
};

// By cuBLASLt, whose bias has no epilogue for f64 and for several products; false where it has no algorithm.
template <class T>
bool product_by_library(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride,
                        Matrix<T> b, int64_t b_batch_stride, const T* bias, T* c, int64_t c_stride,
                        int64_t c_batch_stride) {
  const bool fused = bias && sizeof(T) == 4 && count == 1;
  Product p{count,
            m,
            n,
            k,
            operand(a, m, k),
            operand(b, k, n),
            a_batch_stride,
            b_batch_stride,
            std::max(c_stride, n),
            c_batch_stride,
            precision(),
            fused};
  const Aligned<T> left(a.data, extent(a, m, k, count, a_batch_stride)),
      right(b.data, extent(b, k, n, count, b_batch_stride)), shift(bias, bias ? n : 0);
  const AlignedResult<T> result(count, m, n, c, p.c_stride, c_batch_stride);
  bool done = multiply(p, left.data(), right.data(), shift.data(), result.data());
  if (!done && fused) {
    p.bias = false;
    done = multiply(p, left.data(), right.data(), shift.data(), result.data());
  }
  if (!done) return false;
  result.finish();
  if (bias && !p.bias) add_bias(m, n, bias, c, c_stride);
  return true;
}

template <class T>
void product(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride, Matrix<T> b,
             int64_t b_batch_stride, const T* bias, T* c, int64_t c_stride, int64_t c_batch_stride) {
  if (count == 0 || m == 0 || n == 0) return;
  if (small(m, n, k) || missing_cublas_lt() ||
      !product_by_library(count, m, n, k, a, a_batch_stride, b, b_batch_stride, bias, c, c_stride, c_batch_stride))
    gemm_tiled(count, m, n, k, a, a_batch_stride, b, b_batch_stride, bias, c, c_stride, c_batch_stride);
}

const char* served(Precision asked) {
  const Operand packed{256, false};
  const Plan plan = make_plan<float>({1, 256, 256, 256, packed, packed, 0, 0, 256, 0, asked, false}, nullptr);
  const char* name = plan.usable ? to_string(plan.precision) : "the library's own kernel";
  destroy(plan);
  return name;
}

}  // namespace

template <class T>
void gemm_tiled(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride, Matrix<T> b,
                int64_t b_batch_stride, const T* bias, T* c, int64_t c_stride, int64_t c_batch_stride) {
  if (count == 0 || m == 0 || n == 0) return;
  const auto run = [&](auto kernel, int64_t rows, int64_t columns) {
    const int64_t tiles = ((m + rows - 1) / rows) * ((n + columns - 1) / columns);
    const dim3 grid(static_cast<unsigned>(tiles), 1, static_cast<unsigned>(std::min<int64_t>(count, 65535)));
    launch("gemm", kernel, grid, kThreads, 0, count, m, n, k, a, a_batch_stride, b, b_batch_stride, bias, c, c_stride,
           c_batch_stride);
  };
  if (n <= 16) return run(tiled_product<T, 128, 16>, 128, 16);
  run(tiled_product<T, 64, 64>, 64, 64);
}

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c, int64_t c_stride) {
  product(1, m, n, k, a, 0, b, 0, bias, c, c_stride, 0);
}

template <class T>
void gemm_batched(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride, Matrix<T> b,
                  int64_t b_batch_stride, T* c, int64_t c_batch_stride) {
  product<T>(count, m, n, k, a, a_batch_stride, b, b_batch_stride, nullptr, c, n, c_batch_stride);
}

std::string products() {
  if (const std::string reason = missing_products(); !reason.empty()) return "own kernel, slower: " + reason;
  return format("cuBLASLt; tf32 is served as {}, bf16 as {}", served(Precision::tf32), served(Precision::bf16));
}

std::string missing_products() { return missing_cublas_lt() ? missing_cublas_lt() : ""; }

#define MOLLIFY_INSTANTIATE(T)                                                                                       \
  template void gemm_tiled(int64_t, int64_t, int64_t, int64_t, Matrix<T>, int64_t, Matrix<T>, int64_t, const T*, T*, \
                           int64_t, int64_t);                                                                        \
  template void gemm(int64_t, int64_t, int64_t, Matrix<T>, Matrix<T>, const T*, T*, int64_t);                        \
  template void gemm_batched(int64_t, int64_t, int64_t, int64_t, Matrix<T>, int64_t, Matrix<T>, int64_t, T*, int64_t);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
