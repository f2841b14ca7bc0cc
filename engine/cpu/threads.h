// The one thread pool. Work is cut by shape, never by the number of threads, so results do not depend on it.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
namespace mollify {

// Threads that kernels may use, the caller included. Default: $MOLLIFY_NUM_THREADS, else the size of the process's
// affinity mask.
int num_threads();

// Takes effect for kernels that start afterwards; throws ValueError unless 1 ≤ count ≤ 1024.
void set_num_threads(int count);

}  // namespace mollify

namespace mollify::cpu {

// A reference to a callable, without ownership or allocation: lives no longer than the call it is passed to.
class RangeFunction {
 public:
  template <class F>
  RangeFunction(const F& f)  // NOLINT: implicit by design
      : object_(&f),
        call_([](const void* object, int64_t begin, int64_t end) { (*static_cast<const F*>(object))(begin, end); }) {}
  void operator()(int64_t begin, int64_t end) const { call_(object_, begin, end); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t, int64_t);
};

// Calls f(begin, end) on disjoint ranges that cover [0, count), each `grain` long except the last, which may be
// shorter.
// Ranges run in any order and on any thread; inside a pool worker all run inline. The first exception is rethrown here.
void parallel_for(int64_t count, int64_t grain, RangeFunction f);

}  // namespace mollify::cpu
#pragma GCC visibility pop
