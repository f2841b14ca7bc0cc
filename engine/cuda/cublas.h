// cuBLASLt, opened at its first use: a program that multiplies no large matrices on a GPU needs no such library, and
// none is linked.
#pragma once

#include <cublasLt.h>

namespace mollify::cuda {

// The entry points that matrix products need.
struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetStatusString) status_string;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescCreate) operation_create;
  decltype(&cublasLtMatmulDescDestroy) operation_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;

  // Throws DeviceError with the operation and cuBLAS's text unless the call succeeded.
  void check(cublasStatus_t status, const char* operation) const;
};

// The file that $MOLLIFY_CUBLASLT names; without it what the process has loaded, or else the library of this build's
// CUDA version on the loader's path or in CUDA's folders. Throws DeviceError with what was tried; a later call tries
// again.
const CublasLt& cublas_lt();

// Why there is no such library, null where there is one; throws where $MOLLIFY_CUBLASLT names a file that cannot be
// used.
const char* missing_cublas_lt();

// The library's own handle, made at first use and kept.
cublasLtHandle_t cublas_lt_handle();

}  // namespace mollify::cuda
