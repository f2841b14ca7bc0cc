#include <mollify/engine/cpu/block_pass.h>

#include <mollify/engine/cpu/reduce.h>

#include <algorithm>
#include <cstring>

namespace mollify::cpu {
namespace {

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

// Calls f(offset of each operand…, run) for runs along the innermost axis that cover elements begin … begin + n − 1 of
// the iteration.
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

template <class From, class To>
void fetch_as(const Iteration& it, const Operand& operand, int64_t begin, int64_t n, To* to) {
  const From* from = reinterpret_cast<const From*>(operand.data());
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
    copy_run(reinterpret_cast<const From*>(from.data()) + offset[0], from_stride,
             reinterpret_cast<To*>(to.data()) + offset[1], to_stride, run);
  });
}

int64_t stride_of(const Tensor& t, int axis_from_back) {
  const int axis = t.rank() + axis_from_back;
  return axis < 0 || t.shape()[axis] == 1 ? 0 : t.strides()[axis];
}

template <class T>
double sum_of(const char* values, int64_t n) {
  T sum;
  reduce(Reduction::sum, reinterpret_cast<const T*>(values), 1, n, 1, &sum);
  return static_cast<double>(sum);
}

}  // namespace

Iteration::Iteration(const Shape& shape, Inputs tensors) : size(shape.size()), count(static_cast<int>(tensors.size())) {
  for (int j = 0; j < count; ++j) {
    const Tensor& t = tensors[static_cast<size_t>(j)];
    Operand& operand = operands[static_cast<size_t>(j)];
    operand.dtype = t.dtype();
    operand.buffer = &t.buffer();
    operand.offset = t.layout().offset * size_of(t.dtype());
  }
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    int64_t strides[kMaxOperands];
    for (int j = 0; j < count; ++j) strides[j] = stride_of(tensors[static_cast<size_t>(j)], axis - shape.rank());
    push_axis(shape[axis], strides);
  }
}

bool Iteration::is_linear(int j) const {
  int64_t stride = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    if (operands[static_cast<size_t>(j)].strides[axis] != stride) return false;
    stride *= extents[axis];
  }
  return true;
}

int64_t Iteration::period(int j) const {
  const Operand& operand = operands[static_cast<size_t>(j)];
  int64_t stride = 1;
  int axis = rank - 1;
  for (; axis >= 0 && operand.strides[axis] == stride; --axis) stride *= extents[axis];
  for (; axis >= 0; --axis)
    if (operand.strides[axis] != 0) return 0;
  return stride;
}

void Iteration::push_axis(int64_t extent, const int64_t* strides) {
  bool merges = rank > 0;
  for (int j = 0; merges && j < count; ++j)
    merges = operands[static_cast<size_t>(j)].strides[rank - 1] == strides[j] * extent;
  if (!merges) extents[rank++] = 1;
  extents[rank - 1] *= extent;
  for (int j = 0; j < count; ++j) operands[static_cast<size_t>(j)].strides[rank - 1] = strides[j];
}

BlockPass::BlockPass(BlockFunction formula, DType dtype, Inputs in, std::span<const Tensor> out, bool sums_last)
    : formula_(formula),
      dtype_(dtype),
      element_(static_cast<int8_t>(size_of(dtype))),
      outputs_(static_cast<int8_t>(out.size())),
      stored_(static_cast<int8_t>(out.size() - sums_last)),
      sums_last_(sums_last),
      it_(stored_ ? out[0].shape() : in[0].shape(), in) {
  local_in_.fill(-1);
  local_out_.fill(-1);
  for (int j = 0; j < it_.count; ++j) {
    Operand& operand = it_.operands[static_cast<size_t>(j)];
    if (operand.dtype == dtype && it_.is_linear(j)) {
      operand.how = Operand::in_place;
    } else if (const int64_t period = it_.period(j); period > 0 && period <= kPassBlock && period_ % period == 0) {
      operand.how = Operand::repeated;
    } else if (period > 0 && period <= kPassBlock && period % period_ == 0) {
      operand.how = Operand::repeated;
      period_ = period;
    }
    copies_ += operand.how != Operand::in_place;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out_[i] = {
        &out[i].buffer(), out[i].layout().offset * size_of(out[i].dtype()), out[i].dtype(), {}, Operand::in_place};
    if (i >= static_cast<size_t>(stored_) || out[i].dtype() != dtype) {
      out_[i].how = Operand::general;
      ++copies_;
    }
  }
}

