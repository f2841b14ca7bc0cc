// Matrix products of the emulated device against loops: warps' fragments at the positions that the PTX ISA gives, and
// cuBLASLt.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <emulation.h>
#include <gtest/gtest.h>
#include <mollify/engine/cuda/device.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/precision.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace {

// Exact in tf32 and bf16, and so are sums of products.
float small(int i) { return static_cast<float>(i * 37 % 23 - 11) / 4; }

unsigned bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return __bfloat16_as_ushort(pair.x) | static_cast<unsigned>(__bfloat16_as_ushort(pair.y)) << 16;
}

// a is 16×depth, b depth×8, d 16×8, all row by row. Positions as in the PTX ISA's "Matrix Fragments for mma.m16n8k…".
template <int depth>
__global__ void multiply_tile(const float* a, const float* b, float* d) {
  const int group_id = threadIdx.x >> 2, thread_in_group = threadIdx.x % 4;
  const auto a_at = [&](int row, int column) { return a[row * depth + column]; };
  const auto b_at = [&](int row, int column) { return b[row * 8 + column]; };
  float c[4];
  for (int i = 0; i < 4; ++i) c[i] = d[(i < 2 ? group_id : group_id + 8) * 8 + thread_in_group * 2 + (i & 1)];
  if constexpr (depth == 16) {
    unsigned a_registers[4], b_registers[2];
    const auto a_element = [&](int i) {  // a0 … a7
      const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group_id : group_id + 8;
      return a_at(row, thread_in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0));
    };
    const auto b_element = [&](int i) { return b_at(thread_in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0), group_id); };
    for (int i = 0; i < 4; ++i) a_registers[i] = bf16_pair(a_element(2 * i), a_element(2 * i + 1));
    for (int i = 0; i < 2; ++i) b_registers[i] = bf16_pair(b_element(2 * i), b_element(2 * i + 1));
    emulated_mma_m16n8k16_bf16(c, a_registers, b_registers);
  } else if constexpr (depth == 8) {
    unsigned a_registers[4], b_registers[2];
    for (int i = 0; i < 4; ++i) {
      const int row = i == 0 || i == 2 ? group_id : group_id + 8,
                column = i == 0 || i == 1 ? thread_in_group : thread_in_group + 4;
      a_registers[i] = __float_as_uint(a_at(row, column)) | 0x1fffu;  // bits that do not count
    }
    for (int i = 0; i < 2; ++i)
      b_registers[i] = __float_as_uint(b_at(i == 0 ? thread_in_group : thread_in_group + 4, group_id));
    emulated_mma_m16n8k8_tf32(c, a_registers, b_registers);
  } else {
    const unsigned a_registers[2] = {__float_as_uint(a_at(group_id, thread_in_group)),
                                     __float_as_uint(a_at(group_id + 8, thread_in_group))};
    emulated_mma_m16n8k4_tf32(c, a_registers, __float_as_uint(b_at(thread_in_group, group_id)));
  }
  for (int i = 0; i < 4; ++i) d[(i < 2 ? group_id : group_id + 8) * 8 + thread_in_group * 2 + (i & 1)] = c[i];
}

template <int depth>
void test_tile() {
  float *a, *b, *d;
  ASSERT_EQ(cudaMalloc(&a, 16 * depth * sizeof(float)), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&b, depth * 8 * sizeof(float)), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&d, 16 * 8 * sizeof(float)), cudaSuccess);
  std::vector<float> a_host(16 * depth), b_host(depth * 8), d_host(16 * 8), got(16 * 8);
  for (size_t i = 0; i < a_host.size(); ++i) a_host[i] = small(static_cast<int>(i));
  for (size_t i = 0; i < b_host.size(); ++i) b_host[i] = small(static_cast<int>(3 * i + 5));
  for (size_t i = 0; i < d_host.size(); ++i) d_host[i] = small(static_cast<int>(7 * i + 2));
  for (auto [to, from] : {std::pair(a, &a_host), std::pair(b, &b_host), std::pair(d, &d_host)}) {
    ASSERT_EQ(cudaMemcpy(to, from->data(), from->size() * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
  }
  cudaLaunchConfig_t config{};
  config.blockDim = 32;
  ASSERT_EQ(cudaLaunchKernelEx(&config, multiply_tile<depth>, a, b, d), cudaSuccess);
  ASSERT_EQ(cudaMemcpy(got.data(), d, got.size() * sizeof(float), cudaMemcpyDeviceToHost), cudaSuccess);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      float expected = d_host[i * 8 + j];
      for (int k = 0; k < depth; ++k) expected += a_host[i * depth + k] * b_host[k * 8 + j];
      EXPECT_EQ(got[i * 8 + j], expected) << i << " " << j;
    }
  }
  for (float* pointer : {a, b, d}) EXPECT_EQ(cudaFree(pointer), cudaSuccess);
}

