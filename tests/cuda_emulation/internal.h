// What the emulation's sources share.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace emulation {

inline constexpr size_t kSharedBytes = 48 << 10, kSharedBytesOptin = 227 << 10, kSharedBytesMultiprocessor = 228 << 10;
inline constexpr int kBlockThreads = 1024, kMultiprocessorThreads = 2048, kMultiprocessorBlocks = 32,
                     kMultiprocessors = 4;

// Held by every function of the runtime and while work is done, so that the threads of the host use the one device by
// turns.
std::recursive_mutex& device_mutex();

// Returns its argument, which becomes the thread's last error unless it is success.
cudaError_t finish(cudaError_t status);

// cudaErrorNoDevice where there is none.
cudaError_t need_device();

// Does the work, or records it where the stream captures.
cudaError_t submit(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work);

bool is_capturing(cudaStream_t stream);

// For what CUDA forbids while the calling thread captures: invalidates those captures and returns
// cudaErrorStreamCaptureUnsupported.
cudaError_t forbid_capture();
cudaError_t forbid_capture(cudaStream_t stream);  // the capture of that stream only

// Memory that the runtime has handed out and that holds all of the range.
enum class Memory { none, device, host };
Memory memory_of(const void* pointer, size_t bytes);

// Runs all blocks of a kernel: `invoke(arguments)` once for each thread.
struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes;
  void (*invoke)(const void* arguments);
  const void* arguments;
};
void run(const Grid& grid);

}  // namespace emulation
