#include <mollify/engine/cpu/pointwise.h>

#include <mollify/engine/cpu/reduce.h>
#include <mollify/engine/cpu/threads.h>

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

namespace mollify::cpu {
namespace {

constexpr int64_t kBlock = 1024;   // numbers a block: a handful of operands stay in the first-level cache
constexpr int64_t kGrain = 16384;  // numbers a range of parallel work
constexpr int kMaxOperands = 16;

// One operand over the output's axes, merged where every operand allows it.
struct Operand {
  const char* data = nullptr;
  DType dtype = DType::f32;
  int64_t strides[kMaxRank] = {};  // in elements
  enum { in_place, repeated, general } how = general;
};

struct Iteration {
  int rank = 0;
  int64_t extents[kMaxRank] = {};
  int64_t size = 1;
  int count = 0;
  Operand operands[kMaxOperands];

  Iteration(const Shape& shape, Inputs tensors) : size(shape.size()), count(static_cast<int>(tensors.size())) {
    for (int j = 0; j < count; ++j) {
      const Tensor& t = tensors[static_cast<size_t>(j)];
      operands[j].dtype = t.dtype();
      operands[j].data = static_cast<const char*>(t.buffer().data()) + t.layout().offset * size_of(t.dtype());
    }
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == 1) continue;
      int64_t strides[kMaxOperands];
      for (int j = 0; j < count; ++j) strides[j] = stride_of(tensors[static_cast<size_t>(j)], axis - shape.rank());
      push_axis(shape[axis], strides);
    }
  }

  // Whether operand j visits memory in the order of the output's linear index.
  bool is_linear(int j) const {
    int64_t stride = 1;
    for (int axis = rank - 1; axis >= 0; --axis) {
      if (operands[j].strides[axis] != stride) return false;
      stride *= extents[axis];
    }
    return true;
  }

  // Length of the pattern that operand j repeats all along the output: 1 for a scalar; 0 if there is none such.
  int64_t period(int j) const {
    int64_t stride = 1;
    int axis = rank - 1;
    for (; axis >= 0 && operands[j].strides[axis] == stride; --axis) stride *= extents[axis];
    for (; axis >= 0; --axis)
      if (operands[j].strides[axis] != 0) return 0;
    return stride;
  }

 private:
  static int64_t stride_of(const Tensor& t, int axis_from_back) {
    const int axis = t.rank() + axis_from_back;
    return axis < 0 || t.shape()[axis] == 1 ? 0 : t.strides()[axis];
  }

  void push_axis(int64_t extent, const int64_t* strides) {
    bool merges = rank > 0;
    for (int j = 0; merges && j < count; ++j) merges = operands[j].strides[rank - 1] == strides[j] * extent;
    if (!merges) extents[rank++] = 1;
    extents[rank - 1] *= extent;
    for (int j = 0; j < count; ++j) operands[j].strides[rank - 1] = strides[j];
  }
};

template <class From, class To>
void copy_run(const From* from, int64_t from_stride, To* to, int64_t to_stride, int64_t n) {
  if (to_stride != 1) {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = static_cast<To>(from[i * from_stride]);
  } else if (from_stride == 1) {
    if constexpr (std::is_same_v<From, To>) std::memcpy(to, from, static_cast<size_t>(n) * sizeof(To));
    else for (int64_t i = 0; i < n; ++i) to[i] = static_cast<To>(from[i]);
  } else if (from_stride == 0) {
    std::fill_n(to, n, static_cast<To>(*from));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<To>(from[i * from_stride]);
  }
}

// Calls f(offset of each operand…, run) for runs along the innermost axis that cover elements begin … begin + n − 1 of the iteration.
template <int operands, class F>
void for_runs(const Iteration& it, const Operand* const (&operand)[operands], int64_t begin, int64_t n, const F& f) {
  int64_t offset[operands] = {}, index[kMaxRank] = {};
  const int last = it.rank - 1;
  if (last < 0) return f(offset, n);
  for (int axis = last; axis >= 0; --axis) {
    index[axis] = begin % it.extents[axis];
    begin /= it.extents[axis];
    for (int j = 0; j < operands; ++j) offset[j] += index[axis] * operand[j]->strides[axis];
  }
  while (true) {
    const int64_t run = std::min(n, it.extents[last] - index[last]);
    f(offset, run);
    n -= run;
    if (n == 0) return;
    for (int j = 0; j < operands; ++j) offset[j] -= index[last] * operand[j]->strides[last];
    index[last] = 0;
    for (int axis = last - 1; axis >= 0; --axis) {
      for (int j = 0; j < operands; ++j) offset[j] += operand[j]->strides[axis];
      if (++index[axis] < it.extents[axis]) break;
      for (int j = 0; j < operands; ++j) offset[j] -= operand[j]->strides[axis] * it.extents[axis];
      index[axis] = 0;
    }
  }
}

