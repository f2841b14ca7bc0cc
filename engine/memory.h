// Memory of tensors: counted buffers from a caching allocator, and its statistics.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)
namespace mollify {

enum class Device : uint8_t { cpu, cuda };
const char* to_string(Device device);

struct MemoryStatistics {
  int64_t live_bytes;    // held by buffers now
  int64_t peak_bytes;    // largest live_bytes since the start or the last reset_peak_memory()
  int64_t cached_bytes;  // freed and kept for reuse by all threads
};
MemoryStatistics memory_statistics(Device device = Device::cpu);
void reset_peak_memory(Device device = Device::cpu);

// Returns cached memory to the system or the GPU: all of the shared cache, and the calling thread's small blocks.
void release_cached_memory(Device device = Device::cpu);

// Gives one reference up; true when it was the last. The only owner needs no locked instruction, which is most of the
// cost.
inline bool drop_reference(std::atomic<int32_t>& references) {
  return references.load(std::memory_order_acquire) == 1 || references.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

// Counted bytes on one device. `version` rises whenever an assign-like operation changes them, so that grad can tell.
class Buffer {
 public:
  // 64-byte aligned (256 on a GPU), not initialised. Throws MemoryError with what was asked and what is live.
  static Buffer* allocate(int64_t bytes, Device device);

  // Stands for memory of others, which `rebind` chooses: a plan's steps hold tensors on such buffers. Keeps `owner`, if
  // given, alive.
  static Buffer* borrowed(int64_t bytes, Device device, Buffer* owner = nullptr);
  void rebind(void* data) { data_ = data; }

  // Memory that another library owns, aligned to its numbers: given back by release(owner), on whichever thread drops
  // the last reference. What is read_only is refused by the operations that overwrite.
  static Buffer* foreign(void* data, int64_t bytes, Device device, bool read_only, void (*release)(void* owner),
                         void* owner);

  // Stands behind tensors of a trace, which have a layout only.
  static Buffer& without_values();

  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (drop_reference(references_)) destroy();
  }
  bool unique() const { return references_.load(std::memory_order_acquire) == 1; }

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool read_only() const { return read_only_; }
  uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void changed() { version_.fetch_add(1, std::memory_order_relaxed); }

  // What a capture calls this buffer while it lasts: the number of the capture, and of the buffer within it.
  struct CaptureTag {
    uint32_t capture = 0;
    int32_t slot = 0;
  };
  CaptureTag tag;

 private:
  enum class Kind : uint8_t { pooled, device, head_alone };
  void destroy();

  std::atomic<int32_t> references_{1};
  std::atomic<uint32_t> version_{0};
  void* data_ = nullptr;
  int64_t bytes_ = 0;
  void* owner_ = nullptr;
  void (*release_)(void* owner) = nullptr;
  Device device_ = Device::cpu;
  Kind kind_ = Kind::pooled;
  bool read_only_ = false;
};

// Small objects of the engine (tensor bodies, nodes, buffers' heads) from the same cache: about 10 ns each.
void* allocate_small(size_t bytes);
void free_small(void* pointer, size_t bytes);

// Uninitialised scratch of a kernel, returned to the cache at the end of its scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : buffer_(Buffer::allocate(count * int64_t{sizeof(T)}, Device::cpu)) {}
  ~Scratch() { buffer_->release(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return static_cast<T*>(buffer_->data()); }
  T& operator[](int64_t i) const { return data()[i]; }

 private:
  Buffer* buffer_;
};

}  // namespace mollify
#pragma GCC visibility pop
