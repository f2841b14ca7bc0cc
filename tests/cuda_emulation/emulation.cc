// The threads of a block as fibers. A fiber runs thread after thread; one that has to wait keeps its fiber, and another
// fiber takes over.
#include "fiber.h"
#include "internal.h"

#include <cuda_runtime.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__has_include) && __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

thread_local constinit uint3 threadIdx{}, blockIdx{};
thread_local constinit dim3 blockDim{}, gridDim{};

namespace emulation {
namespace {

constexpr unsigned kLanes = 32;

bool same(const Place& a, const Place& b) {
  return a.line == b.line && std::strcmp(a.operation, b.operation) == 0 &&
         (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

struct Thread {
  uint3 index;
  Fiber* fiber;
  Place place;    // operation is null where the thread does not wait
  unsigned mask;  // of the warp operation it waits at
  void* argument;
  Combine combine;
};

struct Warp {
  unsigned live;     // lanes that have not returned
  unsigned waiting;  // lanes that wait at a warp operation
};

// One for each thread of the host that launches kernels.
class Blocks {
 public:
  Blocks() : shared_(static_cast<unsigned char*>(std::aligned_alloc(128, kSharedBytesOptin))) {}
  ~Blocks() {
    ASAN_UNPOISON_MEMORY_REGION(shared_, kSharedBytesOptin);
    std::free(shared_);
  }

  void run(const Grid& grid);
  int meet_block(bool predicate, Place place);
  void meet_warp(Combine combine, void* argument, unsigned mask, Place place);
  bool running() const { return grid_ != nullptr; }
  unsigned current() const { return current_; }
  unsigned live_lanes() const { return warps_[current_ / kLanes].live; }
  unsigned char* shared() const { return shared_; }

 private:
  static void live(void* self) { static_cast<Blocks*>(self)->work(); }
  [[noreturn]] void work();
  bool next_block();
  void start_block();
  void start_thread();
  void end_thread();
  void wait(Place place);
  void release_block();
  bool complete_warp(unsigned first_thread, unsigned lane, bool arrived);
  void switch_to(Fiber& next) {
    Fiber& self = *fiber_;
    fiber_ = &next;
    self.switch_to(next);
  }
  Fiber& free_fiber();
  void ready(unsigned thread) { ready_[last_ready_++ % kBlockThreads] = thread; }
  [[noreturn]] void never_met();

  const Grid* grid_ = nullptr;
  unsigned char* shared_;
  Fiber host_;
  Fiber* fiber_ = &host_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;

  unsigned count_ = 0;    // threads of a block
  unsigned next_ = 0;     // the first that has not started
  unsigned live_ = 0;     // those that have not returned
  unsigned current_ = 0;  // the running one
  uint3 next_index_{};
  std::array<Thread, kBlockThreads> threads_;
  std::array<Warp, kBlockThreads / kLanes> warps_;
  std::array<unsigned, kBlockThreads> ready_;  // a ring: threads that may go on
  unsigned first_ready_ = 0, last_ready_ = 0;

  std::array<unsigned, kBlockThreads> at_barrier_;
  unsigned waiting_ = 0;  // how many of them
  Place barrier_{};
  int predicates_ = 0, result_ = 0;
};

Blocks& blocks() {
  thread_local Blocks mine;
  return mine;
}

void Blocks::run(const Grid& grid) {
  if (grid_ != nullptr) fail("a kernel launches a kernel: not emulated");
  grid_ = &grid;
  ::gridDim = grid.blocks;
  ::blockDim = grid.threads;
  count_ = grid.threads.x * grid.threads.y * grid.threads.z;
  ::blockIdx = {0, 0, 0};
  ASAN_POISON_MEMORY_REGION(shared_, kSharedBytesOptin);
  ASAN_UNPOISON_MEMORY_REGION(shared_, grid.shared_bytes);
  start_block();
  switch_to(free_fiber());
  grid_ = nullptr;
}

void Blocks::start_block() {
  if (grid_->shared_bytes > 0) std::memset(shared_, 0xff, grid_->shared_bytes);
  for (unsigned warp = 0; warp * kLanes < count_; ++warp) {
    const unsigned lanes = count_ - warp * kLanes;
    warps_[warp] = {lanes >= kLanes ? ~0u : (1u << lanes) - 1, 0};
  }
  live_ = count_;
  next_ = 0;
  next_index_ = {0, 0, 0};
}

bool Blocks::next_block() {
  if (++::blockIdx.x == ::gridDim.x) {
    ::blockIdx.x = 0;
    if (++::blockIdx.y == ::gridDim.y) {
      ::blockIdx.y = 0;
      if (++::blockIdx.z == ::gridDim.z) return false;
    }
  }
  start_block();
  return true;
}

// A fiber's life: threads that may go on first, then those that have not started, then the next block.
void Blocks::work() {
  for (;;) {
    if (first_ready_ != last_ready_) {
      free_.push_back(fiber_);
      switch_to(*threads_[ready_[first_ready_++ % kBlockThreads]].fiber);
    } else if (next_ < count_) {
      start_thread();
    } else if (live_ > 0) {
      never_met();
    } else if (!next_block()) {
      free_.push_back(fiber_);
      switch_to(host_);
    }
  }
}

void Blocks::start_thread() {
  current_ = next_++;
  Thread& thread = threads_[current_];
  thread.index = ::threadIdx = next_index_;
  thread.place.operation = nullptr;
  if (++next_index_.x == ::blockDim.x) {
    next_index_.x = 0;
    if (++next_index_.y == ::blockDim.y) {
      next_index_.y = 0;
      ++next_index_.z;
    }
  }
  grid_->invoke(grid_->arguments);
  end_thread();
}

// Those that wait for this thread wait no longer: threads that have returned do not count.
void Blocks::end_thread() {
  Warp& warp = warps_[current_ / kLanes];
  warp.live &= ~(1u << current_ % kLanes);
  --live_;
  if (waiting_ > 0 && waiting_ == live_) release_block();
  for (unsigned lanes = warp.waiting; lanes != 0; lanes &= lanes - 1) {
    const unsigned lane = std::countr_zero(lanes);
    if ((warp.waiting >> lane & 1) != 0) complete_warp(current_ - current_ % kLanes, lane, false);
  }
}

Fiber& Blocks::free_fiber() {
  if (free_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(fibers_.size(), &Blocks::live, this));
    return *fibers_.back();
  }
  Fiber& fiber = *free_.back();
  free_.pop_back();
  return fiber;
}

void Blocks::wait(Place place) {
  const unsigned self = current_;
  threads_[self].fiber = fiber_;
  threads_[self].place = place;
  switch_to(first_ready_ != last_ready_ ? *threads_[ready_[first_ready_++ % kBlockThreads]].fiber : free_fiber());
  threads_[self].place.operation = nullptr;
  current_ = self;
  ::threadIdx = threads_[self].index;
}

int Blocks::meet_block(bool predicate, Place place) {
  if (waiting_ == 0) barrier_ = place;
  else if (!same(place, barrier_)) {
    const uint3 other = threads_[at_barrier_[0]].index;
    fail("%s at %s:%d, but thread (%u,%u,%u) of the block waits in %s at %s:%d: threads meet at one place only",
         place.operation, place.file, place.line, other.x, other.y, other.z, barrier_.operation, barrier_.file,
         barrier_.line);
  }
  predicates_ += predicate;
  if (waiting_ + 1 == live_) {
    release_block();
  } else {
    at_barrier_[waiting_++] = current_;
    wait(place);
  }
  return result_;
}

void Blocks::release_block() {
  for (unsigned i = 0; i < waiting_; ++i) ready(at_barrier_[i]);
  waiting_ = 0;
  result_ = predicates_;
  predicates_ = 0;
}

void Blocks::meet_warp(Combine combine, void* argument, unsigned mask, Place place) {
  const unsigned lane = current_ % kLanes;
  if ((mask >> lane & 1) == 0)
    fail("%s at %s:%d: the mask %08x lacks the calling lane %u", place.operation, place.file, place.line, mask, lane);
  Thread& thread = threads_[current_];
  thread.mask = mask;
  thread.argument = argument;
  thread.combine = combine;
  thread.place = place;
  warps_[current_ / kLanes].waiting |= 1u << lane;
  if (!complete_warp(current_ - lane, lane, true)) wait(place);
  else thread.place.operation = nullptr;
}

// Does the operation that `lane` waits at where all of its lanes have come. The lane itself needs no waking where it
// has just arrived.
bool Blocks::complete_warp(unsigned first_thread, unsigned lane, bool arrived) {
  Warp& warp = warps_[first_thread / kLanes];
  const Thread& leader = threads_[first_thread + lane];
  const unsigned lanes = leader.mask & warp.live;
  if ((lanes & ~warp.waiting) != 0) return false;
  void* arguments[kLanes] = {};
  for (unsigned left = lanes; left != 0; left &= left - 1) {
    const unsigned other = std::countr_zero(left);
    const Thread& thread = threads_[first_thread + other];
    if (thread.mask != leader.mask || thread.combine != leader.combine || !same(thread.place, leader.place)) {
      fail(
          "%s at %s:%d with mask %08x in lane %u, but %s at %s:%d with mask %08x in lane %u of the warp: lanes meet at "
          "one place with one "
          "mask only",
          leader.place.operation, leader.place.file, leader.place.line, leader.mask, lane, thread.place.operation,
          thread.place.file, thread.place.line, thread.mask, other);
    }
    arguments[other] = thread.argument;
  }
  leader.combine(arguments, lanes);
  warp.waiting &= ~lanes;
  for (unsigned left = arrived ? lanes & ~(1u << lane) : lanes; left != 0; left &= left - 1)
    ready(first_thread + std::countr_zero(left));
  return true;
}

// No thread can go on. Says how many wait at each place.
void Blocks::never_met() {
  std::fprintf(
      stderr,
      "emulated CUDA: block (%u,%u,%u): its threads wait for each other at places that never all of them reach\n",
      ::blockIdx.x, ::blockIdx.y, ::blockIdx.z);
  for (unsigned i = 0; i < count_; ++i) {
    if (threads_[i].place.operation == nullptr) continue;
    const Place place = threads_[i].place;
    const uint3 index = threads_[i].index;
    unsigned threads = 0;
    for (unsigned j = i; j < count_; ++j) {
      if (threads_[j].place.operation == nullptr || !same(threads_[j].place, place)) continue;
      ++threads;
      threads_[j].place.operation = nullptr;
    }
    std::fprintf(stderr, "  %u threads, first (%u,%u,%u), wait in %s at %s:%d\n", threads, index.x, index.y, index.z,
                 place.operation, place.file, place.line);
  }
  std::fprintf(stderr, "  %u threads have returned\n", count_ - live_);
  std::abort();
}

Blocks& in_kernel(const char* operation) {
  Blocks& mine = blocks();
  if (!mine.running()) fail("%s outside a kernel", operation);
  return mine;
}

}  // namespace

void run(const Grid& grid) { blocks().run(grid); }

int meet_block(bool predicate, Place place) { return in_kernel(place.operation).meet_block(predicate, place); }

void meet_warp(Combine combine, void* argument, unsigned mask, Place place) {
  in_kernel(place.operation).meet_warp(combine, argument, mask, place);
}

unsigned lane() { return in_kernel("a warp operation").current() % kLanes; }

void fail(const char* text, ...) {
  std::fprintf(stderr, "emulated CUDA: ");
  if (blocks().running()) {
    std::fprintf(stderr, "block (%u,%u,%u) thread (%u,%u,%u): ", ::blockIdx.x, ::blockIdx.y, ::blockIdx.z,
                 ::threadIdx.x, ::threadIdx.y, ::threadIdx.z);
  }
  va_list arguments;
  va_start(arguments, text);
  std::vfprintf(stderr, text, arguments);
  va_end(arguments);
  std::fprintf(stderr, "\n");
  std::abort();
}

// A lane outside the mask, or one that has returned, gives CUDA's undefined value: all bits set, a NaN.
void combine_shuffle(void* const (&arguments)[32], unsigned lanes) {
  for (unsigned left = lanes; left != 0; left &= left - 1) {
    Shuffle& mine = *static_cast<Shuffle*>(arguments[std::countr_zero(left)]);
    const void* source = arguments[mine.source];
    mine.got = source == nullptr ? ~uint64_t{0} : static_cast<const Shuffle*>(source)->given;
  }
}

Vote vote(bool predicate, unsigned mask, Place place) {
  Vote mine{predicate, 0, 0};
  meet_warp(
      [](void* const(&arguments)[32], unsigned lanes) {
        unsigned ballot = 0;
        for (unsigned lane = 0; lane < kLanes; ++lane) {
          if (arguments[lane] != nullptr && static_cast<const Vote*>(arguments[lane])->predicate) ballot |= 1u << lane;
        }
        for (void* argument : arguments) {
          if (argument == nullptr) continue;
          static_cast<Vote*>(argument)->ballot = ballot;
          static_cast<Vote*>(argument)->lanes = lanes;
        }
      },
      &mine, mask, place);
  return mine;
}

}  // namespace emulation

unsigned __activemask() { return emulation::in_kernel("__activemask").live_lanes(); }

unsigned char* emulated_dynamic_shared() { return emulation::in_kernel("emulated_dynamic_shared").shared(); }
