#include <mollify/engine/cuda/copy.h>

#include <mollify/engine/cuda/pack.cuh>
#include <mollify/engine/cuda/strided.cuh>

#include <cstring>
#include <type_traits>

namespace mollify::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kTile = 32, kTileRows = 8;   // a block of kTile·kTileRows threads moves a square of kTile² numbers
constexpr int64_t kLeastTiled = 16;        // shorter axes leave most of a tile empty

// A copy in numbers of `width` bytes; axes in the order of the target's memory, merged where both sides allow it.
struct Move {
  int rank = 0;
  int64_t extents[kMaxRank], from[kMaxRank], to[kMaxRank];
  const char* source;
  char* target;
  int64_t width;

  explicit Move(const cpu::Iteration& it)
      : source(it.operands[0].data()), target(it.operands[1].data()), width(size_of(it.operands[1].dtype)) {
    int order[kMaxRank];
    for (int axis = 0; axis < it.rank; ++axis) order[axis] = axis;
    std::stable_sort(order, order + it.rank, [&](int a, int b) {
      return std::abs(it.operands[1].strides[a]) > std::abs(it.operands[1].strides[b]);
    });
    for (int axis = 0; axis < it.rank; ++axis)
      push_axis(it.extents[order[axis]], it.operands[0].strides[order[axis]], it.operands[1].strides[order[axis]]);
  }

  int64_t size() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank; ++axis) product *= extents[axis];
    return product;
  }

  // Takes neighbours together, up to 16 bytes, where addresses, extents and strides are all even.
  void widen() {
    while (rank > 0 && width < 16 && can_double()) {
      width *= 2;
      extents[rank - 1] /= 2;
      for (int axis = 0; axis < rank - 1; ++axis) {
        from[axis] /= 2;
        to[axis] /= 2;
      }
    }
  }

 private:
  void push_axis(int64_t extent, int64_t from_stride, int64_t to_stride) {
    if (rank > 0 && from[rank - 1] == from_stride * extent && to[rank - 1] == to_stride * extent)
      extent *= extents[--rank];
    extents[rank] = extent;
    from[rank] = from_stride;
    to[rank++] = to_stride;
  }

  bool can_double() const {
    const int last = rank - 1;
    if (from[last] != 1 || to[last] != 1 || extents[last] % 2 != 0) return false;
    for (int axis = 0; axis < last; ++axis)
      if (from[axis] % 2 != 0 || to[axis] % 2 != 0) return false;
    return (reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target)) %
               static_cast<uintptr_t>(2 * width) ==
           0;
  }
};

// The axes of a walk with both sides' strides.
struct Walk {
  int rank = 0;
  Divider extents[kMaxRank];
  int64_t from[kMaxRank] = {}, to[kMaxRank] = {};

  void push_axis(const Move& move, int axis) {
    extents[rank] = Divider(move.extents[axis]);
    from[rank] = move.from[axis];
    to[rank++] = move.to[axis];
  }
  __device__ void locate(uint32_t i, int64_t& from_offset, int64_t& to_offset) const {
    from_offset = to_offset = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
      const uint32_t outer = extents[axis].quotient(i), index = i - outer * extents[axis].divisor;
      from_offset += index * from[axis];
      to_offset += index * to[axis];
      i = outer;
    }
  }
};

// A thread takes several numbers, a block's width apart, so that as many loads are on the way.
constexpr int kAtOnce = 4;

template <class T>
__global__ void __launch_bounds__(kBlock) copy_elements(Walk walk, uint32_t size, const T* from, T* to) {
  for (uint32_t first = blockIdx.x * kBlock * kAtOnce + threadIdx.x; first < size;
       first += gridDim.x * kBlock * kAtOnce) {
    T values[kAtOnce];
    int64_t target[kAtOnce];
    MOLLIFY_UNROLL
    for (int k = 0; k < kAtOnce; ++k) {
      int64_t source;
      walk.locate(min(first + k * kBlock, size - 1), source, target[k]);
      values[k] = from[source];
    }
    MOLLIFY_UNROLL
    for (int k = 0; k < kAtOnce; ++k)
      if (first + k * kBlock < size) to[target[k]] = values[k];
  }
}

