#include <mollify/engine/cpu/gemm.h>

#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/openblas.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>
#include <mollify/engine/products.h>

#include <hwy/cache_control.h>

#include <algorithm>
#include <optional>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/register_tile-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kDepth = 256;              // rows of b that stay in the cache while many tiles use them
static_assert(kSumBlock % kDepth == 0);
constexpr int64_t kRowBlock = 96;            // rows of one unit of work
constexpr int64_t kUnitProducts = 1 << 18;   // multiply-adds that pay for handing a range to another thread
constexpr int64_t kUnitElements = 1 << 9;    // copied elements, per column, that do
constexpr int64_t kUnitNumbers = 1 << 15;    // numbers of b, read once, that do
constexpr int64_t kRowsToPack = 64;          // rows of a that pay for packing b
constexpr int64_t kFewRows = 8;              // rows up to which a transposed b is not packed
constexpr int64_t kDepthToPack = 64;         // depth from which on a transposed a is packed

// b by panels: where it lies if that is allowed and the panel is whole, else copied to `packed`, which holds the panels
// from column `packed_from` on, each [k, panel's width].
template <class T>
struct PanelSource {
  int64_t k;
  Matrix<T> b;
  bool in_place;
  T* packed;
  int64_t packed_from;

  bool reads_in_place(const Panel& panel) const { return in_place && panel.columns == panel.vectors * lanes<T>(); }
  const T* data(const Panel& panel) const { return reads_in_place(panel) ? b.data + panel.column : copy_of(panel); }
  T* copy_of(const Panel& panel) const { return packed + k * (panel.column - packed_from); }
  int64_t step(const Panel& panel) const { return reads_in_place(panel) ? b.row_stride : panel.vectors * lanes<T>(); }
};

template <class T>
void pack(const Panels<T>& panels, const PanelSource<T>& source) {
  const int64_t grain = source.in_place ? panels.size() : 1 + kUnitElements / (source.k + 1);
  parallel_for(panels.size(), grain, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t p = begin; p < end; ++p) {
      const Panel panel = panels[p];
      const Matrix<T>& b = source.b;
      if (source.reads_in_place(panel)) continue;
      pack_panel(source.k, panel.columns, b.data + panel.column * b.column_stride, b.row_stride, b.column_stride,
                 source.copy_of(panel), panel.vectors * lanes<T>());
    }
  });
}

// The product of a block of rows with one panel, k in slices of kDepth. row(i) and target(i) give the pointers of row
// i. From the second kSumBlock of k on a block is summed apart and added to the target.
template <class T, class Row, class Target>
HWY_INLINE void multiply_panel(int64_t rows, int64_t k, int64_t a_step, const Row& row, const Panel& panel,
                               const PanelSource<T>& source, const T* bias, bool accumulate, const Target& target) {
  const TileRows tiles(rows, panel.vectors);
  Tile<T> tile;
  tile.a_step = a_step;
  tile.b = source.data(panel);
  tile.b_step = source.step(panel);
  tile.columns = panel.columns;
  const int64_t width = panel.vectors * lanes<T>();
  std::optional<Scratch<T>> apart;
  if (k > kSumBlock) apart.emplace(rows * width);
  for (int64_t depth = 0; depth == 0 || depth < k; depth += kDepth) {
    const bool in_target = depth < kSumBlock, starts_block = depth % kSumBlock == 0;
    const Segment segment{depth * a_step, depth, std::min(kDepth, k - depth)};
    tile.segments = &segment;
    tile.segment_count = 1;
    tile.bias = in_target ? bias : nullptr;
    tile.accumulate = !starts_block || (accumulate && depth == 0);
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t begin = tiles.begin(i), end = tiles.begin(i + 1);
      for (int64_t r = begin; r < end; ++r) {
        tile.a_rows[r - begin] = row(r);
        tile.c_rows[r - begin] = in_target ? target(r) : apart->data() + r * width;
      }
      compute_tile(end - begin, panel.vectors, tile);
    }
    const bool ends_block = (depth + kDepth) % kSumBlock == 0 || depth + kDepth >= k;
    if (in_target || !ends_block) continue;
    for (int64_t r = 0; r < rows; ++r) {
      T* to = target(r);
      const T* from = apart->data() + r * width;
      for (int64_t j = 0; j < panel.columns; ++j) to[j] += from[j];
    }
  }
}

// c = a·b as cᵀ = bᵀ·aᵀ: the large b is then read once, row by row, where it lies, and only a is packed.
template <class T>
void multiply_transposed(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c,
                         int64_t c_stride) {
  const Panels<T> panels(m);
  const Scratch<T> packed(k * padded_columns<T>(m));
  const PanelSource<T> source{k, {a.data, a.column_stride, a.row_stride}, false, packed.data(), 0};
  pack(panels, source);
  const int64_t blocks = (n + kRowBlock - 1) / kRowBlock;
  parallel_for(blocks, 1 + kUnitProducts / (m * k * kRowBlock + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<T> block(kRowBlock * m);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * kRowBlock, rows = std::min(kRowBlock, n - first);
      for (int64_t r = 0; bias && r < rows; ++r) std::fill_n(block.data() + r * m, m, bias[first + r]);
      for (int64_t p = 0; p < panels.size(); ++p) {
        const Panel panel = panels[p];
        multiply_panel<T>(
            rows, k, b.row_stride, [&](int64_t r) { return b.data + (first + r) * b.column_stride; }, panel, source,
            nullptr, bias != nullptr, [&](int64_t r) { return block.data() + r * m + panel.column; });
      }
      transpose(rows, m, block.data(), m, c + first, c_stride);
    }
  });
}

