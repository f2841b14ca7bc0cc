#include <mollify/engine/cpu/gemm.h>

#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/openblas.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>
#include <mollify/engine/products.h>

#include <optional>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/gemm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/register_tile-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kDepth = 256;               // rows of b that stay in the cache while many tiles use them
static_assert(kSumBlock % kDepth == 0);
constexpr int64_t kRowBlock = 96;             // rows of one unit of work
constexpr int64_t kUnitProducts = 1 << 16;  // multiply-adds that pay for handing a range to another thread
constexpr int64_t kUnitElements = 1 << 9;    // copied elements, per column, that do
constexpr int64_t kRowsToPack = 64;          // rows of a that pay for packing b
constexpr int64_t kFewRows = 8, kFewDepth = 2048;  // rows and depth (f32) for which packing b by panels is worth it
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

// Few rows: each panel of b is packed where its thread keeps it, and multiplied at once. The vectors of
// multiply_transposed would be mostly empty.
template <class T>
void multiply_few_rows(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c,
                       int64_t c_stride) {
  const Panels<T> panels(n);
  const int64_t widest = kPanelVectors * lanes<T>();
  parallel_for(panels.size(), 1 + kUnitElements / (k * widest + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<T> packed(k * widest);
    for (int64_t p = begin; p < end; ++p) {
      const Panel panel = panels[p];
      const PanelSource<T> source{k, b, false, packed.data(), panel.column};
      pack_panel(k, panel.columns, b.data + panel.column * b.column_stride, b.row_stride, b.column_stride,
                 packed.data(), panel.vectors * lanes<T>());
      multiply_panel<T>(
          m, k, a.column_stride, [&](int64_t r) { return a.data + r * a.row_stride; }, panel, source,
          bias ? bias + panel.column : nullptr, false, [&](int64_t r) { return c + r * c_stride + panel.column; });
    }
  });
}

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
  if (sizeof(T) == 4 && b.column_stride != 1 && m <= kFewRows && k > 0 && k <= kFewDepth)
    return multiply_few_rows(m, n, k, a, b, bias, c, c_stride);
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
