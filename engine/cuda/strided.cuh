// What walks over strided operands share: indices below 2^31, and their division by extents that are known when the
// walk starts.
#pragma once

#include <mollify/engine/cpu/block_pass.h>
#include <mollify/engine/cuda/device.cuh>

#include <algorithm>

namespace mollify::cuda {

// Division of a number below 2^31 by a fixed one of 1 … 2^31, by multiplication (Granlund & Montgomery 1994).
struct Divider {
  uint32_t divisor = 1, multiplier = 1, shift = 0;

  Divider() = default;
  explicit Divider(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    while ((int64_t{1} << shift) < d) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - divisor)) / divisor + 1);
  }
  __device__ uint32_t quotient(uint32_t n) const { return (__umulhi(n, multiplier) + n) >> shift; }
  __device__ uint32_t remainder(uint32_t n) const { return n - quotient(n) * divisor; }
};

// The same for any numbers that are not negative, without preparation: long divisions only where they must be.
__device__ __forceinline__ int64_t quotient(int64_t n, int64_t d) {
  const bool is_long = static_cast<uint64_t>(n | d) >> 32 != 0;
  return is_long ? n / d : static_cast<uint32_t>(n) / static_cast<uint32_t>(d);
}

// The extents of a walk, outermost first.
struct Axes {
  int rank = 0;
  Divider extents[kMaxRank];

  Axes() = default;
  explicit Axes(const cpu::Iteration& it) : rank(it.rank) {
    for (int axis = 0; axis < rank; ++axis) extents[axis] = Divider(it.extents[axis]);
  }
};

inline constexpr int64_t kMostElements = int64_t{1} << 30;

// Calls f(part, elements before it) for parts of the iteration of at most `most` elements each, in order.
template <class F>
void for_parts(const cpu::Iteration& it, const F& f, int64_t before = 0, int64_t most = kMostElements) {
  if (it.size <= most) {
    if (it.size > 0) f(it, before);
    return;
  }
  const int64_t inner = it.size / it.extents[0], rows = std::max<int64_t>(1, most / inner);
  for (int64_t begin = 0; begin < it.extents[0]; begin += rows) {
    cpu::Iteration part = it;
    part.extents[0] = std::min(rows, it.extents[0] - begin);
    part.size = part.extents[0] * inner;
    for (cpu::Operand& operand : part.operands) operand.offset += begin * operand.strides[0] * size_of(operand.dtype);
    if (part.extents[0] == 1) {
      --part.rank;
      std::copy(part.extents + 1, part.extents + it.rank, part.extents);
      for (cpu::Operand& operand : part.operands)
        std::copy(operand.strides + 1, operand.strides + it.rank, operand.strides);
    }
    for_parts(part, f, before + begin * inner, most);
  }
}

// Element `offset` of memory of any dtype, converted as in C++.
template <class T>
__device__ __forceinline__ T load_as(const void* data, DType dtype, int64_t offset) {
  switch (dtype) {
    case DType::f32: return static_cast<T>(static_cast<const float*>(data)[offset]);
    case DType::f64: return static_cast<T>(static_cast<const double*>(data)[offset]);
    case DType::i32: return static_cast<T>(static_cast<const int32_t*>(data)[offset]);
    default: return static_cast<T>(static_cast<const uint8_t*>(data)[offset]);
  }
}
template <class T>
__device__ __forceinline__ void store_as(T value, void* data, DType dtype, int64_t offset) {
  switch (dtype) {
    case DType::f32: static_cast<float*>(data)[offset] = static_cast<float>(value); return;
    case DType::f64: static_cast<double*>(data)[offset] = static_cast<double>(value); return;
    case DType::i32: static_cast<int32_t*>(data)[offset] = static_cast<int32_t>(value); return;
    default: static_cast<uint8_t*>(data)[offset] = static_cast<uint8_t>(value); return;
  }
}

}  // namespace mollify::cuda
