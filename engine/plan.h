// Capture and replay: a function is run once while its kernels are written down, and from then on only the kernels run.
// Nothing is checked, allocated or recorded again: memory is laid out in one arena, runs of elementwise operations go
// block by block on the CPU, and on a GPU the whole is one CUDA graph.
#pragma once

#include <mollify/engine/op.h>

#include <functional>
#include <memory>

#pragma GCC visibility push(default)
namespace mollify {

// What a plan holds, for those who want to see.
struct PlanSummary {
  std::vector<Shape> inputs;
  int64_t operations;     // recorded: calls of kernels
  int64_t kernels;        // replayed: a run of elementwise operations counts once, and so does a CUDA graph's node
  int64_t copies_elided;  // parts of joined tensors that are written where they belong in the first place
  int64_t arena_bytes;    // of all intermediate results
};

// A function of tensors that is captured. The contract:
// - The function does the same operations in every call with inputs of the same shapes. What changes from call to call
//   reaches it through its inputs, or through tensors that it reads and that are overwritten (assign): weights,
//   learning rates, counters.
// - What only the host does would stay as it was when the function was captured, and throws GraphError then: reading a
//   value (data, item, to_vector), an optimizer's advance and step, operations of another thread on the function's
//   tensors.
// - It takes and returns tensors without history, and reads none that has one from before.
// - Tensors that it makes do not leave it other than as results; those it overwrites were made before. It may overwrite
// its inputs.
// There is a plan for each set of input shapes: the first call with new ones runs as it is, the second captures, later
// ones replay.
// All give the same bits. The kMostPlans plans that were used last are kept. A call runs as it is where an input shares
// memory with another input or with a tensor from outside and the function overwrites one of them: a plan takes tensors
// of different names for different ones.
// Results are new tensors. One call at a time; a captured function in a captured function, itself included, is part of
// it.
class Captured {
 public:
  static constexpr size_t kMostPlans = 32;
  using Function = std::function<Tensors(const Tensors&)>;
  explicit Captured(Function function);
  ~Captured();
  Captured(Captured&&) noexcept;
  Captured& operator=(Captured&&) noexcept;

  Tensors operator()(Inputs in);
  std::vector<PlanSummary> plans() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

// Throws GraphError, which begins with `operation`, while this thread captures: for what the host does and a replay
// would not do again.
void require_no_capture(const char* operation);

inline Captured capture(Captured::Function function) { return Captured(std::move(function)); }

}  // namespace mollify
#pragma GCC visibility pop