#if HWY_TARGET != HWY_SCALAR
// Registers of 16 bytes side by side, each from as many rows further down as it has numbers, from column `at` on.
template <class D, class T>
HWY_INLINE hn::Vec<D> load_squares(D d, const T* const* rows, int64_t at) {
  if constexpr (hn::MaxLanes(d) * sizeof(T) <= kSquareBytes) {
    return hn::LoadU(d, rows[0] + at);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_squares(half, rows + hn::MaxLanes(half), at), load_squares(half, rows, at));
  }
}

// sum[r] += a[r, at]·right
template <int kRows, class T, class V>
HWY_INLINE void add_products(const Matrix<T>& a, int64_t at, V right, V (&sum)[kRows]) {
  const hn::ScalableTag<T> d;
  MOLLIFY_UNROLL
  for (int r = 0; r < kRows; ++r)
    sum[r] = hn::MulAdd(hn::Set(d, a.data[r * a.row_stride + at * a.column_stride]), right, sum[r]);
}

// Asks for what a step some lines of memory further on reads: a fourth of the columns, as four steps read a line of
// each. Columns are short, so that the processor alone falls behind at the start of each; their ends ask for the next
// vector's columns, of which there may be none: fetching reads nothing.
template <class T>
HWY_INLINE void fetch_ahead(int64_t k, const T* const* columns, int64_t at) {
  constexpr int64_t kLine = 64 / sizeof(T), kSide = kSquareBytes / sizeof(T), kSteps = kLine / kSide;
  constexpr int64_t kColumns = std::max<int64_t>(1, lanes<T>() / kSteps), kAhead = 4 * kLine;
  const int64_t first = at / kSide % kSteps * kColumns % lanes<T>(), stride = columns[1] - columns[0];
  const int64_t ahead = at + kAhead < k ? at + kAhead : at + kAhead - k + lanes<T>() * stride;
  MOLLIFY_UNROLL
  for (int64_t j = 0; j < kColumns; ++j) hwy::Prefetch(columns[first + j] + ahead);
}

// A vector of columns of a·b into out[r·lanes], from their starts; column j of b is contiguous at columns[j]. b is read
// where it lies: squares of it turn into pieces of its rows in registers.
template <int kRows, class T>
HWY_NOINLINE void multiply_columns(int64_t k, const Matrix<T>& a, const T* const* columns, const T* start, T* out) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int64_t kSide = kSquareBytes / sizeof(T);
  V sum[kRows];
  MOLLIFY_UNROLL
  for (int r = 0; r < kRows; ++r) sum[r] = hn::Load(d, start);
  for (int64_t block = 0; block == 0 || block < k; block += kSumBlock) {
    const int64_t end = std::min(k, block + kSumBlock);
    int64_t at = block;
    for (; at + kSide <= end; at += kSide) {
      fetch_ahead(k, columns, at);
      V rows[kSide];
      MOLLIFY_UNROLL
      for (int64_t i = 0; i < kSide; ++i) rows[i] = load_squares(d, columns + i, at);
      transpose_squares<T>(d, rows);
      MOLLIFY_UNROLL
      for (int64_t i = 0; i < kSide; ++i) add_products<kRows>(a, at + i, rows[i], sum);
    }
    for (; at < end; ++at) {
      HWY_ALIGN T row[lanes<T>()];
      for (int64_t j = 0; j < lanes<T>(); ++j) row[j] = columns[j][at];
      add_products<kRows>(a, at, hn::Load(d, row), sum);
    }
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T* to = out + r * lanes<T>();
      hn::StoreU(block == 0 ? sum[r] : hn::Add(hn::LoadU(d, to), sum[r]), d, to);
      sum[r] = hn::Zero(d);
    }
  }
}

template <class T, size_t... kIndices>
HWY_INLINE auto multiply_columns_of(int64_t rows, std::index_sequence<kIndices...>) {
  static constexpr decltype(&multiply_columns<1, T>) kKernels[] = {
      multiply_columns<static_cast<int>(kIndices) + 1, T>...};
  return kKernels[rows - 1];
}

