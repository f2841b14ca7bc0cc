// The CUDA runtime as the kernels see it: one device, one stream, launches, scratch, and faults found on the device.
#pragma once

#include <mollify/engine/error.h>
#include <mollify/engine/memory.h>

#include <cuda_runtime.h>

#include <utility>

namespace mollify::cuda {

// Throws DeviceError with the operation and CUDA's name and text of the error; MemoryError where memory ran out.
void check(cudaError_t status, const char* operation);

// All work of the library goes through one stream, in order. Made at first use; throws DeviceError where there is no
// device.
cudaStream_t stream();

// While it lives, this thread's work goes to a stream of its own, which records: that of other threads must not get
// into its graph.
class RecordingStream {
 public:
  RecordingStream();
  ~RecordingStream();
  RecordingStream(const RecordingStream&) = delete;
};

// Of the device in use, read once.
const cudaDeviceProp& properties();

// Kernels are launched here only, so that a test can run the same text on the CPU.
template <class... Parameters, class... Arguments>
void launch(const char* operation, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Arguments&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream();
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), operation);
}

// Blocks of a grid-stride loop over `work` items of `block` threads each: enough to fill the device several times,
// never 0.
unsigned grid_for(int64_t work, int64_t block);

// Uninitialised device memory of one kernel's operation; stream order lets it be used again as soon as its scope has
// ended.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : buffer_(Buffer::allocate(count * int64_t{sizeof(T)}, Device::cuda)) {}
  ~Scratch() { buffer_->release(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return static_cast<T*>(buffer_->data()); }

 private:
  Buffer* buffer_;
};

// What a kernel found wrong with its values. The first one is kept, and thrown as a ValueError when the host next waits
// for the device.
enum class FaultKind : int { none, gather, scatter_add, one_hot, cast_i32, cast_u8, stream };
struct Fault {
  int kind;             // a FaultKind
  double value, limit;  // the number at fault; one past the greatest allowed index
};
Fault* fault();  // in device memory, for kernels: see report() in device.cuh

// Waits for all work of the stream; throws what the device found.
void synchronize();

}  // namespace mollify::cuda
