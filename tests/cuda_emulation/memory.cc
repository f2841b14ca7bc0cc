// Memory of the emulated device and pinned memory: from malloc, so that AddressSanitizer guards its ends, and full of
// NaN.
#include "internal.h"

#include <emulation.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

namespace emulation {
namespace {

struct Allocation {
  size_t bytes;
  Memory memory;
};

struct Heap {
  std::map<uintptr_t, Allocation> allocations;
  size_t limit = size_t{16} << 30, allocated = 0;
  int64_t count = 0;
};

Heap& heap() {
  static Heap* all = new Heap;  // never destroyed: static objects of tests may free memory late
  return *all;
}

cudaError_t allocate(void** pointer, size_t bytes, Memory memory) {
  if (pointer == nullptr) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  Heap& all = heap();
  if (memory == Memory::device && (bytes > all.limit || all.allocated > all.limit - bytes))
    return cudaErrorMemoryAllocation;
  void* allocated = nullptr;
  if (posix_memalign(&allocated, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(allocated, 0xff, bytes);
  all.allocations[reinterpret_cast<uintptr_t>(allocated)] = {bytes, memory};
  if (memory == Memory::device) {
    all.allocated += bytes;
    ++all.count;
  }
  *pointer = allocated;
  return cudaSuccess;
}

cudaError_t release(void* pointer, Memory memory) {
  if (pointer == nullptr) return cudaSuccess;
  Heap& all = heap();
  const auto found = all.allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (found == all.allocations.end() || found->second.memory != memory) return cudaErrorInvalidValue;
  if (memory == Memory::device) all.allocated -= found->second.bytes;
  all.allocations.erase(found);
  std::free(pointer);
  return cudaSuccess;
}

// Bytes from the pointer to the end of the last row.
size_t extent(size_t pitch, size_t width, size_t height) {
  return height == 0 || width == 0 ? 0 : pitch * (height - 1) + width;
}

// What a copy needs of the memory at one of its ends.
bool fits(const void* pointer, size_t bytes, bool device) {
  return pointer != nullptr && (memory_of(pointer, bytes) == Memory::device) == device &&
         (device || memory_of(pointer, 1) != Memory::device);
}

cudaError_t copy(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                 cudaMemcpyKind kind, cudaStream_t stream, bool wait) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return status;
  if (wait) {
    if (cudaError_t status = forbid_capture(); status != cudaSuccess) return status;
  }
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  if (to_pitch < width || from_pitch < width) return cudaErrorInvalidPitchValue;
  const size_t to_bytes = extent(to_pitch, width, height), from_bytes = extent(from_pitch, width, height);
  if (to_bytes == 0) return cudaSuccess;
  bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault) {
    to_device = memory_of(to, 1) == Memory::device;
    from_device = memory_of(from, 1) == Memory::device;
  }
  if (!fits(to, to_bytes, to_device) || !fits(from, from_bytes, from_device)) return cudaErrorInvalidValue;
  if (is_capturing(stream) && ((!to_device && memory_of(to, to_bytes) != Memory::host) ||
                               (!from_device && memory_of(from, from_bytes) != Memory::host))) {
    forbid_capture(stream);
    // Pageable memory is copied through a buffer of the driver's, which waits.
    return cudaErrorStreamCaptureUnsupported;
  }
  return submit(stream, cudaGraphNodeTypeMemcpy, [=] {
    for (size_t row = 0; row < height; ++row) {
      std::memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    }
  });
}

cudaError_t set(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  if (cudaError_t status = need_device(); status != cudaSuccess) return status;
  if (bytes == 0) return cudaSuccess;
  if (memory_of(pointer, bytes) != Memory::device) return cudaErrorInvalidValue;
  return submit(stream, cudaGraphNodeTypeMemset, [=] { std::memset(pointer, value, bytes); });
}

}  // namespace

Memory memory_of(const void* pointer, size_t bytes) {
  const std::lock_guard lock(device_mutex());
  const auto& allocations = heap().allocations;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  auto found = allocations.upper_bound(address);
  if (found == allocations.begin()) return Memory::none;
  --found;
  const size_t offset = address - found->first;
  return offset < found->second.bytes && bytes <= found->second.bytes - offset ? found->second.memory : Memory::none;
}

void set_memory_limit(size_t bytes) {
  const std::lock_guard lock(device_mutex());
  heap().limit = bytes;
}

int64_t allocation_count() {
  const std::lock_guard lock(device_mutex());
  return heap().count;
}

size_t allocated_bytes() {
  const std::lock_guard lock(device_mutex());
  return heap().allocated;
}

}  // namespace emulation

using namespace emulation;

extern "C" {

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (free == nullptr || total == nullptr) return finish(cudaErrorInvalidValue);
  *total = heap().limit;
  *free = heap().limit > heap().allocated ? heap().limit - heap().allocated : 0;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (cudaError_t status = forbid_capture(); status != cudaSuccess) return finish(status);
  return finish(allocate(pointer, bytes, Memory::device));
}

cudaError_t cudaFree(void* pointer) {
  const std::lock_guard lock(device_mutex());
  if (pointer == nullptr) return cudaSuccess;
  if (cudaError_t status = forbid_capture(); status != cudaSuccess) return finish(status);
  return finish(release(pointer, Memory::device));
}

// Nodes that allocate and free are not emulated.
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (cudaError_t status = forbid_capture(stream); status != cudaSuccess) return finish(status);
  return finish(allocate(pointer, bytes, Memory::device));
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = forbid_capture(stream); status != cudaSuccess) return finish(status);
  return finish(release(pointer, Memory::device));
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = need_device(); status != cudaSuccess) return finish(status);
  if (cudaError_t status = forbid_capture(); status != cudaSuccess) return finish(status);
  return finish(allocate(pointer, bytes, Memory::host));
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes, unsigned flags) {
  return cudaHostAlloc(pointer, bytes, flags);
}

cudaError_t cudaFreeHost(void* pointer) {
  const std::lock_guard lock(device_mutex());
  if (pointer == nullptr) return cudaSuccess;
  if (cudaError_t status = forbid_capture(); status != cudaSuccess) return finish(status);
  return finish(release(pointer, Memory::host));
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  if (attributes == nullptr) return finish(cudaErrorInvalidValue);
  const Memory memory = memory_of(pointer, 1);
  void* const address = const_cast<void*>(pointer);
  *attributes = {memory == Memory::device ? cudaMemoryTypeDevice
                 : memory == Memory::host ? cudaMemoryTypeHost
                                          : cudaMemoryTypeUnregistered,
                 memory == Memory::none ? -2 : 0, memory == Memory::none ? nullptr : address,
                 memory == Memory::device ? nullptr : address};
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const std::lock_guard lock(device_mutex());
  return finish(copy(to, bytes, from, bytes, bytes, 1, kind, nullptr, true));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  return finish(copy(to, bytes, from, bytes, bytes, 1, kind, stream, false));
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  return finish(copy(to, to_pitch, from, from_pitch, width, height, kind, stream, false));
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  const std::lock_guard lock(device_mutex());
  if (cudaError_t status = forbid_capture(); status != cudaSuccess) return finish(status);
  return finish(set(pointer, value, bytes, nullptr));
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  return finish(set(pointer, value, bytes, stream));
}
}
