// Images to planes and back: planes[element] is the vector of that element of each image of a block. A block has as
// many images as a vector has lanes; of its last ones, some may not exist. And the sizes of the register tiles of
// planes.

#include <mollify/engine/cpu/register_tile-inl.h>

#if defined(MOLLIFY_ENGINE_CPU_CONV2D_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_CONV2D_PLANES_INL_H_
#undef MOLLIFY_ENGINE_CPU_CONV2D_PLANES_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_CONV2D_PLANES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

template <class T>
HWY_INLINE int64_t whole_squares_to_planes(int64_t, const T*, T*) { return 0; }
template <class T>
HWY_INLINE int64_t whole_squares_from_planes(int64_t, const T*, T*) { return 0; }

#else

// A vector of 16-byte pieces; piece i comes from (goes to) image i · (elements in a piece).
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> load_pieces(D d, const T* from, int64_t image_stride) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) == 16) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    const int64_t images = static_cast<int64_t>(hn::MaxLanes(half));
    return hn::Combine(d, load_pieces(half, from + images * image_stride, image_stride),
                       load_pieces(half, from, image_stride));
  }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void store_pieces(hn::Vec<D> v, D d, T* to, int64_t image_stride) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) == 16) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    const int64_t images = static_cast<int64_t>(hn::MaxLanes(half));
    store_pieces(hn::LowerHalf(half, v), half, to, image_stride);
    store_pieces(hn::UpperHalf(half, v), half, to + images * image_stride, image_stride);
  }
}

// The elements of a block of whole images as far as they fill pieces; returns how many those are.
template <class T>
int64_t whole_squares_to_planes(int64_t elements, const T* images, T* planes) {
  const hn::ScalableTag<T> d;
  constexpr int kSide = 16 / sizeof(T);
  int64_t e = 0;
  for (; e + kSide <= elements; e += kSide) {
    hn::Vec<decltype(d)> v[kSide];
    MOLLIFY_UNROLL
    for (int i = 0; i < kSide; ++i) v[i] = load_pieces(d, images + e + i * elements, elements);
    transpose_squares<T>(d, v);
    MOLLIFY_UNROLL
    for (int i = 0; i < kSide; ++i) hn::StoreU(v[i], d, planes + (e + i) * lanes<T>());
  }
  return e;
}
template <class T>
int64_t whole_squares_from_planes(int64_t elements, const T* planes, T* images) {
  const hn::ScalableTag<T> d;
  constexpr int kSide = 16 / sizeof(T);
  int64_t e = 0;
  for (; e + kSide <= elements; e += kSide) {
    hn::Vec<decltype(d)> v[kSide];
    MOLLIFY_UNROLL
    for (int i = 0; i < kSide; ++i) v[i] = hn::LoadU(d, planes + (e + i) * lanes<T>());
    transpose_squares<T>(d, v);
    MOLLIFY_UNROLL
    for (int i = 0; i < kSide; ++i) store_pieces(v[i], d, images + e + i * elements, elements);
  }
  return e;
}

#endif

// images: [count, elements], count ≤ lanes. The lanes of images that do not exist are zero.
template <class T>
void to_planes(int64_t count, int64_t elements, const T* images, T* planes) {
  if (count < lanes<T>()) std::fill_n(planes, elements * lanes<T>(), T{0});
  const int64_t done = count < lanes<T>() ? 0 : whole_squares_to_planes(elements, images, planes);
  transpose(count, elements - done, images + done, elements, planes + done * lanes<T>(), lanes<T>());
}

template <class T>
void from_planes(int64_t count, int64_t elements, const T* planes, T* images) {
  const int64_t done = count < lanes<T>() ? 0 : whole_squares_from_planes(elements, planes, images);
  transpose(elements - done, count, planes + done * lanes<T>(), lanes<T>(), images + done, elements);
}

// A tile of rows × columns keeps its sums, one vector for each row and one factor in registers.
constexpr int kMaxColumns = kPanelVectors == 4 ? 5 : 2;
constexpr int max_rows(int64_t columns) { return columns == 1 || (columns == 2 && kPanelVectors == 4) ? 8 : 4; }

// The split of `columns` into tiles of nearly equal width up to kMaxColumns.
struct ColumnTiles {
  explicit ColumnTiles(int64_t columns) : columns(columns), count((columns + kMaxColumns - 1) / kMaxColumns) {}
  int64_t begin(int64_t i) const { return columns * i / count; }
  int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }
  int64_t widest() const { return (columns + count - 1) / count; }
  int64_t columns, count;
};

// Rows of the next tile when `left` are left: 8, 4, 2 or 1.
inline int64_t rows_of_tile(int64_t left, int64_t columns) {
  int64_t rows = max_rows(columns);
  while (rows > left) rows /= 2;
  return rows;
}

template <class Tile, int kColumns>
void compute_rows(int64_t rows, const Tile& tile) {
  if constexpr (max_rows(kColumns) == 8) {
    if (rows == 8) return tile.template compute<8, kColumns>();
  }
  if (rows == 4) tile.template compute<4, kColumns>();
  else if (rows == 2) tile.template compute<2, kColumns>();
  else tile.template compute<1, kColumns>();
}

template <class Tile, size_t... kIndices>
HWY_INLINE void compute_of(int64_t rows, int64_t columns, const Tile& tile, std::index_sequence<kIndices...>) {
  static constexpr void (*kTiles[])(int64_t, const Tile&) = {compute_rows<Tile, static_cast<int>(kIndices) + 1>...};
  kTiles[columns - 1](rows, tile);
}

// tile.compute<rows, columns>(); rows as rows_of_tile says.
template <class Tile>
HWY_INLINE void compute(int64_t rows, int64_t columns, const Tile& tile) {
  compute_of(rows, columns, tile, std::make_index_sequence<kMaxColumns>());
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#endif