// Fewer rows than would fill the vectors of multiply_transposed.
template <class T>
void multiply_few_rows(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c,
                       int64_t c_stride) {
  constexpr int64_t kLanes = lanes<T>();
  const auto multiply_vector = multiply_columns_of<T>(m, std::make_index_sequence<kFewRows>());
  parallel_for((n + kLanes - 1) / kLanes, 1 + kUnitNumbers / (k * kLanes + 1), [&](int64_t begin, int64_t end) {
    HWY_ALIGN T start[kLanes] = {}, out[kFewRows * kLanes];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * kLanes, width = std::min(kLanes, n - first);
      const T* columns[kLanes];  // the last one again where the vector sticks out
      for (int64_t j = 0; j < kLanes; ++j) columns[j] = b.data + std::min(first + j, n - 1) * b.column_stride;
      if (bias) std::copy_n(bias + first, width, start);
      multiply_vector(k, a, columns, start, out);
      for (int64_t r = 0; r < m; ++r) std::copy_n(out + r * kLanes, width, c + r * c_stride + first);
    }
  });
}
#endif

// The rows of a, when k steps through memory, as stripes of one vector's rows: [k, lanes] each, which is a plain copy.
template <class T>
void pack_rows(int64_t m, int64_t k, Matrix<T> a, T* packed) {
  const int64_t stripes = (m + lanes<T>() - 1) / lanes<T>();
  parallel_for(stripes, 1 + kUnitElements / (k + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * lanes<T>();
      pack_panel(k, std::min(lanes<T>(), m - first), a.data + first, a.column_stride, int64_t{1}, packed + first * k,
                 lanes<T>());
    }
  });
}

template <class T>
void multiply(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c, int64_t c_stride) {
  if (m == 0 || n == 0) return;
#if HWY_TARGET != HWY_SCALAR
  if (b.column_stride != 1 && m <= kFewRows && m < lanes<T>())
    return multiply_few_rows(m, n, k, a, b, bias, c, c_stride);
#endif
  if (b.column_stride != 1 && m * (n + k) < n * k) return multiply_transposed(m, n, k, a, b, bias, c, c_stride);
  const Panels<T> panels(n);
  const bool in_place = b.column_stride == 1 && (m < kRowsToPack || n <= kPanelVectors * lanes<T>());
  const bool pack_a = a.column_stride != 1 && k > kDepthToPack && panels.size() > 1;
  const int64_t packed_from = !in_place ? 0 : n % lanes<T>() == 0 ? n : panels[panels.size() - 1].column;
  std::optional<Scratch<T>> packed_b, packed_a;
  if (packed_from < n) packed_b.emplace(k * (padded_columns<T>(n) - packed_from));
  const PanelSource<T> source{k, b, in_place, packed_b ? packed_b->data() : nullptr, packed_from};
  if (packed_b) pack(panels, source);
  if (pack_a) {
    packed_a.emplace(padded_columns<T>(m) * k);
    pack_rows(m, k, a, packed_a->data());
  }
  const auto row = [&](int64_t i) {
    return pack_a ? packed_a->data() + i / lanes<T>() * lanes<T>() * k + i % lanes<T>() : a.data + i * a.row_stride;
  };
  const int64_t a_step = pack_a ? lanes<T>() : a.column_stride, blocks = (m + kRowBlock - 1) / kRowBlock;
  const int64_t unit_products = std::min(m, kRowBlock) * std::min(n, kPanelVectors * lanes<T>()) * (k + 1);
  parallel_for(blocks * panels.size(), 1 + kUnitProducts / unit_products, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      const Panel panel = panels[i / blocks];
      const int64_t first = i % blocks * kRowBlock, rows = std::min(kRowBlock, m - first);
      multiply_panel<T>(
          rows, k, a_step, [&](int64_t r) { return row(first + r); }, panel, source,
          bias ? bias + panel.column : nullptr, false,
          [&](int64_t r) { return c + (first + r) * c_stride + panel.column; });
    }
  });
}

}  // namespace

void gemm_f32(int64_t m, int64_t n, int64_t k, Matrix<float> a, Matrix<float> b, const float* bias, float* c,
              int64_t c_stride) {
  multiply(m, n, k, a, b, bias, c, c_stride);
}
void gemm_f64(int64_t m, int64_t n, int64_t k, Matrix<double> a, Matrix<double> b, const double* bias, double* c,
              int64_t c_stride) {
  multiply(m, n, k, a, b, bias, c, c_stride);
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mollify::cpu {

HWY_EXPORT(gemm_f32);
HWY_EXPORT(gemm_f64);

template <>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<float> a, Matrix<float> b, const float* bias, float* c,
          int64_t c_stride) {
  if (products() == Products::openblas) return openblas::gemm(m, n, k, a, b, bias, c, c_stride);
  HWY_DYNAMIC_DISPATCH(gemm_f32)(m, n, k, a, b, bias, c, c_stride);
}
template <>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<double> a, Matrix<double> b, const double* bias, double* c,
          int64_t c_stride) {
  if (products() == Products::openblas) return openblas::gemm(m, n, k, a, b, bias, c, c_stride);
  HWY_DYNAMIC_DISPATCH(gemm_f64)(m, n, k, a, b, bias, c, c_stride);
}

}  // namespace mollify::cpu
#endif