// Where to report numbers that do not fit; no place: nothing is checked.
struct Limits {
  double low, high;
  FaultKind kind;
  Fault* fault = nullptr;
};

__global__ void __launch_bounds__(kBlock) convert_elements(Walk walk, uint32_t size, const void* from, DType from_dtype,
                                                           void* to, DType to_dtype, Limits limits) {
  for (uint32_t first = blockIdx.x * kBlock * kAtOnce + threadIdx.x; first < size;
       first += gridDim.x * kBlock * kAtOnce) {
    double values[kAtOnce];  // hold every number of every dtype
    int64_t target[kAtOnce];
    MOLLIFY_UNROLL
    for (int k = 0; k < kAtOnce; ++k) {
      int64_t source;
      walk.locate(min(first + k * kBlock, size - 1), source, target[k]);
      values[k] = load_as<double>(from, from_dtype, source);
    }
    MOLLIFY_UNROLL
    for (int k = 0; k < kAtOnce; ++k) {
      if (first + k * kBlock >= size) break;
      const double whole = trunc(values[k]);
      if (limits.fault && !(whole >= limits.low && whole <= limits.high)) {
        report(limits.fault, limits.kind, values[k], limits.high + 1);
        values[k] = 0;
      }
      store_as(values[k], to, to_dtype, target[k]);
    }
  }
}

// Squares of two axes: `along`, which is contiguous in the source, and `across`, which is contiguous in the target.
struct Tiles {
  Walk others;
  uint32_t along, across;  // extents
  int64_t to_along, from_across;
  Divider along_tiles, across_tiles;
  uint32_t count;
};

template <class T>
__global__ void __launch_bounds__(kTile* kTileRows) transpose_tiles(Tiles tiles, const T* from, T* to) {
  __shared__ T tile[kTile][kTile + 1];
  const uint32_t x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  for (uint32_t number = blockIdx.x; number < tiles.count; number += gridDim.x) {
    const uint32_t row = tiles.along_tiles.quotient(number), outer = tiles.across_tiles.quotient(row);
    const uint32_t along = (number - row * tiles.along_tiles.divisor) * kTile,
                   across = (row - outer * tiles.across_tiles.divisor) * kTile;
    int64_t source, target;
    tiles.others.locate(outer, source, target);
    MOLLIFY_UNROLL
    for (uint32_t k = y; k < kTile; k += kTileRows)
      if (along + x < tiles.along && across + k < tiles.across)
        tile[k][x] = from[source + along + x + (across + k) * tiles.from_across];
    __syncthreads();
    MOLLIFY_UNROLL
    for (uint32_t k = y; k < kTile; k += kTileRows)
      if (across + x < tiles.across && along + k < tiles.along)
        to[target + across + x + (along + k) * tiles.to_along] = tile[x][k];
    __syncthreads();  // the next tile may be written
  }
}

template <class T>
__global__ void fill_elements(T* out, int64_t n, T value, bool aligned) {
  constexpr int lanes = kPack<T>;
  Pack<T, lanes> pack;
  MOLLIFY_UNROLL
  for (int lane = 0; lane < lanes; ++lane) pack.at[lane] = value;
  for (int64_t i = global_thread() * lanes; i < n; i += global_threads() * lanes) {
    if (i + lanes <= n) store(pack, out + i, aligned);
    else for (int64_t k = i; k < n; ++k) out[k] = value;
  }
}

// Calls f with a zero of an unsigned type of `width` bytes; there is none of 16.
template <class F>
void for_width(int64_t width, const F& f) {
  switch (width) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    case 8: return f(uint64_t{});
    default: return f(uint4{});
  }
}

dim3 grid_of(int64_t size) { return dim3(grid_for((size + kAtOnce - 1) / kAtOnce, kBlock)); }

Walk walk_over(const Move& move) {
  Walk walk;
  for (int axis = 0; axis < move.rank; ++axis) walk.push_axis(move, axis);
  return walk;
}

// The axis that is contiguous in the source where it is another one than that of the target; −1 if tiles are no use.
int tiled_axis(const Move& move) {
  const int last = move.rank - 1;
  if (last < 1 || move.to[last] != 1 || move.from[last] == 1 || move.extents[last] < kLeastTiled) return -1;
  for (int axis = 0; axis < last; ++axis)
    if (move.from[axis] == 1) return move.extents[axis] >= kLeastTiled ? axis : -1;
  return -1;
}

