#include "internal.h"

#include <cublasLt.h>
#include <emulation.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

struct cublasLtContext {};

struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST, transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t bias_type = -1;  // as D
};

struct cublasLtMatrixLayoutOpaque_t {
  uint32_t type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t order = CUBLASLT_ORDER_COL, batch = 1;
  int64_t batch_offset = 0;
};

struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace = 0;
  std::array<uint32_t, 4> alignment = {256, 256, 256, 256};  // of A, B, C, D
};

namespace emulation {

std::atomic<bool> bf16_products{true};
void offer_bf16_products(bool offered) { bf16_products = offered; }
namespace {

using Operation = cublasLtMatmulDescOpaque_t;
using Layout = cublasLtMatrixLayoutOpaque_t;

constexpr uint64_t kAlgorithm = 0x6d6f6c6c69667931;  // marks an algorithm that the heuristic gave
constexpr uint64_t kWorkspace = 4096;                // bytes that it asks for where it may

size_t element_bytes(uint32_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

size_t offset(const Layout& layout, uint64_t row, uint64_t column) {
  return layout.order == CUBLASLT_ORDER_COL ? row + column * layout.leading : row * layout.leading + column;
}

template <class Real>
Real read(const void* from, uint32_t type, size_t index) {
  if (type == CUDA_R_64F) return static_cast<Real>(static_cast<const double*>(from)[index]);
  if (type == CUDA_R_32F) return static_cast<Real>(static_cast<const float*>(from)[index]);
  return static_cast<Real>(__bfloat162float(static_cast<const __nv_bfloat16*>(from)[index]));
}

template <class Real>
void write(void* to, uint32_t type, size_t index, Real value) {
  if (type == CUDA_R_64F) static_cast<double*>(to)[index] = value;
  else if (type == CUDA_R_32F) static_cast<float*>(to)[index] = static_cast<float>(value);
  else static_cast<__nv_bfloat16*>(to)[index] = __float2bfloat16(static_cast<float>(value));
}

// To the 10 bits of tf32, ties away from 0; not NaN or infinity.
float round_tf32(float value) {
  return std::isfinite(value) ? __uint_as_float((__float_as_uint(value) + 0x1000u) & 0xffffe000u) : value;
}

template <class Real>
Real round_input(Real value, cublasComputeType_t compute) {
  if (compute == CUBLAS_COMPUTE_32F_FAST_TF32) return round_tf32(static_cast<float>(value));
  if (compute == CUBLAS_COMPUTE_32F_FAST_16BF) return __bfloat162float(__float2bfloat16(static_cast<float>(value)));
  return value;
}

struct Product {
  Operation operation;
  Layout a_layout, b_layout, c_layout, d_layout;
  const void *a, *b, *c;
  void* d;
  double alpha, beta;

  uint64_t depth() const { return operation.transpose_a == CUBLAS_OP_N ? a_layout.columns : a_layout.rows; }
};

// op(matrix) of one batch entry, row by row.
template <class Real>
std::vector<Real> dense(const Product& product, const Layout& layout, const void* from, bool transposed,
                        int64_t batch) {
  const uint64_t rows = transposed ? layout.columns : layout.rows, columns = transposed ? layout.rows : layout.columns;
  std::vector<Real> matrix(rows * columns);
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < columns; ++j) {
      const size_t index = batch * layout.batch_offset + (transposed ? offset(layout, j, i) : offset(layout, i, j));
      matrix[i * columns + j] = round_input(read<Real>(from, layout.type, index), product.operation.compute);
    }
  }
  return matrix;
}

template <class Real>
void multiply(const Product& product) {
  const Layout& to = product.d_layout;
  const uint64_t rows = to.rows, columns = to.columns, depth = product.depth();
  const uint32_t epilogue = product.operation.epilogue;
  const Real alpha = static_cast<Real>(product.alpha), beta = static_cast<Real>(product.beta);
  std::vector<Real> sums(columns);
  for (int64_t batch = 0; batch < to.batch; ++batch) {
    const std::vector<Real> a =
        dense<Real>(product, product.a_layout, product.a, product.operation.transpose_a != CUBLAS_OP_N, batch);
    const std::vector<Real> b =
        dense<Real>(product, product.b_layout, product.b, product.operation.transpose_b != CUBLAS_OP_N, batch);
    for (uint64_t i = 0; i < rows; ++i) {
      std::fill(sums.begin(), sums.end(), Real{0});
      for (uint64_t k = 0; k < depth; ++k) {
        for (uint64_t j = 0; j < columns; ++j) sums[j] += a[i * depth + k] * b[k * columns + j];
      }
      for (uint64_t j = 0; j < columns; ++j) {
        Real value = alpha * sums[j];
        if (beta != 0)
          value += beta * read<Real>(product.c, product.c_layout.type,
                                     batch * product.c_layout.batch_offset + offset(product.c_layout, i, j));
        if ((epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) value += read<Real>(product.operation.bias, to.type, i);
        if ((epilogue & CUBLASLT_EPILOGUE_RELU) != 0 && value < 0) value = 0;
        write(product.d, to.type, batch * to.batch_offset + offset(to, i, j), value);
      }
    }
  }
}

bool valid(const Layout& layout) {
  const uint64_t least = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.columns;
  return layout.rows > 0 && layout.columns > 0 && layout.batch > 0 && layout.leading > 0 &&
         static_cast<uint64_t>(layout.leading) >= least;
}

bool same(const Layout& a, const Layout& b) {
  return a.order == b.order && a.leading == b.leading && a.batch_offset == b.batch_offset;
}

bool supported_types(const Operation& operation, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (a.type != b.type || c.type != d.type ||
      (operation.bias_type != -1 && operation.bias_type != static_cast<int32_t>(d.type)))
    return false;
  switch (operation.compute) {
    case CUBLAS_COMPUTE_64F:
    case CUBLAS_COMPUTE_64F_PEDANTIC:
      return operation.scale == CUDA_R_64F && a.type == CUDA_R_64F && d.type == CUDA_R_64F;
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      return operation.scale == CUDA_R_32F &&
             ((a.type == CUDA_R_32F && d.type == CUDA_R_32F) ||
              (a.type == CUDA_R_16BF && (d.type == CUDA_R_32F || d.type == CUDA_R_16BF)));
    case CUBLAS_COMPUTE_32F_FAST_TF32:
    case CUBLAS_COMPUTE_32F_FAST_16BF:
      return operation.scale == CUDA_R_32F && a.type == CUDA_R_32F && d.type == CUDA_R_32F;
    default: return false;
  }
}

cublasStatus_t check(const Operation* operation, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
  if (operation == nullptr || a == nullptr || b == nullptr || c == nullptr || d == nullptr)
    return CUBLAS_STATUS_INVALID_VALUE;
  for (int32_t transpose : {operation->transpose_a, operation->transpose_b}) {
    if (transpose < CUBLAS_OP_N || transpose > CUBLAS_OP_C) return CUBLAS_STATUS_INVALID_VALUE;
  }
  for (const Layout* layout : {a, b, c, d}) {
    if (layout->order != CUBLASLT_ORDER_COL && layout->order != CUBLASLT_ORDER_ROW) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (!valid(*a) || !valid(*b) || !valid(*c) || !valid(*d)) return CUBLAS_STATUS_INVALID_VALUE;
  const bool transpose_a = operation->transpose_a != CUBLAS_OP_N, transpose_b = operation->transpose_b != CUBLAS_OP_N;
  const uint64_t a_rows = transpose_a ? a->columns : a->rows, a_columns = transpose_a ? a->rows : a->columns;
  const uint64_t b_rows = transpose_b ? b->columns : b->rows, b_columns = transpose_b ? b->rows : b->columns;
  if (a_rows != d->rows || b_columns != d->columns || a_columns != b_rows || c->rows != d->rows ||
      c->columns != d->columns)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (a->batch != d->batch || b->batch != d->batch || c->batch != d->batch) return CUBLAS_STATUS_INVALID_VALUE;
  if (d->batch > 1 && d->batch_offset == 0) return CUBLAS_STATUS_INVALID_VALUE;  // entries would overwrite each other
  if (operation->pointer_mode != CUBLASLT_POINTER_MODE_HOST || (operation->epilogue & ~7u) != 0 ||
      !supported_types(*operation, *a, *b, *c, *d)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return CUBLAS_STATUS_SUCCESS;
}

bool aligned(const void* pointer, uint64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// cuBLASLt would read or write whatever lies there.
void need_memory(const char* matrix, const void* pointer, const Layout& layout) {
  const int64_t last = layout.batch_offset * (layout.batch - 1);
  const size_t bytes = (std::max<int64_t>(last, 0) + offset(layout, layout.rows - 1, layout.columns - 1) + 1) *
                       element_bytes(layout.type);
  if (last < 0 || memory_of(pointer, bytes) != Memory::device)
    fail("cublasLtMatmul: %zu bytes of %s at %p do not lie in device memory", bytes, matrix, pointer);
}

template <class T>
cublasStatus_t assign(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, sizeof to);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T, class... Arguments>
cublasStatus_t make(T** result, Arguments... arguments) {
  if (result == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *result = new T{arguments...};
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t destroy(T* object) {
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}

double scalar(const void* value, cudaDataType_t type) {
  return type == CUDA_R_64F ? *static_cast<const double*>(value) : *static_cast<const float*>(value);
}

}  // namespace
}  // namespace emulation

using namespace emulation;

extern "C" {

size_t cublasLtGetVersion() { return 130000; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR: return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR: return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "CUBLAS_STATUS_UNKNOWN";
}

const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return need_device() == cudaSuccess ? make(handle) : CUBLAS_STATUS_NOT_INITIALIZED;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return destroy(handle); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return make(operation, compute, scale);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) { return destroy(operation); }

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  if (operation == nullptr || value == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: return assign(operation->pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA: return assign(operation->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return assign(operation->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return assign(operation->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return assign(operation->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return assign(operation->bias_type, value, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  return make(layout, static_cast<uint32_t>(type), rows, columns, leading);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return destroy(layout); }

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (layout == nullptr || value == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return assign(layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return assign(layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return assign(layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return assign(layout->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return assign(layout->leading, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return assign(layout->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return assign(layout->batch_offset, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) { return make(preference); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) { return destroy(preference); }

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (preference == nullptr || value == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return assign(preference->workspace, value, bytes);
  const int matrix = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  if (matrix < 0 || matrix >= 4) return CUBLAS_STATUS_INVALID_VALUE;
  uint32_t alignment = 0;
  if (assign(alignment, value, bytes) != CUBLAS_STATUS_SUCCESS || alignment == 0) return CUBLAS_STATUS_INVALID_VALUE;
  preference->alignment[matrix] = alignment;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (preference == nullptr || requested <= 0 || results == nullptr || returned == nullptr)
    return CUBLAS_STATUS_INVALID_VALUE;
  *returned = 0;
  if (cublasStatus_t status = check(operation, a, b, c, d); status != CUBLAS_STATUS_SUCCESS) return status;
  if (operation->compute == CUBLAS_COMPUTE_32F_FAST_16BF && !emulation::bf16_products)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  cublasLtMatmulHeuristicResult_t& result = results[0];
  result = {};
  result.workspaceSize = preference->workspace >= kWorkspace ? kWorkspace : 0;
  result.wavesCount = 1;
  result.algo.data[0] = kAlgorithm;
  for (int matrix = 0; matrix < 4; ++matrix) result.algo.data[1 + matrix] = preference->alignment[matrix];
  result.algo.data[5] = result.workspaceSize;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (cublasStatus_t status = check(operation, a_layout, b_layout, c_layout, d_layout); status != CUBLAS_STATUS_SUCCESS)
    return status;
  if (alpha == nullptr || beta == nullptr || a == nullptr || b == nullptr || d == nullptr)
    return CUBLAS_STATUS_INVALID_VALUE;
  const double beta_value = scalar(beta, operation->scale);
  const bool with_bias = (operation->epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
  if ((beta_value != 0 && c == nullptr) || (with_bias && operation->bias == nullptr))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (beta_value != 0 && c == d && !same(*c_layout, *d_layout)) return CUBLAS_STATUS_INVALID_VALUE;
  const void* const pointers[] = {a, b, c, d};
  const Layout* const layouts[] = {a_layout, b_layout, c_layout, d_layout};
  uint64_t workspace_needed = 0;
  for (int i = 0; i < 4; ++i) {
    if (!aligned(pointers[i], element_bytes(layouts[i]->type))) return CUBLAS_STATUS_INVALID_VALUE;
    if (algorithm != nullptr && algorithm->data[0] != kAlgorithm) return CUBLAS_STATUS_INVALID_VALUE;
    if (algorithm != nullptr && !aligned(pointers[i], algorithm->data[1 + i])) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (i != 2 || beta_value != 0) need_memory(&"A\0B\0C\0D"[2 * i], pointers[i], *layouts[i]);
  }
  if (algorithm != nullptr) workspace_needed = algorithm->data[5];
  if (workspace_bytes < workspace_needed || !aligned(workspace, 16)) return CUBLAS_STATUS_INVALID_VALUE;
  if (with_bias)
    need_memory("the bias", operation->bias, {d_layout->type, d_layout->rows, 1, static_cast<int64_t>(d_layout->rows)});
  if (workspace_needed > 0)
    need_memory("the workspace", workspace,
                {CUDA_R_64F, workspace_needed / 8, 1, static_cast<int64_t>(workspace_needed / 8)});

  const Product product{
      *operation, *a_layout, *b_layout, *c_layout, *d_layout, a, b, c, d, scalar(alpha, operation->scale), beta_value};
  const cudaError_t status = submit(stream, cudaGraphNodeTypeKernel, [product, workspace, workspace_needed] {
    if (workspace_needed > 0) std::memset(workspace, 0xff, workspace_needed);
    product.d_layout.type == CUDA_R_64F ? multiply<double>(product) : multiply<float>(product);
  });
  return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
}
