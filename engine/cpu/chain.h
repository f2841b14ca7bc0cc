// Several elementwise passes in a row, run block by block: what one leaves in a block is in the cache when the next one
// reads it.
#pragma once

#include <mollify/engine/cpu/block_pass.h>

#include <vector>

namespace mollify::cpu {

class Chain {
 public:
  static constexpr int64_t kBlock = 512;      // numbers a block; passes of at most so many each may differ in size
  static constexpr size_t kMostPasses = 32;  // of longer ones

  // All passes have one size, or at most kBlock numbers each. `locals`: blocks of memory for what only this chain
  // reads.
  Chain(std::vector<BlockPass> passes, int locals);
  void run() const;
  size_t passes() const { return passes_.size(); }

 private:
  void run_whole() const;
  void run_range(int64_t first, int64_t last) const;

  std::vector<BlockPass> passes_;
  int64_t size_, block_, copies_ = 0, most_copies_ = 0;
  int locals_;
};

}  // namespace mollify::cpu
