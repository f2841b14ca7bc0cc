// The one micro-kernel of matrix products and convolutions: a tile of rows × vectors that stays in registers, and the
// packing that feeds it.
//
//   c[r, j] = start[r, j] + Σ_segments Σ_k a_row[r][offset + k·a_step] · b[row + k, j]
//
// A product needs one segment (offset 0, length k). A convolution is the same sum: row r is an output pixel, its
// pointer points at the first input value that the pixel reads, and each segment is a stretch of inputs that is
// contiguous in memory (a tap's channels, or a whole kernel row of them). All rows share the segments' offsets, so no
// im2col copy is needed.
// Every output element is summed in the order of the segments, one fused multiply-add after another, in one accumulator
// (spilled to c and reloaded between calls). Its bits do not depend on the tile it falls into.

#include <hwy/highway.h>
#include <mollify/engine/cpu/pool_vector.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

// Registers hold the tile only when every loop over it is unrolled.
#if !defined(MOLLIFY_UNROLL)
#if defined(__clang__)
#define MOLLIFY_UNROLL _Pragma("unroll")
#else
#define MOLLIFY_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

#if defined(MOLLIFY_ENGINE_CPU_REGISTER_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_REGISTER_TILE_INL_H_
#undef MOLLIFY_ENGINE_CPU_REGISTER_TILE_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_REGISTER_TILE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Accumulators + the vectors of b + one broadcast must fit the registers: 6 × 4 + 4 + 1 of 32, 6 × 2 + 2 + 1 of 16.
// The rows' pointers must fit the general registers too, which ends narrow tiles at 8 rows.
#if HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
constexpr int kPanelVectors = 4;
constexpr int kMaxRows = 8;
constexpr int rows_of(int vectors) { return vectors == 4 ? 6 : 8; }
#else
constexpr int kPanelVectors = 2;
constexpr int kMaxRows = 6;
constexpr int rows_of(int) { return 6; }
#endif

template <class T>
constexpr int64_t lanes() {
  return static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<T>()));
}

// A stretch of the reduction: a from a_offset on, b from row b_row on.
struct Segment {
  int64_t a_offset, b_row, length;
};

// Adds a stretch, as part of the last one where it continues it on both sides.
inline void append_segment(PoolVector<Segment>& segments, Segment next, int64_t a_step) {
  if (!segments.empty()) {
    Segment& last = segments.back();
    if (next.a_offset == last.a_offset + last.length * a_step && next.b_row == last.b_row + last.length) {
      last.length += next.length;
      return;
    }
  }
  segments.push_back(next);
}

template <class T>
struct Tile {
  const T* a_rows[kMaxRows];
  T* c_rows[kMaxRows];
  int64_t a_step = 1;
  const Segment* segments = nullptr;
  int64_t segment_count = 0;
  const T* b = nullptr;      // all of the tile's vectors are read, also beyond `columns`
  int64_t b_step = 0;        // from one row of b to the next
  int64_t columns = 0;       // columns of c that exist
  const T* bias = nullptr;   // start of every row when `accumulate` is false; null: zero
  bool accumulate = false;   // start from what c holds
};