TEST(Mma, M16n8k8Tf32) { test_tile<8>(); }
TEST(Mma, M16n8k4Tf32) { test_tile<4>(); }
TEST(Mma, M16n8k16Bf16) { test_tile<16>(); }

struct Problem {
  cudaDataType in = CUDA_R_32F, out = CUDA_R_32F;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  int m = 5, n = 4, k = 3, batch = 1;
  bool transpose[2] = {false, false};         // A, B
  bool row_order[3] = {false, false, false};  // A, B, C and D
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  double alpha = 1.5, beta = 0;
  uint32_t alignment = 8;
};

size_t bytes_of(cudaDataType type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

// A batch of matrices in device memory with leading dimensions and batch strides that leave gaps.
struct Matrix {
  cudaDataType type;
  int rows, columns, batch, leading, stride;
  bool row_order;
  std::vector<double> values;
  char* data = nullptr;
  cublasLtMatrixLayout_t layout = nullptr;

  Matrix(cudaDataType type, int rows, int columns, int batch, bool row_order, int seed)
      : type(type),
        rows(rows),
        columns(columns),
        batch(batch),
        leading((row_order ? columns : rows) + 2),
        stride(leading * (row_order ? rows : columns) + 4),
        row_order(row_order),
        values(stride * batch) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = small(static_cast<int>(i) + seed);
    EXPECT_EQ(cudaMalloc(&data, values.size() * bytes_of(type)), cudaSuccess);
    for (size_t i = 0; i < values.size(); ++i) {
      const float narrow = static_cast<float>(values[i]);
      const __nv_bfloat16 half = __float2bfloat16(narrow);
      std::memcpy(data + i * bytes_of(type),
                  type == CUDA_R_64F   ? static_cast<const void*>(&values[i])
                  : type == CUDA_R_32F ? &narrow
                                       : static_cast<const void*>(&half),
                  bytes_of(type));
    }
    EXPECT_EQ(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, leading), CUBLAS_STATUS_SUCCESS);
    const int32_t order = row_order ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
    const int64_t offset = stride;
    EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(
        cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset, sizeof offset),
        CUBLAS_STATUS_SUCCESS);
  }
  ~Matrix() {
    EXPECT_EQ(cublasLtMatrixLayoutDestroy(layout), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaFree(data), cudaSuccess);
  }
  int at(int entry, int row, int column) const {
    return entry * stride + (row_order ? row * leading + column : row + column * leading);
  }
  double read(int index) const {
    const char* from = data + index * bytes_of(type);
    if (type == CUDA_R_64F) return *reinterpret_cast<const double*>(from);
    return type == CUDA_R_32F ? *reinterpret_cast<const float*>(from)
                              : __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(from));
  }
};