// Writes the operand's elements begin … begin + n − 1 of the iteration to `to`.
template <class From, class To>
void fetch(const Iteration& it, const Operand& operand, int64_t begin, int64_t n, To* to) {
  const From* from = reinterpret_cast<const From*>(operand.data);
  const int64_t stride = it.rank ? operand.strides[it.rank - 1] : 0;
  const Operand* const one[] = {&operand};
  for_runs<1>(it, one, begin, n, [&](const int64_t* offset, int64_t run) {
    copy_run(from + offset[0], stride, to, 1, run);
    to += run;
  });
}

template <class From, class To>
void copy_range(const Iteration& it, int64_t begin, int64_t n) {
  const Operand &from = it.operands[0], &to = it.operands[1];
  const int last = it.rank - 1;
  const int64_t from_stride = last < 0 ? 0 : from.strides[last], to_stride = last < 0 ? 1 : to.strides[last];
  const Operand* const both[] = {&from, &to};
  for_runs<2>(it, both, begin, n, [&](const int64_t* offset, int64_t run) {
    copy_run(reinterpret_cast<const From*>(from.data) + offset[0], from_stride,
             reinterpret_cast<To*>(const_cast<char*>(to.data)) + offset[1], to_stride, run);
  });
}

// Calls f with a zero of the C++ type of dtype.
template <class F>
void for_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f(float());
    case DType::f64: return f(double());
    case DType::i32: return f(int32_t());
    case DType::u8: return f(uint8_t());
  }
}

template <class To>
void fetch_any(const Iteration& it, const Operand& operand, int64_t begin, int64_t n, To* to) {
  for_dtype(operand.dtype, [&](auto from) { fetch<decltype(from)>(it, operand, begin, n, to); });
}

template <class T>
void store_converted(const T* from, const Tensor& out, int64_t begin, int64_t n) {
  for_dtype(out.dtype(), [&](auto to) { copy_run(from, 1, out.data<decltype(to)>() + begin, 1, n); });
}

template <class T>
class Runner {
 public:
  // sums_last: the formula's last output is not stored but summed.
  Runner(const KernelArguments& a, BlockFunction block, bool sums_last = false)
      : a_(a), block_(block), stored_(a.out.size() - sums_last), sums_last_(sums_last), it_(stored_ ? a.out[0].shape() : a.in[0].shape(), a.in) {
    for (int j = 0; j < it_.count; ++j) {
      Operand& operand = it_.operands[j];
      if (operand.dtype == dtype_of<T> && it_.is_linear(j)) {
        operand.how = Operand::in_place;
      } else if (const int64_t period = it_.period(j); period > 0 && period <= kBlock && joint_period_ % period == 0) {
        operand.how = Operand::repeated;
      } else if (period > 0 && period <= kBlock && period % joint_period_ == 0) {
        operand.how = Operand::repeated;
        joint_period_ = period;
      }
    }
    block_size_ = kBlock / joint_period_ * joint_period_;
  }

  void run() {
    const int64_t blocks = (it_.size + block_size_ - 1) / block_size_;
    Scratch<double> sums(sums_last_ ? blocks : 0);
    parallel_for(blocks, grain(blocks), [&](int64_t begin, int64_t end) { run_blocks(begin, end, sums.data()); });
    if (!sums_last_) return;
    double total = 0;
    for (int64_t i = 0; i < blocks; ++i) total += sums[i];
    *a_.out.back().template data<T>() = static_cast<T>(total);
  }

 private:
  // Long ranges where there are many blocks, since each range fills the repeated operands anew.
  int64_t grain(int64_t blocks) const {
    const int64_t least = std::max<int64_t>(1, kGrain / block_size_);
    return std::clamp(blocks / (4 * num_threads()), least, 16 * least);
  }