void transpose(const Move& move, int along) {
  const int across = move.rank - 1;
  Tiles tiles;
  int64_t outer = 1;
  for (int axis = 0; axis < across; ++axis) {
    if (axis == along) continue;
    tiles.others.push_axis(move, axis);
    outer *= move.extents[axis];
  }
  const auto tiles_of = [&](int axis) { return (move.extents[axis] + kTile - 1) / kTile; };
  tiles.along = static_cast<uint32_t>(move.extents[along]);
  tiles.across = static_cast<uint32_t>(move.extents[across]);
  tiles.to_along = move.to[along];
  tiles.from_across = move.from[across];
  tiles.along_tiles = Divider(tiles_of(along));
  tiles.across_tiles = Divider(tiles_of(across));
  const int64_t count = outer * tiles_of(along) * tiles_of(across);
  tiles.count = static_cast<uint32_t>(count);
  for_width(move.width, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, uint4>)  // wide numbers are contiguous on both sides
      launch("copy", transpose_tiles<T>, dim3(grid_for(count, 1)), dim3(kTile * kTileRows), 0, tiles,
             reinterpret_cast<const T*>(move.source), reinterpret_cast<T*>(move.target));
  });
}

void copy_same(const cpu::Iteration& part) {
  Move move(part);
  if (const int axis = tiled_axis(move); axis >= 0) return transpose(move, axis);
  move.widen();
  const int64_t size = move.size();
  for_width(move.width, [&](auto zero) {
    using T = decltype(zero);
    launch("copy", copy_elements<T>, grid_of(size), dim3(kBlock), 0, walk_over(move), static_cast<uint32_t>(size),
           reinterpret_cast<const T*>(move.source), reinterpret_cast<T*>(move.target));
  });
}

void copy_converting(const cpu::Iteration& part, const Limits& limits) {
  const Move move(part);
  launch("copy", convert_elements, grid_of(part.size), dim3(kBlock), 0, walk_over(move),
         static_cast<uint32_t>(part.size), static_cast<const void*>(move.source), part.operands[0].dtype,
         static_cast<void*>(move.target), part.operands[1].dtype, limits);
}

void copy_within(const Tensor& x, const Tensor& out, const Limits& limits) {
  const cpu::Iteration it(out.shape(), {x, out});
  if (it.size == 0) return;
  if (x.dtype() != out.dtype())
    return for_parts(it, [&](const cpu::Iteration& part, int64_t) { copy_converting(part, limits); });
  if (!it.is_linear(0) || !it.is_linear(1))
    return for_parts(it, [](const cpu::Iteration& part, int64_t) { copy_same(part); });
  const auto bytes = static_cast<size_t>(it.size * size_of(x.dtype()));
  check(cudaMemcpyAsync(it.operands[1].data(), it.operands[0].data(), bytes, cudaMemcpyDeviceToDevice, stream()),
        "copy");
}

}  // namespace

void copy(const Tensor& x, const Tensor& out) { copy_within(x, out, Limits{}); }

void cast(const Tensor& x, const Tensor& out) {
  Limits limits{};
  if (out.dtype() == DType::u8) limits = {0, 255, FaultKind::cast_u8, fault()};
  else if (out.dtype() == DType::i32 && is_floating(x.dtype()))
    limits = {-2147483648.0, 2147483647.0, FaultKind::cast_i32, fault()};
  copy_within(x, out, limits);
}

void fill(double value, const Tensor& out) {
  const int64_t n = out.size();
  if (n == 0) return;
  void* const data = out.first_byte();
  for_dtype(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T number = static_cast<T>(value);
    if (std::memcmp(&number, &zero, sizeof(T)) == 0)
      return check(cudaMemsetAsync(data, 0, static_cast<size_t>(n) * sizeof(T), stream()), "fill");
    T* const numbers = static_cast<T*>(data);
    launch("fill", fill_elements<T>, dim3(grid_for((n + kPack<T> - 1) / kPack<T>, kBlock)), dim3(kBlock), 0, numbers, n,
           number, is_aligned<T, kPack<T>>(numbers));
  });
}

}  // namespace mollify::cuda