struct Multiplication {
  explicit Multiplication(const Problem& problem)
      : problem(problem),
        a(problem.in, problem.transpose[0] ? problem.k : problem.m, problem.transpose[0] ? problem.m : problem.k,
          problem.batch, problem.row_order[0], 1),
        b(problem.in, problem.transpose[1] ? problem.n : problem.k, problem.transpose[1] ? problem.k : problem.n,
          problem.batch, problem.row_order[1], 4),
        d(problem.out, problem.m, problem.n, problem.batch, problem.row_order[2], 9),
        bias(problem.out, problem.m, 1, 1, false, 2) {
    EXPECT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(
        cublasLtMatmulDescCreate(&operation, problem.compute, problem.out == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F),
        CUBLAS_STATUS_SUCCESS);
    const int32_t transpose[] = {problem.transpose[0] ? CUBLAS_OP_T : CUBLAS_OP_N,
                                 problem.transpose[1] ? CUBLAS_OP_T : CUBLAS_OP_N};
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose[0], 4),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &transpose[1], 4),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &problem.epilogue, 4),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.data, 8),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulPreferenceCreate(&preference), CUBLAS_STATUS_SUCCESS);
    const uint64_t workspace_bytes = 1 << 16;
    EXPECT_EQ(
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, 8),
        CUBLAS_STATUS_SUCCESS);
    for (int matrix = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES; matrix <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES;
         ++matrix) {
      EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(
                    preference, static_cast<cublasLtMatmulPreferenceAttributes_t>(matrix), &problem.alignment, 4),
                CUBLAS_STATUS_SUCCESS);
    }
  }
  ~Multiplication() {
    EXPECT_EQ(cublasLtMatmulPreferenceDestroy(preference), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescDestroy(operation), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtDestroy(handle), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaFree(workspace), cudaSuccess);
  }

  cublasStatus_t find() {
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, operation, a.layout, b.layout, d.layout,
                                                                 d.layout, preference, 1, &algorithm, &found);
    EXPECT_EQ(found, status == CUBLAS_STATUS_SUCCESS ? 1 : 0);
    if (found == 1 && workspace == nullptr) {
      EXPECT_EQ(cudaMalloc(&workspace, algorithm.workspaceSize), cudaSuccess);
    }
    return status;
  }

  cublasStatus_t run(const char* a_data, cudaStream_t stream = nullptr) {
    const float alpha = static_cast<float>(problem.alpha), beta = static_cast<float>(problem.beta);
    const bool wide = problem.out == CUDA_R_64F;
    return cublasLtMatmul(handle, operation, wide ? static_cast<const void*>(&problem.alpha) : &alpha, a_data, a.layout,
                          b.data, b.layout, wide ? static_cast<const void*>(&problem.beta) : &beta, d.data, d.layout,
                          d.data, d.layout, &algorithm.algo, workspace, algorithm.workspaceSize, stream);
  }

  void compare() {
    for (int entry = 0; entry < problem.batch; ++entry) {
      for (int i = 0; i < problem.m; ++i) {
        for (int j = 0; j < problem.n; ++j) {
          double sum = 0;
          for (int k = 0; k < problem.k; ++k) {
            sum += a.values[problem.transpose[0] ? a.at(entry, k, i) : a.at(entry, i, k)] *
                   b.values[problem.transpose[1] ? b.at(entry, j, k) : b.at(entry, k, j)];
          }
          double expected = problem.alpha * sum + problem.beta * d.values[d.at(entry, i, j)];
          if ((problem.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) expected += bias.values[i];
          if ((problem.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) expected = std::fmax(expected, 0);
          if (problem.out == CUDA_R_16BF) expected = __bfloat162float(__float2bfloat16(static_cast<float>(expected)));
          EXPECT_EQ(d.read(d.at(entry, i, j)), expected) << entry << " " << i << " " << j;
        }
      }
    }
    EXPECT_EQ(d.read(d.stride - 1), d.values[d.stride - 1]);  // a gap stays as it was
  }

  Problem problem;
  Matrix a, b, d, bias;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatmulHeuristicResult_t algorithm{};
  void* workspace = nullptr;
};

void test(const Problem& problem) {
  Multiplication multiplication(problem);
  ASSERT_EQ(multiplication.find(), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(multiplication.run(multiplication.a.data), CUBLAS_STATUS_SUCCESS);
  multiplication.compare();
}

TEST(CublasLt, TransposesAndOrders) {
  for (int bits = 0; bits < 32; ++bits) {
    SCOPED_TRACE(bits);
    Problem problem;
    for (int i = 0; i < 2; ++i) problem.transpose[i] = (bits >> i & 1) != 0;
    for (int i = 0; i < 3; ++i) problem.row_order[i] = (bits >> (2 + i) & 1) != 0;
    problem.batch = 1 + bits % 3;
    problem.beta = bits % 2 == 0 ? 0 : -0.5;
    test(problem);
  }
}

TEST(CublasLt, TypesAndEpilogues) {
  for (const uint32_t epilogue :
       {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU_BIAS}) {
    Problem problem;
    problem.epilogue = epilogue;
    problem.batch = 2;
    for (const cublasComputeType_t compute : {CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_PEDANTIC,
                                              CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_16BF}) {
      problem.compute = compute;
      test(problem);
    }
    problem.compute = CUBLAS_COMPUTE_32F;
    problem.in = CUDA_R_16BF;
    test(problem);
    problem.out = CUDA_R_16BF;
    test(problem);
    problem.in = problem.out = CUDA_R_64F;
    problem.compute = CUBLAS_COMPUTE_64F;
    test(problem);
  }
}

TEST(CublasLt, FastTypesRoundTheirInputs) {
  Problem problem;
  problem.m = problem.n = problem.k = 1;
  problem.alpha = 1;
  for (const auto& [compute, expected] :
       {std::pair(CUBLAS_COMPUTE_32F, 1.0 + 0x1p-11 + 0x1p-12), std::pair(CUBLAS_COMPUTE_32F_FAST_TF32, 1.0 + 0x1p-10),
        std::pair(CUBLAS_COMPUTE_32F_FAST_16BF, 1.0)}) {
    problem.compute = compute;
    Multiplication multiplication(problem);
    *reinterpret_cast<float*>(multiplication.a.data) = 1.0f + 0x1p-11f + 0x1p-12f;
    *reinterpret_cast<float*>(multiplication.b.data) = 1.0f;
    ASSERT_EQ(multiplication.find(), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(multiplication.run(multiplication.a.data), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(multiplication.d.read(0), expected);
  }
}

TEST(CublasLt, RecordedWhileAStreamCaptures) {
  Problem problem;
  Multiplication multiplication(problem);
  ASSERT_EQ(multiplication.find(), CUBLAS_STATUS_SUCCESS);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  ASSERT_EQ(multiplication.run(multiplication.a.data, stream), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(multiplication.d.read(0), multiplication.d.values[0]);
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  multiplication.compare();
  EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST(CublasLt, Errors) {
  Problem problem;
  problem.alignment = 16;
  Multiplication multiplication(problem);
  ASSERT_EQ(multiplication.find(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(multiplication.run(multiplication.a.data + 4), CUBLAS_STATUS_NOT_SUPPORTED);  // not as aligned as announced
  EXPECT_EQ(multiplication.run(multiplication.a.data + 2), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiplication.run(nullptr), CUBLAS_STATUS_INVALID_VALUE);
  const int64_t short_leading = multiplication.a.rows - 1;
  ASSERT_EQ(cublasLtMatrixLayoutSetAttribute(multiplication.a.layout, CUBLASLT_MATRIX_LAYOUT_LD, &short_leading, 8),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(multiplication.find(), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiplication.run(multiplication.a.data), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(multiplication.a.layout, CUBLASLT_MATRIX_LAYOUT_LD, &short_leading, 4),
            CUBLAS_STATUS_INVALID_VALUE);
  problem.in = CUDA_R_64F;
  EXPECT_EQ(Multiplication(problem).find(), CUBLAS_STATUS_NOT_SUPPORTED);
  problem.in = CUDA_R_32F;
  problem.epilogue = CUBLASLT_EPILOGUE_BGRADB;
  EXPECT_EQ(Multiplication(problem).find(), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_STREQ(cublasLtGetStatusString(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED");
}

// What cuBLASLt does not offer for f32 operands is served in the next better precision, and the library says so.
TEST(Products, FallToTheNextBetterPrecision) {
  using namespace mollify;
  const Tensor a = to(normal({70, 300}, {1, 0}, Tensor::scalar(0, DType::i32)), Device::cuda),
               b = to(normal({300, 65}, {2, 0}, Tensor::scalar(0, DType::i32)), Device::cuda);
  const auto product = [&](Precision precision) {
    set_precision(precision);
    const std::vector<float> values = matmul(a, b).to_vector<float>();
    set_precision(Precision::fp32);
    return values;
  };
  EXPECT_EQ(cuda::products(), "cuBLASLt; tf32 is served as tf32, bf16 as bf16");
  emulation::offer_bf16_products(false);
  EXPECT_EQ(cuda::products(), "cuBLASLt; tf32 is served as tf32, bf16 as tf32");
  const Tensor c = slice(a, 0, 0, 69);  // a product that has no plan yet
  set_precision(Precision::bf16);
  const std::vector<float> fallen = matmul(c, b).to_vector<float>();
  set_precision(Precision::tf32);
  EXPECT_EQ(fallen, matmul(c, b).to_vector<float>());
  set_precision(Precision::fp32);
  emulation::offer_bf16_products(true);
  EXPECT_NE(product(Precision::bf16), product(Precision::tf32));
}

}  // namespace
