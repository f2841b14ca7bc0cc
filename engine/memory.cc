#include <mollify/engine/memory.h>

#include <mollify/engine/cuda/device.h>
#include <mollify/engine/error.h>
#include <mollify/engine/recorder.h>

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace mollify {

const char* to_string(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

namespace {

// Blocks come in size classes: eight steps to each power of two, at least 64 bytes, so at most 1/8 is wasted.
constexpr int kClasses = 8 * 48;
constexpr int64_t kSmallest = 64;
constexpr int64_t kThreadBytes =
    1 << 20;  // of small blocks, each thread keeps about so many bytes a class, without a lock
constexpr int64_t kMostCached =
    int64_t{4} << 30;  // beyond this, or an eighth of the memory, freed large blocks go back to the system

// A number in one of the kernel's files; `otherwise` where there is none, as in "max".
int64_t number_in(const char* path, int64_t otherwise) {
  int64_t number = otherwise;
  if (std::FILE* file = std::fopen(path, "r")) {
    long long found = 0;
    if (std::fscanf(file, "%lld", &found) == 1 && found > 0) number = found;
    std::fclose(file);
  }
  return number;
}

// Of the machine, and of the container that the process may be in (cgroup 2, then 1).
int64_t memory_of_the_process() {
  const int64_t machine = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  return std::min(machine, std::min(number_in("/sys/fs/cgroup/memory.max", machine),
                                    number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", machine)));
}

int64_t cache_limit() {
  static const int64_t limit = std::min(kMostCached, memory_of_the_process() / 8);
  return limit;
}

int size_class(int64_t bytes) {
  if (bytes <= kSmallest) return 0;
  const uint64_t units = static_cast<uint64_t>(bytes - 1) / kSmallest;  // ≥ 1
  const int power = std::bit_width(units) - 1;                         // 2^power ≤ units < 2^(power+1)
  if (power < 3) return static_cast<int>(units);
  return 8 * (power - 2) + static_cast<int>((units >> (power - 3)) & 7);
}

int64_t class_bytes(int index) {
  if (index < 8) return kSmallest * (index + 1);
  const int power = index / 8 + 2, step = index % 8;
  return kSmallest * ((int64_t{8 + step + 1}) << (power - 3));
}

std::atomic<int64_t> live{0}, peak{0}, cached{0};

void count_live(int64_t bytes) {
  const int64_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  for (int64_t seen = peak.load(std::memory_order_relaxed);
       now > seen && !peak.compare_exchange_weak(seen, now, std::memory_order_relaxed);) {}
}

void* from_system(int64_t bytes) { return std::aligned_alloc(64, static_cast<size_t>(bytes)); }

struct SharedCache {
  std::mutex mutex;
  std::vector<void*> blocks[kClasses];

  void* take(int index) {
    std::lock_guard<std::mutex> lock(mutex);
    if (blocks[index].empty()) return nullptr;
    void* block = blocks[index].back();
    blocks[index].pop_back();
    return block;
  }
  void put(int index, void* block) {
    std::lock_guard<std::mutex> lock(mutex);
    blocks[index].push_back(block);
  }
  void clear() {
    std::lock_guard<std::mutex> lock(mutex);
    for (int i = 0; i < kClasses; ++i) {
      cached.fetch_sub(class_bytes(i) * static_cast<int64_t>(blocks[i].size()), std::memory_order_relaxed);
      for (void* block : blocks[i]) std::free(block);
      blocks[i].clear();
      blocks[i].shrink_to_fit();
    }
  }
};

// Never destroyed: tensors of static storage duration may be freed after every static object is gone.
SharedCache& shared_cache() {
  static SharedCache* cache = new SharedCache;
  return *cache;
}

struct ThreadCache {
  struct FreeBlock { FreeBlock* next; };
  static constexpr int kThreadClasses = 8 * 8;  // blocks of up to 64 KiB
  FreeBlock* head[kThreadClasses] = {};
  int count[kThreadClasses] = {};

  void clear() {
    for (int i = 0; i < kThreadClasses; ++i) {
      while (head[i]) {
        FreeBlock* next = head[i]->next;
        std::free(head[i]);
        head[i] = next;
      }
      count[i] = 0;
    }
  }
};

// The calling thread's cache; null before its first use, and again while the thread's other thread-locals are being
// destroyed.
thread_local ThreadCache* thread_cache = nullptr;
thread_local bool thread_cache_gone = false;

struct ThreadCacheOwner {
  ThreadCache cache;
  ThreadCacheOwner() { thread_cache = &cache; }
  ~ThreadCacheOwner() {
    cache.clear();
    thread_cache = nullptr;
    thread_cache_gone = true;
  }
};

// The cache for blocks of a class: null for large ones, and at the thread's end.
ThreadCache* cache_for(int index) {
  if (index >= ThreadCache::kThreadClasses) return nullptr;
  if (thread_cache || thread_cache_gone) return thread_cache;
  thread_local ThreadCacheOwner owner;
  return thread_cache;
}

void* take_block(int index) {
  if (ThreadCache* cache = cache_for(index)) {
    if (auto* block = cache->head[index]) {
      cache->head[index] = block->next;
      --cache->count[index];
      return block;
    }
  }
  if (void* block = shared_cache().take(index)) {
    cached.fetch_sub(class_bytes(index), std::memory_order_relaxed);
    return block;
  }
  void* block = from_system(class_bytes(index));
  if (!block) {
    release_cached_memory();
    block = from_system(class_bytes(index));
  }
  return block;
}

void put_block(int index, void* block) {
  const int64_t bytes = class_bytes(index);
  if (ThreadCache* cache = cache_for(index); cache && cache->count[index] * bytes < kThreadBytes) {
    auto* head = static_cast<ThreadCache::FreeBlock*>(block);
    head->next = cache->head[index];
    cache->head[index] = head;
    ++cache->count[index];
    return;
  }
  if (cached.load(std::memory_order_relaxed) + bytes > cache_limit()) {
    std::free(block);
    return;
  }
  shared_cache().put(index, block);
  cached.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace

MemoryStatistics memory_statistics(Device device) {
  if (device == Device::cuda) return cuda::memory_statistics();
  return {live.load(), peak.load(), cached.load()};
}

void reset_peak_memory(Device device) {
  if (device == Device::cuda) cuda::reset_peak_memory();
  else peak.store(live.load());
}

void release_cached_memory(Device device) {
  if (device == Device::cuda) return cuda::release_cached_memory();
  shared_cache().clear();
  if (thread_cache) thread_cache->clear();
}

void* allocate_small(size_t bytes) {
  void* block = take_block(size_class(static_cast<int64_t>(bytes)));
  if (!block)
    throw MemoryError(format("memory: {} bytes asked for, {} live; the system has no more", bytes, live.load()));
  return block;
}

void free_small(void* pointer, size_t bytes) { put_block(size_class(static_cast<int64_t>(bytes)), pointer); }

// A CPU buffer's head takes the first 64 bytes of its block, the data the rest; the heads of others stand alone.
constexpr int64_t kHead = 64;
static_assert(sizeof(Buffer) <= kHead);

Buffer* Buffer::allocate(int64_t bytes, Device device) {
  require<MemoryError>(bytes >= 0 && bytes <= (int64_t{1} << 46), "memory: {} bytes asked for; at most 2^46 can be",
                       bytes);
  Buffer* buffer;
  if (device == Device::cpu) {
    void* block = take_block(size_class(bytes + kHead));
    if (!block)
      throw MemoryError(format("memory: {} bytes asked for, {} live; the system has no more", bytes, live.load()));
    buffer = new (block) Buffer;
    buffer->data_ = static_cast<char*>(block) + kHead;
    count_live(bytes);
  } else {
    void* data = cuda::allocate(bytes);
    buffer = new (allocate_small(sizeof(Buffer))) Buffer;
    buffer->data_ = data;
    buffer->kind_ = Kind::device;
  }
  buffer->bytes_ = bytes;
  buffer->device_ = device;
  Recorder::allocated(*buffer);
  return buffer;
}

Buffer* Buffer::foreign(void* data, int64_t bytes, Device device, bool read_only, void (*release)(void* owner),
                        void* owner) {
  auto* buffer = new (allocate_small(sizeof(Buffer))) Buffer;
  buffer->data_ = data;
  buffer->bytes_ = bytes;
  buffer->device_ = device;
  buffer->kind_ = Kind::head_alone;
  buffer->read_only_ = read_only;
  buffer->release_ = release;
  buffer->owner_ = owner;
  return buffer;
}

Buffer* Buffer::borrowed(int64_t bytes, Device device, Buffer* owner) {
  if (owner) owner->retain();
  return foreign(
      nullptr, bytes, device, owner && owner->read_only(),
      owner ? [](void* held) { static_cast<Buffer*>(held)->release(); } : static_cast<void (*)(void*)>(nullptr), owner);
}

Buffer& Buffer::without_values() {
  static Buffer buffer;  // its first reference is its own, so that it is never destroyed
  return buffer;
}

void Buffer::destroy() {
  if (tag.capture != 0)
    if (Recorder* recorder = Recorder::current()) recorder->freed(*this);
  const int64_t bytes = bytes_;
  const Kind kind = kind_;
  void* const data = data_;
  if (release_) release_(owner_);
  this->~Buffer();
  if (kind == Kind::pooled) {
    live.fetch_sub(bytes, std::memory_order_relaxed);
    put_block(size_class(bytes + kHead), this);
    return;
  }
  if (kind == Kind::device) cuda::free(data, bytes);
  free_small(this, sizeof(Buffer));
}

}  // namespace mollify
