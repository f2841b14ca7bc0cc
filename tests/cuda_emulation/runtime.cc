// Device, launches, errors, events.
#include "internal.h"

#include <cuda_runtime.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>

using Clock = std::chrono::steady_clock;

struct CUevent_st {
  unsigned flags;
  bool recorded, captured;
  Clock::time_point time;
};

namespace emulation {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
int64_t launches = 0;

// Kernels' limits of dynamic shared memory where cudaFuncSetAttribute has set them.
std::map<Kernel, size_t>& shared_limits() {
  static auto* limits = new std::map<Kernel, size_t>;
  return *limits;
}

size_t shared_limit(Kernel kernel) {
  const auto found = shared_limits().find(kernel);
  return found == shared_limits().end() ? kSharedBytes : found->second;
}

int64_t volume(const dim3& extents) { return int64_t{extents.x} * extents.y * extents.z; }

cudaError_t check(const cudaLaunchConfig_t& config, Kernel kernel) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return status;
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  const dim3 grid = config.gridDim, block = config.blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0)
    return cudaErrorInvalidConfiguration;
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidConfiguration;
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || volume(block) > kBlockThreads)
    return cudaErrorInvalidConfiguration;
  if (config.dynamicSmemBytes > shared_limit(kernel)) return cudaErrorInvalidValue;
  return config.numAttrs == 0 ? cudaSuccess : cudaErrorNotSupported;
}

}  // namespace

std::recursive_mutex& device_mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

cudaError_t finish(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

cudaError_t need_device() {
  const char* devices = std::getenv("MOLLIFY_EMULATED_DEVICES");
  return devices != nullptr && std::strcmp(devices, "0") == 0 ? cudaErrorNoDevice : cudaSuccess;
}

int64_t launch_count() {
  const std::lock_guard lock(device_mutex());
  return launches;
}

cudaError_t launch(const cudaLaunchConfig_t& config, Kernel kernel, void (*invoke)(const void* arguments),
                   std::shared_ptr<const void> arguments) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = check(config, kernel); status != cudaSuccess) return finish(status);
  return finish(submit(config.stream, cudaGraphNodeTypeKernel, [config, invoke, arguments] {
    ++launches;
    run({config.gridDim, config.blockDim, config.dynamicSmemBytes, invoke, arguments.get()});
  }));
}

cudaError_t set_attribute(Kernel kernel, cudaFuncAttribute attribute, int value) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (kernel == nullptr) return finish(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
    return finish(value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      value > static_cast<int>(kSharedBytesOptin))
    return finish(cudaErrorInvalidValue);
  shared_limits()[kernel] = value;
  return cudaSuccess;
}

cudaError_t attributes(cudaFuncAttributes* result, Kernel kernel) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (result == nullptr) return finish(cudaErrorInvalidValue);
  if (kernel == nullptr) return finish(cudaErrorInvalidDeviceFunction);
  *result = {0, 0, 0, kBlockThreads, 32, 90, 90, static_cast<int>(shared_limit(kernel))};
  return cudaSuccess;
}

cudaError_t occupancy(int* result, Kernel kernel, int block_threads, size_t shared_bytes) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (result == nullptr || block_threads <= 0) return finish(cudaErrorInvalidValue);
  if (kernel == nullptr) return finish(cudaErrorInvalidDeviceFunction);
  constexpr size_t kReserved = 1024;  // of each block's shared memory
  const int by_threads = kMultiprocessorThreads / ((block_threads + warpSize - 1) / warpSize * warpSize);
  const int by_memory = static_cast<int>(kSharedBytesMultiprocessor / (shared_bytes + kReserved));
  *result = block_threads > kBlockThreads || shared_bytes > shared_limit(kernel)
                ? 0
                : min(kMultiprocessorBlocks, min(by_threads, by_memory));
  return cudaSuccess;
}

}  // namespace emulation

using namespace emulation;

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define EMULATION_ENTRY(name, number, text) \
  case name: return #name;
    EMULATION_ERRORS(EMULATION_ENTRY)
