// The caching allocator of device memory. All work goes through one stream, so that a block that was freed by the host
// may serve the next operation at once: the stream runs it after whatever still uses the block.
#include <mollify/engine/cuda/graph_memory.h>

#include <mollify/engine/cuda/device.h>
#include <mollify/engine/cuda/runtime.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>
#include <vector>

namespace mollify::cuda {
namespace {

constexpr int64_t kSmallest = 512;
constexpr int64_t kLarge = int64_t{1} << 20;

// Small blocks are rounded to powers of two; large ones to an eighth of the power below, so that at most 1/8 is wasted.
int64_t rounded(int64_t bytes) {
  int64_t power = kSmallest;
  while (2 * power <= bytes) power *= 2;
  const int64_t step = power >= kLarge ? power / 8 : power;
  return std::max(kSmallest, (bytes + step - 1) / step * step);
}

class Pool {
 public:
  void* take(int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t size = rounded(bytes);
    void* block = from_cache(size);
    if (!block) block = from_device(bytes, size);
    live_ += bytes;
    peak_ = std::max(peak_, live_);
    return block;
  }

  void put(void* block, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t size = rounded(bytes);
    free_[size].push_back(block);
    cached_ += size;
    live_ -= bytes;
    if (!keeps_ && captures_ == 0) empty_cache();
  }

  void count_capture(int change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    captures_ += change;
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    empty_cache();
  }

  MemoryStatistics statistics() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {live_, peak_, cached_};
  }

  void reset_peak() {
    const std::lock_guard<std::mutex> lock(mutex_);
    peak_ = live_;
  }

 private:
  void* from_cache(int64_t size) {
    const auto found = free_.find(size);
    if (found == free_.end() || found->second.empty()) return nullptr;
    void* block = found->second.back();
    found->second.pop_back();
    cached_ -= size;
    return block;
  }

  void* from_device(int64_t bytes, int64_t size) {
    (void)stream();  // the device is there, or this throws
    void* block = nullptr;
    cudaError_t status = cudaMalloc(&block, static_cast<size_t>(size));
    if (status == cudaErrorMemoryAllocation && cached_ > 0) {
      (void)cudaGetLastError();
      empty_cache();
      status = cudaMalloc(&block, static_cast<size_t>(size));
    }
    if (status == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      size_t free = 0, total = 0;
      (void)cudaMemGetInfo(&free, &total);
      throw MemoryError(format("memory: {} bytes asked for on cuda, {} live; the device has {} of {} left", bytes,
                               live_, free, total));
    }
    check(status, "memory");
    return block;
  }

  // cudaFree waits for the device by itself, which a stream that is captured refuses: then blocks stay. One that cannot
  // be freed is lost and never given out again.
  void empty_cache() {
    if (captures_ > 0) return;
    for (auto& [size, blocks] : free_)
      while (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        cached_ -= size;
        check(cudaFree(block), "memory");
      }
    free_.clear();
  }

  std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> free_;  // by size
  int64_t live_ = 0, peak_ = 0, cached_ = 0;
  int captures_ = 0;  // under way, on any thread
  // MOLLIFY_CUDA_CACHE=0 frees every block at once: slow, but checkers of memory then see each use of a block that is
  // free.
  const bool keeps_ = [] {
    const char* given = std::getenv("MOLLIFY_CUDA_CACHE");
    return !given || std::string_view(given) != "0";
  }();
};

// Never destroyed: tensors of static storage duration may be freed after every static object is gone.
Pool& pool() {
  static Pool* made = new Pool;
  return *made;
}

thread_local GraphMemory* graph_memory = nullptr;

}  // namespace

void* allocate(int64_t bytes) { return graph_memory ? graph_memory->take(bytes) : pool().take(bytes); }

void free(void* data, int64_t bytes) {
  if (!(graph_memory && graph_memory->put(data, bytes))) pool().put(data, bytes);
}

GraphMemory::~GraphMemory() {
  for (const auto& [block, bytes] : blocks_) pool().put(block, bytes);
}

void* GraphMemory::take(int64_t bytes) {
  std::vector<void*>& same = free_[bytes];
  if (same.empty()) {
    void* block = pool().take(bytes);
    blocks_.emplace(block, bytes);
    return block;
  }
  void* block = same.back();
  same.pop_back();
  return block;
}

bool GraphMemory::put(void* block, int64_t bytes) {
  if (!blocks_.contains(block)) return false;
  free_[bytes].push_back(block);
  return true;
}

GraphMemory::Use::Use(GraphMemory& memory) : before_(graph_memory) { graph_memory = &memory; }
GraphMemory::Use::~Use() { graph_memory = before_; }
CountedCapture::CountedCapture() { pool().count_capture(1); }
CountedCapture::~CountedCapture() { pool().count_capture(-1); }

MemoryStatistics memory_statistics() { return pool().statistics(); }
void reset_peak_memory() { pool().reset_peak(); }
void release_cached_memory() { pool().clear(); }

}  // namespace mollify::cuda
