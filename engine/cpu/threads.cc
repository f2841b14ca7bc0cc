#include <mollify/engine/cpu/threads.h>

#include <mollify/engine/error.h>

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace mollify {
namespace {

constexpr int kMostThreads = 1024;

int default_threads() {
  if (const char* text = std::getenv("MOLLIFY_NUM_THREADS")) {
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    require<ValueError>(end != text && *end == '\0' && count >= 1 && count <= kMostThreads,
                        "MOLLIFY_NUM_THREADS: given '{}'; needs a whole number from 1 to {}", text, kMostThreads);
    return static_cast<int>(count);
  }
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return std::max(1u, std::thread::hardware_concurrency());
}

std::atomic<int> thread_count{0};  // 0: not asked for yet

}  // namespace

int num_threads() {
  int count = thread_count.load(std::memory_order_relaxed);
  if (count == 0) {
    count = default_threads();
    int expected = 0;
    if (!thread_count.compare_exchange_strong(expected, count)) count = expected;
  }
  return count;
}

void set_num_threads(int count) {
  require<ValueError>(count >= 1 && count <= kMostThreads, "set_num_threads: given {}; needs 1 to {}", count,
                      kMostThreads);
  thread_count.store(count);
}

}  // namespace mollify

namespace mollify::cpu {
namespace {

// One parallel_for in flight. Ranges are claimed by an atomic counter.
struct Job {
  RangeFunction f;
  int64_t count, grain, ranges;
  std::atomic<int64_t> next{0}, done{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error = nullptr;  // written once, by whoever sets `failed`

  void work() {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < ranges;) {
      if (!failed.load(std::memory_order_relaxed)) {
        try {
          f(i * grain, std::min(count, (i + 1) * grain));
        } catch (...) {
          if (!failed.exchange(true)) error = std::current_exception();
        }
      }
      done.fetch_add(1, std::memory_order_acq_rel);
    }
  }
};

thread_local bool inside_worker = false;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A training step starts a kernel every few microseconds, so a worker spins for about that long before it sleeps.
constexpr int kSpins = 2000;

class Pool {
 public:
  static Pool& instance() {
    static const Owner owner;
    return *owner.pool;
  }
  Pool() { pthread_atfork(nullptr, nullptr, [] { in_fork = true; }); }

  // False when another caller's job occupies the pool: the caller then works alone.
  bool run(Job& job, int helpers) {
    if (in_fork) return false;
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    grow(helpers);
    job_.store(&job, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      helpers_wanted_.store(helpers, std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_seq_cst) > 0) wake_.notify_all();
    inside_worker = true;
    job.work();
    inside_worker = false;
    while (job.done.load(std::memory_order_acquire) < job.ranges) relax();
    // Nobody may still hold the job when it leaves the caller's stack.
    helpers_wanted_.store(0, std::memory_order_seq_cst);
    while (active_.load(std::memory_order_seq_cst) > 0) relax();
    return true;
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_.store(true);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

 private:
  // A fork of a process that had the pool has no threads to work or to be joined, and nobody to leave the condition
  // variable.
  static inline bool in_fork = false;
  struct Owner {
    Pool* pool = new Pool;
    ~Owner() {
      if (!in_fork) delete pool;
    }
  };

  void grow(int helpers) {
    while (static_cast<int>(workers_.size()) < helpers) {
      const int number = static_cast<int>(workers_.size());
      workers_.emplace_back([this, number] { serve(number); });
    }
  }

  void serve(int number) {
    inside_worker = true;
    uint64_t seen = 0;
    while (true) {
      seen = wait_for_work(seen);
      if (stop_.load()) return;
      active_.fetch_add(1, std::memory_order_seq_cst);
      if (number < helpers_wanted_.load(std::memory_order_seq_cst)) job_.load(std::memory_order_acquire)->work();
      active_.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  uint64_t wait_for_work(uint64_t seen) {
    for (int spin = 0; spin < kSpins; ++spin) {
      const uint64_t now = generation_.load(std::memory_order_acquire);
      if (now != seen) return now;
      relax();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
    sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    return generation_.load(std::memory_order_acquire);
  }

  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  std::atomic<Job*> job_{nullptr};
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> helpers_wanted_{0}, active_{0}, sleeping_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

void parallel_for(int64_t count, int64_t grain, RangeFunction f) {
  if (count <= 0) return;
  grain = std::max<int64_t>(1, grain);
  const int64_t ranges = (count + grain - 1) / grain;
  const int threads = ranges == 1 || inside_worker ? 1 : num_threads();
  const int helpers = static_cast<int>(std::min<int64_t>(threads, ranges)) - 1;
  if (helpers > 0) {
    Job job{.f = f, .count = count, .grain = grain, .ranges = ranges};
    if (Pool::instance().run(job, helpers)) {
      if (job.failed) std::rethrow_exception(job.error);
      return;
    }
  }
  for (int64_t i = 0; i < ranges; ++i) f(i * grain, std::min(count, (i + 1) * grain));
}

}  // namespace mollify::cpu