template <int kRows, int kVectors, class T>
HWY_NOINLINE void compute_tile(const Tile<T>& tile) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int64_t kLanes = lanes<T>();
  const bool whole = tile.columns == kVectors * kLanes;
  HWY_ALIGN T edge[kVectors * kLanes] = {};
  V sum[kRows][kVectors];

  if (tile.accumulate) {
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const T* from = tile.c_rows[r];
      if (!whole) from = static_cast<T*>(std::memcpy(edge, from, sizeof(T) * static_cast<size_t>(tile.columns)));
      MOLLIFY_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::LoadU(d, from + v * kLanes);
    }
  } else {
    const T* from = tile.bias;
    if (!from) from = edge;
    else if (!whole) from = static_cast<T*>(std::memcpy(edge, from, sizeof(T) * static_cast<size_t>(tile.columns)));
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      MOLLIFY_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::LoadU(d, from + v * kLanes);
    }
  }

  const int64_t a_step = tile.a_step, b_step = tile.b_step;
  for (const Segment *segment = tile.segments, *end = segment + tile.segment_count; segment != end; ++segment) {
    const T* a[kRows];
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) a[r] = tile.a_rows[r] + segment->a_offset;
    const T* b = tile.b + segment->b_row * b_step;
    int64_t at = 0;
    for (int64_t k = segment->length; k > 0; --k, at += a_step, b += b_step) {
      V right[kVectors];
      MOLLIFY_UNROLL
      for (int v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + v * kLanes);
      MOLLIFY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V left = hn::Set(d, a[r][at]);
        MOLLIFY_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
      }
    }
  }

  MOLLIFY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    T* to = whole ? tile.c_rows[r] : edge;
    MOLLIFY_UNROLL
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, to + v * kLanes);
    if (!whole) std::memcpy(tile.c_rows[r], edge, sizeof(T) * static_cast<size_t>(tile.columns));
  }
}

template <class T, int kVectors, size_t... kIndices>
HWY_INLINE void compute_tile_of(int64_t rows, const Tile<T>& tile, std::index_sequence<kIndices...>) {
  static constexpr void (*kTiles[])(const Tile<T>&) = {compute_tile<static_cast<int>(kIndices) + 1, kVectors, T>...};
  kTiles[rows - 1](tile);
}

// rows: 1 … rows_of(vectors); vectors: 1, 2 or kPanelVectors.
template <class T>
HWY_INLINE void compute_tile(int64_t rows, int64_t vectors, const Tile<T>& tile) {
  if (vectors == kPanelVectors) {
    compute_tile_of<T, kPanelVectors>(rows, tile, std::make_index_sequence<rows_of(kPanelVectors)>());
  } else if (vectors == 2) {
    compute_tile_of<T, 2>(rows, tile, std::make_index_sequence<rows_of(2)>());
  } else {
    compute_tile_of<T, 1>(rows, tile, std::make_index_sequence<rows_of(1)>());
  }
}

// The columns of b and c fall into panels of kPanelVectors vectors, then 2, then 1; the last one may stick out.
struct Panel {
  int64_t column, columns, vectors;
};

template <class T>
class Panels {
 public:
  explicit Panels(int64_t columns) : columns_(columns), whole_(columns / kWidth) {
    const int64_t left = columns - whole_ * kWidth;
    count_ = whole_ + (left + 2 * lanes<T>() - 1) / (2 * lanes<T>());
  }
  int64_t size() const { return count_; }
  Panel operator[](int64_t i) const {
    const int64_t column = i < whole_ ? i * kWidth : whole_ * kWidth + (i - whole_) * 2 * lanes<T>(),
                  left = columns_ - column;
    const int64_t vectors = i < whole_ ? kPanelVectors : left > lanes<T>() ? 2 : 1;
    return {column, std::min(left, vectors * lanes<T>()), vectors};
  }

 private:
  static constexpr int64_t kWidth = kPanelVectors * lanes<T>();
  int64_t columns_, whole_, count_;
};

// Columns that the panels of `columns` columns cover.
template <class T>
int64_t padded_columns(int64_t columns) {
  return (columns + lanes<T>() - 1) / lanes<T>() * lanes<T>();
}

// The split of `rows` into tiles of nearly equal height: tile i is [begin(i), begin(i + 1)).
struct TileRows {
  TileRows(int64_t rows, int64_t vectors)
      : rows(rows), count((rows + rows_of(static_cast<int>(vectors)) - 1) / rows_of(static_cast<int>(vectors))) {}
  int64_t begin(int64_t i) const { return rows * i / count; }
  int64_t rows, count;
};

#if HWY_TARGET == HWY_SCALAR
constexpr int64_t kSquareBytes = 0;
#else
constexpr int64_t kSquareBytes = 16;
#endif

