// What the rest of the engine asks of the GPU. Builds without CUDA answer from absent.cc: there is none.
#pragma once

#include <mollify/engine/cuda/gpu.h>
#include <mollify/engine/tensor.h>

#include <functional>

namespace mollify::cuda {

// Device memory, uninitialised and 256-byte aligned, from a cache of freed blocks. One stream orders all work, so that
// a freed block serves again at once. Throws MemoryError with what was asked, what is live and what is cached;
// DeviceError without a device.
void* allocate(int64_t bytes);
void free(void* data, int64_t bytes);
MemoryStatistics memory_statistics();
void reset_peak_memory();
void release_cached_memory();

// Copies in stream order. To the device: the host's memory may be changed on return. To the host: waits, and throws
// what kernels found.
void copy_to_device(void* to, const void* from, int64_t bytes);
void copy_to_host(void* to, const void* from, int64_t bytes);

// A few bytes on their way to the host: queued now, waited for later.
class HostCopy {
 public:
  static constexpr int64_t kMostBytes = 64;
  HostCopy(const void* from, int64_t bytes);
  ~HostCopy();
  HostCopy(HostCopy&& other) noexcept;
  const void* wait() const;  // throws what kernels before the copy found

 private:
  void* slot_;
};

// A 0-d tensor of the CPU, on the device. Numbers that were there before are kept and found again.
Tensor number(const Tensor& x);

// Writes `count` numbers of 8 bytes each to device memory; they travel with the launch.
void write_numbers(const uint64_t* numbers, int64_t count, void* to);

// Packed copy within the device.
void copy_within(void* to, const void* from, int64_t bytes);

// Work of the stream, recorded once and launched as a whole.
class Graph {
 public:
  explicit Graph(const std::function<void()>& work);  // runs `work`, whose launches are recorded, not executed
  ~Graph();
  Graph(const Graph&) = delete;
  void launch() const;
  int64_t nodes() const;

 private:
  void* executable_;
  int64_t nodes_;
};

}  // namespace mollify::cuda