void BlockPass::fetch(const Operand& operand, int64_t begin, int64_t n, char* to) const {
  for_dtype(operand.dtype, [&](auto from) {
    if (dtype_ == DType::f32) fetch_as<decltype(from)>(it_, operand, begin, n, reinterpret_cast<float*>(to));
    else fetch_as<decltype(from)>(it_, operand, begin, n, reinterpret_cast<double*>(to));
  });
}

void BlockPass::start(Range& range, char* copies, int64_t longest) const {
  const auto next_copy = [&copies] { return std::exchange(copies, copies + kPassBlock * 8); };
  for (int j = 0; j < it_.count; ++j) {
    const Operand& operand = it_.operands[static_cast<size_t>(j)];
    range.from[j] =
        operand.how == Operand::in_place && local_in_[static_cast<size_t>(j)] < 0 ? operand.data() : nullptr;
    if (operand.how == Operand::in_place) continue;
    range.copy[j] = next_copy();
    if (operand.how == Operand::repeated) fetch(operand, 0, longest, range.copy[j]);
  }
  for (int i = 0; i < outputs_; ++i) {
    const Operand& out = out_[static_cast<size_t>(i)];
    range.to[i] =
        out.how == Operand::in_place ? (local_out_[static_cast<size_t>(i)] < 0 ? out.data() : nullptr) : next_copy();
  }
}

double BlockPass::run_block(const Range& range, int64_t first, int64_t n, char* const* locals) const {
  const void* from[kMaxOperands];
  void* to[4];
  const int64_t start = first * element_;
  for (int j = 0; j < it_.count; ++j) {
    const Operand& operand = it_.operands[static_cast<size_t>(j)];
    if (operand.how == Operand::in_place) {
      const int local = local_in_[static_cast<size_t>(j)];
      from[j] = local < 0 ? range.from[j] + start : locals[local];
    } else {
      from[j] = range.copy[j];
      if (operand.how == Operand::general) fetch(operand, first, n, range.copy[j]);
    }
  }
  for (int i = 0; i < outputs_; ++i) {
    const int local = local_out_[static_cast<size_t>(i)];
    if (out_[static_cast<size_t>(i)].how != Operand::in_place) to[i] = range.to[i];
    else to[i] = local < 0 ? range.to[i] + start : locals[local];
  }
  formula_(from, to, n);
  for (int i = 0; i < stored_; ++i) {
    const Operand& out = out_[static_cast<size_t>(i)];
    if (out.how == Operand::in_place) continue;
    for_dtype(out.dtype, [&](auto zero) {
      auto* stored = reinterpret_cast<decltype(zero)*>(out.data()) + first;
      if (dtype_ == DType::f32) copy_run(static_cast<const float*>(to[i]), 1, stored, 1, n);
      else copy_run(static_cast<const double*>(to[i]), 1, stored, 1, n);
    });
  }
  if (!sums_last_) return 0;
  const char* last = static_cast<const char*>(to[outputs_ - 1]);
  return dtype_ == DType::f32 ? sum_of<float>(last, n) : sum_of<double>(last, n);
}

void copy_elements(const Iteration& it, int64_t begin, int64_t n) {
  for_dtype(it.operands[0].dtype, [&](auto from) {
    for_dtype(it.operands[1].dtype, [&](auto to) { copy_range<decltype(from), decltype(to)>(it, begin, n); });
  });
}

}  // namespace mollify::cpu
