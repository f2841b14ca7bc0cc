// One formula over all elements of its operands, block by block: what the elementwise kernels and a plan's chains of
// them run.
#pragma once

#include <mollify/engine/op.h>

#include <array>

namespace mollify::cpu {

inline constexpr int64_t kPassBlock =
    1024;  // numbers a block at most: a handful of operands stay in the first-level cache
inline constexpr int kMaxOperands = 16;

// One operand over the result's axes, merged where every operand allows it.
struct Operand {
  const Buffer* buffer = nullptr;
  int64_t offset = 0;  // in bytes
  DType dtype = DType::f32;
  int64_t strides[kMaxRank] = {};  // in elements
  enum { in_place, repeated, general } how = general;

  char* data() const { return static_cast<char*>(buffer->data()) + offset; }
};

// The axes of a result, merged where every operand allows it, and the operands over them.
struct Iteration {
  int rank = 0;
  int64_t extents[kMaxRank] = {};
  int64_t size = 1;
  int count = 0;
  std::array<Operand, kMaxOperands> operands;

  Iteration(const Shape& shape, Inputs tensors);
  bool is_linear(int j) const;    // operand j visits memory in the order of the result's linear index
  int64_t period(int j)
      const;  // length of the pattern that operand j repeats all along the result: 1 for a single number; 0: none such

 private:
  void push_axis(int64_t extent, const int64_t* strides);
};

// Operands of the formula's dtype are read and written in place where they are contiguous. The others (strided,
// repeated, or of another dtype, such as masks) pass through converted copies of a block, in memory that the caller
// provides.
// Addresses are looked up when a range starts, so that buffers may be rebound between two runs.
class BlockPass {
 public:
  // sums_last: the formula's last output is not stored but summed into the last tensor of `out`.
  BlockPass(BlockFunction formula, DType dtype, Inputs in, std::span<const Tensor> out, bool sums_last = false);

  int64_t size() const { return it_.size; }
  int64_t period() const { return period_; }      // blocks start at multiples of it
  int64_t copies() const { return copies_; }      // blocks of kPassBlock numbers of 8 bytes that a range needs
  bool is_whole() const { return copies_ == 0; }  // any length is a block
  bool reads_in_place(int j) const { return it_.operands[static_cast<size_t>(j)].how == Operand::in_place; }

  // Operand j (output i) lives in the caller's block memory number `local`, and not where its tensor says.
  void keep_input_local(int j, int local) { local_in_[static_cast<size_t>(j)] = static_cast<int8_t>(local); }
  void keep_output_local(int i, int local) { local_out_[static_cast<size_t>(i)] = static_cast<int8_t>(local); }

  // Addresses of one range's operands.
  struct Range {
    const char* from[kMaxOperands];
    char* to[4];
    char* copy[kMaxOperands];  // an operand's copy of a block, where it has one
  };
  // `copies` has room for copies() blocks; `longest` block of the range.
  void start(Range& range, char* copies, int64_t longest) const;
  // Elements first … first + n − 1. `locals` are the caller's blocks. Returns the sum of the last output where it is
  // summed.
  double run_block(const Range& range, int64_t first, int64_t n, char* const* locals) const;

 private:
  void fetch(const Operand& operand, int64_t begin, int64_t n, char* to) const;

  BlockFunction formula_;
  DType dtype_;
  int8_t element_, outputs_, stored_;  // bytes of a number; outputs; those that are stored
  bool sums_last_;
  std::array<int8_t, kMaxOperands> local_in_;
  std::array<int8_t, 4> local_out_;
  std::array<Operand, 4> out_;
  Iteration it_;
  int64_t period_ = 1, copies_ = 0;
};

// Copies elements begin … begin + n − 1 of operand 0 of the iteration to operand 1.
void copy_elements(const Iteration& it, int64_t begin, int64_t n);

}  // namespace mollify::cpu
