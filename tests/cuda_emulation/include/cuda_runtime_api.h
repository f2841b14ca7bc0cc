// The emulated part of the CUDA runtime's host functions; see cuda_runtime.h. Numbers of enumerations are CUDA's.
#pragma once

#include <vector_types.h>

#include <cstddef>

#define CUDART_VERSION 13000

#define EMULATION_ERRORS(entry)                                                                                        \
  entry(cudaSuccess, 0, "no error") entry(cudaErrorInvalidValue, 1, "invalid argument") entry(                         \
      cudaErrorMemoryAllocation, 2, "out of memory") entry(cudaErrorInitializationError, 3, "initialization error")    \
      entry(cudaErrorInvalidConfiguration, 9, "invalid configuration argument") entry(                                 \
          cudaErrorInvalidPitchValue, 12, "invalid pitch argument") entry(cudaErrorInvalidDevicePointer, 17,           \
                                                                          "invalid device pointer")                    \
          entry(cudaErrorInvalidMemcpyDirection, 21, "invalid copy direction for memcpy") entry(                       \
              cudaErrorInsufficientDriver, 35,                                                                         \
              "CUDA driver version is insufficient for CUDA runtime version") entry(cudaErrorInvalidDeviceFunction,    \
                                                                                    98, "invalid device function")     \
              entry(cudaErrorNoDevice, 100, "no CUDA-capable device is detected") entry(                               \
                  cudaErrorInvalidDevice, 101,                                                                         \
                  "invalid device ordinal") entry(cudaErrorNoKernelImageForDevice, 209,                                \
                                                  "no kernel image is available for execution on the device")          \
                  entry(cudaErrorInvalidResourceHandle, 400, "invalid resource handle") entry(                         \
                      cudaErrorIllegalState, 401, "the operation cannot be performed in the present state")            \
                      entry(cudaErrorNotReady, 600, "device not ready") entry(                                         \
                          cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                    \
                          entry(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch") entry(  \
                              cudaErrorLaunchFailure, 719, "unspecified launch failure")                               \
                              entry(cudaErrorNotPermitted, 800, "operation not permitted") entry(                      \
                                  cudaErrorNotSupported, 801,                                                          \
                                  "operation not supported") entry(cudaErrorStreamCaptureUnsupported, 900,             \
                                                                   "operation not permitted when stream is capturing") \
                                  entry(cudaErrorStreamCaptureInvalidated, 901,                                        \
                                        "operation failed due to a previous error during capture")                     \
                                      entry(cudaErrorStreamCaptureMerge, 902,                                          \
                                            "operation would result in a merge of separate capture sequences")         \
                                          entry(cudaErrorStreamCaptureUnmatched, 903,                                  \
                                                "capture was not ended in the same stream as it began")                \
                                              entry(cudaErrorStreamCaptureUnjoined, 904,                               \
                                                    "capturing stream has unjoined work")                              \
                                                  entry(cudaErrorStreamCaptureIsolation, 905,                          \
                                                        "dependency created on uncaptured work in another stream")     \
                                                      entry(cudaErrorStreamCaptureImplicit, 906,                       \
                                                            "operation would make the legacy stream depend on a "      \
                                                            "capturing blocking stream")                               \
                                                          entry(cudaErrorCapturedEvent, 907,                           \
                                                                "operation not permitted on an event last recorded "   \
                                                                "in a capturing stream")                               \
                                                              entry(cudaErrorStreamCaptureWrongThread, 908,            \
                                                                    "attempt to terminate a thread-local capture "     \
                                                                    "sequence from another thread")                    \
                                                                  entry(                                               \
                                                                      cudaErrorGraphExecUpdateFailure, 910,            \
                                                                      "the graph update was not performed because it " \
                                                                      "included changes which violated constraints")   \
                                                                      entry(cudaErrorUnknown, 999, "unknown error")

enum cudaError {
#define EMULATION_ENTRY(name, number, text) name = number,
  EMULATION_ERRORS(EMULATION_ENTRY)
#undef EMULATION_ENTRY
};
using cudaError_t = cudaError;

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphNode_t = struct CUgraphNode_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
using cudaHostFn_t = void (*)(void* data);

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone,
  cudaStreamCaptureStatusActive,
  cudaStreamCaptureStatusInvalidated
};
enum cudaGraphNodeType {
  cudaGraphNodeTypeKernel,
  cudaGraphNodeTypeMemcpy,
  cudaGraphNodeTypeMemset,
  cudaGraphNodeTypeHost,
  cudaGraphNodeTypeGraph,
  cudaGraphNodeTypeEmpty,
};
enum cudaGraphExecUpdateResult {
  cudaGraphExecUpdateSuccess,
  cudaGraphExecUpdateError,
  cudaGraphExecUpdateErrorTopologyChanged,
  cudaGraphExecUpdateErrorNodeTypeChanged,
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMaxRegistersPerBlock = 12,
  cudaDevAttrClockRate = 13,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMemoryClockRate = 36,
  cudaDevAttrGlobalMemoryBusWidth = 37,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrMaxBlocksPerMultiprocessor = 106,
  cudaDevAttrMemoryPoolsSupported = 115,
};

inline constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2;
inline constexpr unsigned cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2,
                          cudaHostAllocWriteCombined = 4;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock;
  int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3], major, minor, multiProcessorCount,
      integrated;
  int concurrentKernels, ECCEnabled, asyncEngineCount, unifiedAddressing, memoryBusWidth, l2CacheSize,
      persistingL2CacheMaxSize;
  int maxThreadsPerMultiProcessor;
  size_t sharedMemPerMultiprocessor;
  int regsPerMultiprocessor;
  size_t sharedMemPerBlockOptin;
  int maxBlocksPerMultiProcessor;
  size_t reservedSharedMemPerBlock;
  int memoryPoolsSupported;
};

