#include <mollify/engine/cpu/chain.h>

#include <mollify/engine/cpu/threads.h>

#include <algorithm>

namespace mollify::cpu {
namespace {

constexpr int64_t kGrain = 16384;             // numbers a range of parallel work
constexpr int64_t kCopyBytes = kPassBlock * 8;  // of an operand's copy

}  // namespace

Chain::Chain(std::vector<BlockPass> passes, int locals)
    : passes_(std::move(passes)), size_(passes_[0].size()), locals_(locals) {
  int64_t period = 1;
  for (const BlockPass& pass : passes_) {
    size_ = std::max(size_, pass.size());
    period = std::max(period, pass.period());
    copies_ += pass.copies();
    most_copies_ = std::max(most_copies_, pass.copies());
  }
  block_ = std::max<int64_t>(1, kBlock / period) * period;
}

void Chain::run() const {
  if (size_ <= kBlock) return run_whole();
  const int64_t blocks = (size_ + block_ - 1) / block_, least = std::max<int64_t>(1, kGrain / block_);
  // Long ranges where there are many blocks, since each range fills the repeated operands anew.
  const int64_t grain = std::clamp(blocks / (4 * num_threads()), least, 16 * least);
  parallel_for(blocks, grain,
               [&](int64_t begin, int64_t end) { run_range(begin * block_, std::min(end * block_, size_)); });
}

// One block: each pass ends before the next begins, so that nothing has to be kept apart.
void Chain::run_whole() const {
  const Scratch<char> copies(most_copies_ * kCopyBytes);
  BlockPass::Range range;
  for (const BlockPass& pass : passes_) {
    if (pass.size() == 0) continue;
    pass.start(range, copies.data(), pass.size());
    (void)pass.run_block(range, 0, pass.size(), nullptr);
  }
}

void Chain::run_range(int64_t first, int64_t last) const {
  const Scratch<char> memory(copies_ * kCopyBytes + locals_ * block_ * 8);
  BlockPass::Range ranges[kMostPasses];
  char* locals[kMostPasses];
  char* next = memory.data();
  for (size_t p = 0; p < passes_.size(); ++p) {
    passes_[p].start(ranges[p], next, std::min(block_, size_ - first));
    next += passes_[p].copies() * kCopyBytes;
  }
  for (int i = 0; i < locals_; ++i) locals[i] = std::exchange(next, next + block_ * 8);
  for (; first < last; first += block_) {
    const int64_t n = std::min(block_, last - first);
    for (size_t p = 0; p < passes_.size(); ++p) (void)passes_[p].run_block(ranges[p], first, n, locals);
  }
}

}  // namespace mollify::cpu
