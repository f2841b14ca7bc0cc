// Scratch of the kernels in a CUDA graph: it stays the graph's own, as every launch uses the addresses of the
// recording.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace mollify::cuda {

class GraphMemory {
 public:
  GraphMemory() = default;
  GraphMemory(const GraphMemory&) = delete;
  ~GraphMemory();

  void* take(int64_t bytes);
  bool put(void* block, int64_t bytes);  // false: it is not of this memory

  // While it lives, this thread's allocations come from here.
  class Use {
   public:
    explicit Use(GraphMemory& memory);
    ~Use();
    Use(const Use&) = delete;

   private:
    GraphMemory* before_;
  };

 private:
  std::map<void*, int64_t> blocks_;               // all of them, with what was asked for
  std::map<int64_t, std::vector<void*>> free_;  // those that later kernels of the graph may use
};

// While one lives, no memory goes back to the device: cudaFree may not be called during a capture, on any thread.
struct CountedCapture {
  CountedCapture();
  ~CountedCapture();
  CountedCapture(const CountedCapture&) = delete;
};

}  // namespace mollify::cuda
