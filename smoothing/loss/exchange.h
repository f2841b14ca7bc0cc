// How the work of an estimate is divided among processes that run the same steps, and how they learn what the others
// found.
#pragma once

#include <mollify/engine/tensor.h>

#include <memory>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual int64_t rank() const = 0;   // of this process, from 0
  virtual int64_t count() const = 0;  // processes
  // Gathers `bytes` of every process, in the order of their ranks; all of them must call it. Throws Error where one is
  // lost.
  virtual void gather(const void* mine, int64_t bytes, void* all) const = 0;
};

// As an operation on tensors, so that it can be captured: x of every process, [processes, …], on the host's memory. An
// empty exchange is one process. It must outlive captures.
Tensor gathered(const Tensor& x, const std::shared_ptr<const Exchange>& exchange);

// The items first … last − 1 of `items` that this process has: each but the last ones have as many as the first.
struct Share {
  int64_t first, last, most;
};
Share share_of(int64_t items, const std::shared_ptr<const Exchange>& exchange);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
