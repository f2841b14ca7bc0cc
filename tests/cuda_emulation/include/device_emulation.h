// What kernels can use: indices, barriers, warp operations, atomics, cached loads. The mathematics is in device_math.h.
#pragma once

#include <device_math.h>
#include <vector_types.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

// constinit: read without a call that would look for a constructor to run.
extern thread_local constinit uint3 threadIdx, blockIdx;
extern thread_local constinit dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

// The block's dynamic shared memory, 128-byte aligned; full of NaN when a block starts, as long as the launch says
// (ASan guards its end).
unsigned char* emulated_dynamic_shared();

namespace emulation {

// Where a thread waits; filled in by the compiler as the caller's default arguments.
struct Place {
  const char* operation;
  const char* file;
  int line;
};

// Waits for all threads of the block that have not returned. Gives the number of those whose `predicate` is true.
// Threads that wait at different places never meet on a GPU: aborts with both places.
int meet_block(bool predicate, Place place);

// Waits for the lanes of `mask` that have not returned, which must all be at the same place with the same mask. The
// last one to come calls `combine` with every lane's `argument` (null outside `lanes`), which may lie on the lanes'
// stacks. Aborts where lanes never meet.
using Combine = void (*)(void* const (&arguments)[32], unsigned lanes);
void meet_warp(Combine combine, void* argument, unsigned mask, Place place);

// Of the running thread, in its warp.
unsigned lane();

// Prints the text with the running block and thread, and aborts.
[[noreturn]] void fail(const char* text, ...) __attribute__((format(printf, 1, 2)));

struct Shuffle {
  uint64_t given, got;
  unsigned source;
};
void combine_shuffle(void* const (&arguments)[32], unsigned lanes);

template <class T>
T shuffle(T value, unsigned source, unsigned mask, Place place) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles move 4 or 8 bytes");
  Shuffle mine{0, 0, source};
  std::memcpy(&mine.given, &value, sizeof value);
  meet_warp(combine_shuffle, &mine, mask, place);
  std::memcpy(&value, &mine.got, sizeof value);
  return value;
}

struct Vote {
  bool predicate;
  unsigned ballot, lanes;
};
Vote vote(bool predicate, unsigned mask, Place place);

}  // namespace emulation

#define EMULATION_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define EMULATION_PLACE(operation) \
  emulation::Place { operation, file, line }

inline void __syncthreads(EMULATION_CALLER) { emulation::meet_block(false, EMULATION_PLACE("__syncthreads")); }
inline int __syncthreads_count(int predicate, EMULATION_CALLER) {
  return emulation::meet_block(predicate != 0, EMULATION_PLACE("__syncthreads_count"));
}
inline int __syncthreads_or(int predicate, EMULATION_CALLER) {
  return emulation::meet_block(predicate != 0, EMULATION_PLACE("__syncthreads_or")) != 0;
}
inline int __syncthreads_and(int predicate, EMULATION_CALLER) {
  return emulation::meet_block(predicate == 0, EMULATION_PLACE("__syncthreads_and")) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATION_CALLER) {
  emulation::vote(false, mask, EMULATION_PLACE("__syncwarp"));
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATION_CALLER) {
  return emulation::vote(predicate != 0, mask, EMULATION_PLACE("__ballot_sync")).ballot;
}
inline int __any_sync(unsigned mask, int predicate, EMULATION_CALLER) {
  return emulation::vote(predicate != 0, mask, EMULATION_PLACE("__any_sync")).ballot != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATION_CALLER) {
  const emulation::Vote all = emulation::vote(predicate != 0, mask, EMULATION_PLACE("__all_sync"));
  return all.ballot == all.lanes;
}

// CUDA gives the lanes that happen to be together; here those that have not returned.
unsigned __activemask();

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, EMULATION_CALLER) {
  const unsigned lane = emulation::lane(), segment = lane & ~(width - 1u);
  return emulation::shuffle(value, segment | (source & (width - 1u)), mask, EMULATION_PLACE("__shfl_sync"));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, EMULATION_CALLER) {
  const unsigned lane = emulation::lane(), source = lane ^ lane_mask, end = (lane & ~(width - 1u)) + width;
  return emulation::shuffle(value, source < end ? source : lane, mask, EMULATION_PLACE("__shfl_xor_sync"));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, EMULATION_CALLER) {
  const unsigned lane = emulation::lane(), in_segment = lane & (width - 1u);
  return emulation::shuffle(value, in_segment >= delta ? lane - delta : lane, mask, EMULATION_PLACE("__shfl_up_sync"));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, EMULATION_CALLER) {
  const unsigned lane = emulation::lane(), in_segment = lane & (width - 1u);
  return emulation::shuffle(value, delta < width - in_segment ? lane + delta : lane, mask,
                            EMULATION_PLACE("__shfl_down_sync"));
}

inline void __threadfence() {}
inline void __threadfence_block() {}

// Atomics are plain: the device does one kernel at a time, on one thread of the host.
#define EMULATION_ATOMIC(name, T, result)          \
  inline T name(T* address, T value) {             \
    const T old = *address;                        \
    *address = result;                             \
    return old;                                    \
  }
EMULATION_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)))
EMULATION_ATOMIC(atomicAdd, unsigned, old + value)
EMULATION_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATION_ATOMIC(atomicAdd, float, old + value)
EMULATION_ATOMIC(atomicAdd, double, old + value)
#define EMULATION_ATOMICS(T)                                     \
  EMULATION_ATOMIC(atomicMax, T, old > value ? old : value)      \
  EMULATION_ATOMIC(atomicMin, T, old < value ? old : value)      \
  EMULATION_ATOMIC(atomicExch, T, value)                         \
  EMULATION_ATOMIC(atomicOr, T, old | value)                     \
  EMULATION_ATOMIC(atomicAnd, T, old & value)                    \
  EMULATION_ATOMIC(atomicXor, T, old ^ value)                    \
  inline T atomicCAS(T* address, T expected, T value) {          \
    const T old = *address;                                      \
    if (old == expected) *address = value;                       \
    return old;                                                  \
  }
EMULATION_ATOMICS(int)
EMULATION_ATOMICS(unsigned)
EMULATION_ATOMICS(unsigned long long)
EMULATION_ATOMIC(atomicExch, float, value)
EMULATION_ATOMIC(atomicSub, int, static_cast<int>(static_cast<unsigned>(old) - static_cast<unsigned>(value)))
EMULATION_ATOMIC(atomicSub, unsigned, old - value)
#undef EMULATION_ATOMIC
#undef EMULATION_ATOMICS

// Loads and stores with a hint for the caches.
#define EMULATION_LOAD(name)        \
  template <class T>                \
  inline T name(const T* address) { \
    return *address;                \
  }
#define EMULATION_STORE(name)                \
  template <class T>                         \
  inline void name(T* address, T value) {    \
    *address = value;                        \
  }
EMULATION_LOAD(__ldg)
EMULATION_LOAD(__ldca)
EMULATION_LOAD(__ldcg)
EMULATION_LOAD(__ldcs)
EMULATION_LOAD(__ldlu)
EMULATION_LOAD(__ldcv)
EMULATION_STORE(__stwb)
EMULATION_STORE(__stcg)
EMULATION_STORE(__stcs)
EMULATION_STORE(__stwt)
#undef EMULATION_LOAD
#undef EMULATION_STORE

[[noreturn]] inline void __trap() { emulation::fail("__trap()"); }