struct cudaFuncAttributes {
  size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
  int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, maxDynamicSharedSizeBytes;
};

struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};

struct cudaLaunchAttribute;  // launch attributes are not emulated: numAttrs is 0
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

struct cudaGraphExecUpdateResultInfo {
  cudaGraphExecUpdateResult result;
  cudaGraphNode_t errorNode, errorFromNode;
};

extern "C" {
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);

cudaError_t cudaMalloc(void** pointer, size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream);
cudaError_t cudaMallocHost(void** pointer, size_t bytes, unsigned flags = cudaHostAllocDefault);
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* pointer, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream = nullptr);

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data);

cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long* id = nullptr, cudaGraph_t* graph = nullptr);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count);
cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* result);
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
}

namespace emulation {
template <class T, class Allocate>
cudaError_t allocate(T** pointer, Allocate allocate) {
  void* allocated = nullptr;
  const cudaError_t status = allocate(pointer == nullptr ? nullptr : &allocated);
  if (status == cudaSuccess) *pointer = static_cast<T*>(allocated);
  return status;
}
}  // namespace emulation

template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  return emulation::allocate(pointer, [&](void** allocated) { return cudaMalloc(allocated, bytes); });
}
template <class T>
cudaError_t cudaMallocAsync(T** pointer, size_t bytes, cudaStream_t stream) {
  return emulation::allocate(pointer, [&](void** allocated) { return cudaMallocAsync(allocated, bytes, stream); });
}
template <class T>
cudaError_t cudaMallocHost(T** pointer, size_t bytes, unsigned flags = cudaHostAllocDefault) {
  return emulation::allocate(pointer, [&](void** allocated) { return cudaMallocHost(allocated, bytes, flags); });
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, size_t bytes, unsigned flags) {
  return emulation::allocate(pointer, [&](void** allocated) { return cudaHostAlloc(allocated, bytes, flags); });
}