  void run_blocks(int64_t begin, int64_t end, double* sums) const {
    alignas(64) T copies[kMaxOperands][kBlock];  // touched only as far as used
    const void* from[kMaxOperands];
    void* to[kMaxOperands];
    const int64_t longest = std::min(it_.size - begin * block_size_, block_size_);
    for (int j = 0; j < it_.count; ++j) {
      from[j] = copies[j];
      if (it_.operands[j].how == Operand::repeated) fetch_any(it_, it_.operands[j], 0, longest, copies[j]);
    }
    bool all_in_place = !sums_last_ && outputs_in_place();
    for (int j = 0; j < it_.count; ++j) all_in_place &= it_.operands[j].how == Operand::in_place;
    const int64_t step = all_in_place ? (end - begin) * block_size_ : block_size_;
    for (int64_t first = begin * block_size_; first < std::min(end * block_size_, it_.size); first += step) {
      const int64_t n = std::min(step, it_.size - first);
      for (int j = 0; j < it_.count; ++j) {
        if (it_.operands[j].how == Operand::in_place) from[j] = reinterpret_cast<const T*>(it_.operands[j].data) + first;
        else if (it_.operands[j].how == Operand::general) fetch_any(it_, it_.operands[j], first, n, copies[j]);
      }
      for (size_t i = 0; i < a_.out.size(); ++i) {
        const bool in_place = i < stored_ && a_.out[i].dtype() == dtype_of<T>;
        to[i] = in_place ? static_cast<void*>(a_.out[i].data<T>() + first) : copies[kMaxOperands - 1 - i];
      }
      block_(from, to, n);
      for (size_t i = 0; i < stored_; ++i)
        if (a_.out[i].dtype() != dtype_of<T>) store_converted(static_cast<const T*>(to[i]), a_.out[i], first, n);
      if (sums_last_) {
        T sum;
        reduce(Reduction::sum, static_cast<const T*>(to[stored_]), 1, n, 1, &sum);
        sums[first / block_size_] = static_cast<double>(sum);
      }
    }
  }

  bool outputs_in_place() const {
    for (const Tensor& t : a_.out)
      if (t.dtype() != dtype_of<T>) return false;
    return true;
  }

  const KernelArguments& a_;
  BlockFunction block_;
  size_t stored_;  // outputs but for the sum
  bool sums_last_;
  Iteration it_;
  int64_t joint_period_ = 1, block_size_ = kBlock;
};

// Small tensors, all packed and of the output's shape or single numbers: no walk at all. False where that is not so.
template <class T>
bool run_small(const KernelArguments& a, BlockFunction block) {
  constexpr int64_t kSmall = 512;
  const Shape& shape = a.out[0].shape();
  const int64_t n = shape.size();
  if (n > kSmall || a.in.size() > 4 || a.out.size() > 1 || a.out[0].dtype() != dtype_of<T>) return false;
  alignas(64) T repeated[4][kSmall];
  const void* from[4];
  for (size_t j = 0; j < a.in.size(); ++j) {
    const Tensor& t = a.in[j];
    if (t.dtype() != dtype_of<T>) return false;
    if (t.shape() == shape && t.is_packed()) from[j] = t.data<T>();
    else if (t.size() == 1) from[j] = std::fill_n(repeated[j], n, *t.data<T>()) - n;
    else return false;
  }
  void* to = a.out[0].data<T>();
  block(from, &to, n);
  return true;
}

}  // namespace

size_t simd_target() {
  hwy::ChosenTarget& chosen = hwy::GetChosenTarget();
  if (!chosen.IsInitialized()) chosen.Update(hwy::SupportedTargets());
  return chosen.GetIndex();
}

DType pointwise_dtype(Inputs in) {
  for (const Tensor& t : in)
    if (is_floating(t.dtype())) return t.dtype();
  return DType::f64;
}

void pointwise(const KernelArguments& a, DType dtype, BlockFunction block) {
  if (dtype == DType::f32) {
    if (!run_small<float>(a, block)) Runner<float>(a, block).run();
  } else {
    if (!run_small<double>(a, block)) Runner<double>(a, block).run();
  }
}

void pointwise_sum(const KernelArguments& a, DType dtype, BlockFunction block) {
  if (dtype == DType::f32) Runner<float>(a, block, true).run();
  else Runner<double>(a, block, true).run();
}

void copy(const Tensor& x, const Tensor& out) {
  const Iteration it(out.shape(), {x, out});
  parallel_for(it.size, kGrain, [&](int64_t begin, int64_t end) {
    for_dtype(x.dtype(), [&](auto from) {
      for_dtype(out.dtype(), [&](auto to) { copy_range<decltype(from), decltype(to)>(it, begin, end - begin); });
    });
  });
}

}  // namespace mollify::cpu
