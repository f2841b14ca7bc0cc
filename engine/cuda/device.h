// What the rest of the engine asks of the GPU. Builds without CUDA answer from absent.cc: there is none.
#pragma once

#include <mollify/engine/tensor.h>

#include <functional>
#include <string>

namespace mollify::cuda {

// Whether this build has CUDA kernels and a device to run them; if not, `unavailable_reason` says why.
bool available();
std::string unavailable_reason();
std::string description();  // "NVIDIA H200, 132 multiprocessors, 139.8 GiB"; throws DeviceError without a device

// How large matrix products are computed: "cuBLASLt; tf32 is served as tf32, bf16 as tf32", or why by this library's
// own kernel. What is missing alone: empty where cuBLASLt is there.
std::string products();
std::string missing_products();

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

// Waits for all work; throws what kernels found.
void synchronize();

}  // namespace mollify::cuda