#if HWY_TARGET != HWY_SCALAR
// Transposes the squares that registers of 16 bytes make, one to each row; wider ones hold several side by side.
template <class T, class D>
HWY_INLINE void transpose_squares(D d, hn::Vec<D> (&rows)[kSquareBytes / sizeof(T)]) {
  if constexpr (sizeof(T) == 8) {
    const auto row0 = rows[0];
    rows[0] = hn::InterleaveLower(d, row0, rows[1]);
    rows[1] = hn::InterleaveUpper(d, row0, rows[1]);
  } else {
    const auto lower02 = hn::InterleaveLower(d, rows[0], rows[2]), upper02 = hn::InterleaveUpper(d, rows[0], rows[2]);
    const auto lower13 = hn::InterleaveLower(d, rows[1], rows[3]), upper13 = hn::InterleaveUpper(d, rows[1], rows[3]);
    rows[0] = hn::InterleaveLower(d, lower02, lower13);
    rows[1] = hn::InterleaveUpper(d, lower02, lower13);
    rows[2] = hn::InterleaveLower(d, upper02, upper13);
    rows[3] = hn::InterleaveUpper(d, upper02, upper13);
  }
}
#endif

// A square of one 128-bit register per row.
template <class T>
HWY_INLINE void transpose_square(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
#if HWY_TARGET != HWY_SCALAR
  constexpr int64_t kSide = kSquareBytes / sizeof(T);
  const hn::FixedTag<T, kSide> d;
  hn::Vec<decltype(d)> rows[kSide];
  for (int64_t i = 0; i < kSide; ++i) rows[i] = hn::LoadU(d, from + i * from_stride);
  transpose_squares<T>(d, rows);
  for (int64_t i = 0; i < kSide; ++i) hn::StoreU(rows[i], d, to + i * to_stride);
#else
  (void)from, (void)from_stride, (void)to, (void)to_stride;
#endif
}

// to[column·to_stride + row] = from[row·from_stride + column]. Goes by blocks of 64 bytes of rows, so that a cache line
// of `to` is written in one go: with large power-of-two strides it would not survive until the next visit.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int64_t kSide = kSquareBytes / sizeof(T), kBlock = 64 / sizeof(T);
  const int64_t square_rows = kSide == 0 ? 0 : rows / std::max<int64_t>(1, kSide) * kSide;
  const int64_t square_columns = kSide == 0 ? 0 : columns / std::max<int64_t>(1, kSide) * kSide;
  for (int64_t block = 0; block < square_rows; block += kBlock) {
    const int64_t end = std::min(square_rows, block + kBlock);
    for (int64_t column = 0; column < square_columns; column += kSide) {
      for (int64_t row = block; row < end; row += kSide) {
        transpose_square(from + row * from_stride + column, from_stride, to + column * to_stride + row, to_stride);
      }
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = row < square_rows ? square_columns : 0; column < columns; ++column) {
      to[column * to_stride + row] = from[row * from_stride + column];
    }
  }
}

// Copies rows × columns of a matrix (one of its strides is 1) into [rows, width], zeros beyond `columns`.
template <class T>
void pack_panel(int64_t rows, int64_t columns, const T* from, int64_t row_stride, int64_t column_stride, T* to,
                int64_t width) {
  const hn::ScalableTag<T> d;
  if (column_stride != 1) {
    transpose(columns, rows, from, column_stride, to, width);
  } else {
    for (int64_t row = 0; row < rows; ++row) {
      const T* source = from + row * row_stride;
      T* target = to + row * width;
      int64_t column = 0;
      for (; column + lanes<T>() <= columns; column += lanes<T>())
        hn::StoreU(hn::LoadU(d, source + column), d, target + column);
      for (; column < columns; ++column) target[column] = source[column];
    }
  }
  if (columns == width) return;
  for (int64_t row = 0; row < rows; ++row) std::fill(to + row * width + columns, to + (row + 1) * width, T{0});
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#endif
