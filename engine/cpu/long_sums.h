// One rule for long sums: at most kSumBlock terms are added one after another in the dtype; the sums of such blocks are
// added up in their order, in f64 or (products, whose many results are summed at once) in the dtype. The first is the
// rounding of about kSumBlock additions however many terms there are; the second adds one for each further block.
// Blocks are cut by the shape, never by the threads.
#pragma once

#include <mollify/engine/memory.h>

#include <algorithm>
#include <cstdint>
#include <optional>

namespace mollify::cpu {

inline constexpr int64_t kSumBlock = 4096;

// Many sums of the same count of terms, added to by a kernel in memory that starts at zero. Between blocks they move
// into totals.
template <class T>
class LongSums {
 public:
  // terms: in all; up to a block nothing is allocated.
  LongSums(T* sums, int64_t count, int64_t terms) : sums_(sums), count_(count) {
    if (terms <= kSumBlock) return;
    totals_.emplace(count);
    std::fill_n(totals_->data(), count, T{0});
  }

  // The kernel has added so many terms more to each sum.
  void added(int64_t terms) {
    if (!totals_ || (in_block_ += terms) < kSumBlock) return;
    move_to_totals();
    std::fill_n(sums_, count_, T{0});
    in_block_ = 0;
  }

  // Puts the totals where the sums were.
  void finish() {
    if (!totals_) return;
    move_to_totals();
    std::copy_n(totals_->data(), count_, sums_);
  }

 private:
  void move_to_totals() {
    T* totals = totals_->data();
    for (int64_t i = 0; i < count_; ++i) totals[i] += sums_[i];
  }

  T* sums_;
  int64_t count_, in_block_ = 0;
  std::optional<Scratch<T>> totals_;
};

}  // namespace mollify::cpu