#undef EMULATION_ENTRY
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define EMULATION_ENTRY(name, number, text) \
  case name: return text;
    EMULATION_ERRORS(EMULATION_ENTRY)
#undef EMULATION_ENTRY
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  const cudaError_t status = last_error;
  last_error = cudaSuccess;
  return status;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (version == nullptr) return finish(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

cudaError_t cudaGetDeviceCount(int* count) {
  if (count == nullptr) return finish(cudaErrorInvalidValue);
  const cudaError_t status = need_device();
  *count = status == cudaSuccess ? 1 : 0;
  return finish(status);
}

cudaError_t cudaGetDevice(int* device) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (device == nullptr) return finish(cudaErrorInvalidValue);
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  return finish(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (properties == nullptr) return finish(cudaErrorInvalidValue);
  if (device != 0) return finish(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "emulated");
  size_t free = 0;
  cudaMemGetInfo(&free, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = kSharedBytes;
  properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
  properties->warpSize = warpSize;
  properties->maxThreadsPerBlock = kBlockThreads;
  const int block[] = {1024, 1024, 64}, grid[] = {0x7fffffff, 65535, 65535};
  std::memcpy(properties->maxThreadsDim, block, sizeof block);
  std::memcpy(properties->maxGridSize, grid, sizeof grid);
  properties->major = 9;
  properties->multiProcessorCount = kMultiprocessors;
  properties->concurrentKernels = properties->unifiedAddressing = properties->memoryPoolsSupported = 1;
  properties->asyncEngineCount = 2;
  properties->memoryBusWidth = 64;
  properties->l2CacheSize = 4 << 20;
  properties->maxThreadsPerMultiProcessor = kMultiprocessorThreads;
  properties->sharedMemPerMultiprocessor = kSharedBytesMultiprocessor;
  properties->sharedMemPerBlockOptin = kSharedBytesOptin;
  properties->maxBlocksPerMultiProcessor = kMultiprocessorBlocks;
  properties->reservedSharedMemPerBlock = 1024;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (cudaError_t status = cudaGetDeviceProperties(&properties, device); status != cudaSuccess) return status;
  if (value == nullptr) return finish(cudaErrorInvalidValue);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(properties.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = properties.warpSize; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = properties.regsPerBlock; break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;  // kHz
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = properties.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = properties.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = properties.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(properties.sharedMemPerBlockOptin); break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = properties.maxBlocksPerMultiProcessor; break;
    case cudaDevAttrMemoryPoolsSupported: *value = properties.memoryPoolsSupported; break;
    default: return finish(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  return finish(forbid_capture());
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (event == nullptr) return finish(cudaErrorInvalidValue);
  *event = new CUevent_st{flags, false, false, {}};
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return finish(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

// Within a capture an event only orders nodes, which a graph of one stream has in order.
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (event == nullptr) return finish(cudaErrorInvalidResourceHandle);
  event->recorded = true;
  event->captured = is_capturing(stream);
  event->time = Clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(device_mutex());
  if (event == nullptr) return finish(cudaErrorInvalidResourceHandle);
  if (cudaError_t status = forbid_capture(); status != cudaSuccess) return finish(status);
  return finish(event->captured ? cudaErrorCapturedEvent : cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return cudaEventQuery(event); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const std::lock_guard lock(device_mutex());
  if (milliseconds == nullptr) return finish(cudaErrorInvalidValue);
  for (const cudaEvent_t event : {start, end}) {
    if (event == nullptr || !event->recorded || event->captured || (event->flags & cudaEventDisableTiming) != 0)
      return finish(cudaErrorInvalidResourceHandle);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

// Another stream than the one the event was captured in would join the capture: not emulated.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(device_mutex());
  if (event == nullptr) return finish(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream) == event->captured) return cudaSuccess;
  if (event->captured) return finish(cudaErrorNotSupported);
  forbid_capture(stream);
  return finish(cudaErrorStreamCaptureIsolation);
}
}
