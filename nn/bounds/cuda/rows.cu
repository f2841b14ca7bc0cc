#include <mollify/nn/bounds/cuda/rows.h>

#include <mollify/engine/cuda/rows.cuh>

namespace mollify::cuda {
namespace {

using nn::bounds::Place;
using nn::bounds::Runs;
using nn::bounds::View;

constexpr int kBlock = 256;
constexpr int64_t kWarpNumbers = 2048;  // of rows that a warp takes; longer ones take a block

template <class T>
struct Plus {
  __device__ T operator()(T a, T b) const { return a + b; }
};

// The lines that n coefficients take: a ≥ 0 the first of a pair, which is 0 where there is none; NaN the second.
template <class T, int n>
__device__ inline Pack<T, n> chosen(const T* nonnegative, const T* negative, int64_t at, const Pack<T, n>& a,
                                    bool aligned) {
  Pack<T, n> line = load<n>(negative + at, aligned), first{};
  if (nonnegative) first = load<n>(nonnegative + at, aligned);
  MOLLIFY_UNROLL
  for (int j = 0; j < n; ++j)
    if (a.at[j] >= 0) line.at[j] = first.at[j];
  return line;
}

// A row's share that a group of `threads` works on: `span` numbers.
struct Spans { int64_t length, count; };

// The total over the group of threads, a warp or the block.
template <int threads, class T>
__device__ inline T combine_group(T value) {
  if constexpr (threads == kWarp) return combine_warp(value, Plus<T>());
  else return combine_block(value, T(0), Plus<T>());
}

template <class T, int n, bool slopes, int threads>
__global__ void __launch_bounds__(kBlock) forward_rows(RowOperands<T> o, bool aligned, Spans spans, T* out, T* sums) {
  const int lane = static_cast<int>(threadIdx.x) % threads;
  const int64_t groups = int64_t{gridDim.x} * (kBlock / threads), numbers = o.rows.numbers;
  for (int64_t item = int64_t{blockIdx.x} * (kBlock / threads) + threadIdx.x / threads; item < o.count * spans.count;
       item += groups) {
    const int64_t i = item / spans.count, first = (item - i * spans.count) * spans.length;
    const int64_t last = numbers - first < spans.length ? numbers : first + spans.length;
    const Place at = o.places[i];
    const Runs::Corner corner = o.runs.corner(i);
    const T* const row = o.rows.at(at.sample, at.row);
    const T *const intercept0 = o.intercept[0].at(at.sample, at.row), *const intercept1 =
                                                                          o.intercept[1].at(at.sample, at.row);
    T total = 0;
    for (int64_t own = first + lane * n; own < last; own += threads * n) {
      const int64_t line = o.runs.in_lines(corner, own);
      Pack<T, n> product{};
      if (line >= 0) {
        const Pack<T, n> a = load<n>(row + own, aligned), intercept = chosen(intercept0, intercept1, line, a, aligned);
        if constexpr (slopes)
          product = chosen(o.slope[0].at(at.sample, at.row), o.slope[1].at(at.sample, at.row), line, a, aligned);
        MOLLIFY_UNROLL
        for (int j = 0; j < n; ++j) {
          product.at[j] *= a.at[j];
          total = fma(a.at[j], intercept.at[j], total);
        }
      }
      if constexpr (slopes) store(product, out + i * numbers + own, aligned);
    }
    total = combine_group<threads>(total);
    if (lane == 0) sums[item] = total;
  }
}

// sums[i]: of row i's spans. A warp takes a row.
template <class T>
__global__ void __launch_bounds__(kBlock) join_spans_of_rows(const T* partial, int64_t count, int64_t spans, T* sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int64_t i = global_thread() / kWarp; i < count; i += global_threads() / kWarp) {
    T total = 0;
    for (int64_t k = lane; k < spans; k += kWarp) total += partial[i * spans + k];
    total = combine_warp(total, Plus<T>());
    if (lane == 0) sums[i] = total;
  }
}

// Coefficients where they take line `i` of a pair, 0 elsewhere.
template <class T, int n>
__device__ inline Pack<T, n> part_of(int i, const Pack<T, n>& a) {
  Pack<T, n> part;
  MOLLIFY_UNROLL
  for (int j = 0; j < n; ++j) part.at[j] = (a.at[j] >= 0) == (i == 0) ? a.at[j] : T(0);
  return part;
}

template <class T, int n>
__device__ inline Pack<T, n> same(T value) {
  Pack<T, n> pack;
  MOLLIFY_UNROLL
  for (int j = 0; j < n; ++j) pack.at[j] = value;
  return pack;
}

// Gradients of rows, and of lines that belong to one row.
template <class T, int n, int threads>
__global__ void __launch_bounds__(kBlock)
    backward_rows(RowOperands<T> o, bool aligned, RowGradients<T> g, Spans spans) {
  const int lane = static_cast<int>(threadIdx.x) % threads;
  const int64_t groups = int64_t{gridDim.x} * (kBlock / threads), numbers = o.rows.numbers;
  for (int64_t item = int64_t{blockIdx.x} * (kBlock / threads) + threadIdx.x / threads; item < o.count * spans.count;
       item += groups) {
    const int64_t i = item / spans.count, first = (item - i * spans.count) * spans.length;
    const int64_t last = numbers - first < spans.length ? numbers : first + spans.length;
    const Place at = o.places[i];
    const Runs::Corner corner = o.runs.corner(i);
    const T* const row = o.rows.at(at.sample, at.row);
    const Pack<T, n> from_sum = same<T, n>(g.from_sums ? g.from_sums[i] : T(0));
    for (int64_t own = first + lane * n; own < last; own += threads * n) {
      const int64_t line = o.runs.in_lines(corner, own), place = i * numbers + own;
      Pack<T, n> to_row{};
      if (line >= 0) {
        const Pack<T, n> a = load<n>(row + own, aligned);
        Pack<T, n> from{};
        if (g.from_rows) from = load<n>(g.from_rows + place, aligned);
        if (g.to_rows && g.from_rows) {
          const Pack<T, n> slope =
              chosen(o.slope[0].at(at.sample, at.row), o.slope[1].at(at.sample, at.row), line, a, aligned);
          MOLLIFY_UNROLL
          for (int j = 0; j < n; ++j) to_row.at[j] = from.at[j] * slope.at[j];
        }
        if (g.to_rows && g.from_sums) {
          const Pack<T, n> intercept =
              chosen(o.intercept[0].at(at.sample, at.row), o.intercept[1].at(at.sample, at.row), line, a, aligned);
          MOLLIFY_UNROLL
          for (int j = 0; j < n; ++j) to_row.at[j] = fma(from_sum.at[j], intercept.at[j], to_row.at[j]);
        }
        const auto to_line = [&](const View<T>& to, int side, const Pack<T, n>& arrived) {
          if (!to.data || to.row == 0) return;
          Pack<T, n> part = part_of(side, a);
          MOLLIFY_UNROLL
          for (int j = 0; j < n; ++j) part.at[j] *= arrived.at[j];
          store(part, to.at(at.sample, at.row) + line, aligned);
        };
        MOLLIFY_UNROLL
        for (int side = 0; side < 2; ++side) {
          to_line(g.to_slope[side], side, from);
          to_line(g.to_intercept[side], side, from_sum);
        }
      }
      if (g.to_rows) store(to_row, g.to_rows + place, aligned);
    }
  }
}

constexpr int kTileRows = kBlock / kWarp;

// Gradients of lines that rows share: a block takes a warp's width of packs of one sample's lines, and each of its
// warps every kTileRows-th row. `numbers`: of a line.
template <class T, int n>
__global__ void __launch_bounds__(kBlock)
    sum_rows_to_lines(RowOperands<T> o, bool aligned, RowGradients<T> g, int64_t numbers, int64_t tiles) {
  alignas(16) __shared__ T joined[kBlock * n];
  const int x = static_cast<int>(threadIdx.x) % kWarp, y = static_cast<int>(threadIdx.x) / kWarp;
  for (int64_t item = blockIdx.x; item < g.samples * tiles; item += gridDim.x) {
    const int64_t s = item / tiles, number = ((item - s * tiles) * kWarp + x) * n;
    const bool active = number < numbers;
    const int64_t first = o.places.first_of(s), count = o.places.first_of(s + 1) - first;
    Pack<T, n> slope[2]{}, intercept[2]{};
    for (int64_t k = y; active && k < count; k += kTileRows) {
      const int64_t own = o.runs.in_row(o.runs.corner(first + k), number);
      if (own < 0) continue;
      const Place at = o.places.of_sample(s, first, k);
      const Pack<T, n> a = load<n>(o.rows.at(at.sample, at.row) + own, aligned);
      Pack<T, n> from{};
      if (g.from_rows) from = load<n>(g.from_rows + (first + k) * o.rows.numbers + own, aligned);
      const T from_sum = g.from_sums ? g.from_sums[first + k] : T(0);
      MOLLIFY_UNROLL
      for (int side = 0; side < 2; ++side) {
        const Pack<T, n> part = part_of(side, a);
        MOLLIFY_UNROLL
        for (int j = 0; j < n; ++j) {
          slope[side].at[j] = fma(part.at[j], from.at[j], slope[side].at[j]);
          intercept[side].at[j] = fma(part.at[j], from_sum, intercept[side].at[j]);
        }
      }
    }
    const auto join = [&](const View<T>& to, const Pack<T, n>& sum) {
      if (!to.data || to.row != 0) return;
      __syncthreads();  // what was joined before has been read
      store(sum, joined + threadIdx.x * n, n > 1);
      __syncthreads();
      if (y > 0 || !active) return;
      Pack<T, n> total = sum;
      for (int k = 1; k < kTileRows; ++k) {
        MOLLIFY_UNROLL
        for (int j = 0; j < n; ++j) total.at[j] += joined[(k * kWarp + x) * n + j];
      }
      store(total, to.at(s, 0) + number, aligned);
    };
    for (int side = 0; side < 2; ++side) {
      join(g.to_slope[side], slope[side]);
      join(g.to_intercept[side], intercept[side]);
    }
  }
}

__global__ void number_windows(Runs runs, int64_t pairs, int64_t numbers, int32_t outside, int32_t* out) {
  for (int64_t i = global_thread(); i < pairs * numbers; i += global_threads()) {
    const int64_t pair = i / numbers, number = runs.in_lines(runs.corner(pair), i - pair * numbers);
    out[i] = number < 0 ? outside : static_cast<int32_t>(number);
  }
}

// Whether numbers come in packs. By the shapes alone, since sums are in the order that packs make.
template <class T>
bool in_packs(const RowOperands<T>& o) {
  return o.runs.together() % kPack<T> == 0;
}

// Whether all lie at addresses that packs can be read from at once.
template <class T>
bool all_aligned(const RowOperands<T>& o, std::initializer_list<const T*> more) {
  bool aligned = true;
  for (const T* pointer : {static_cast<const T*>(o.rows.data), static_cast<const T*>(o.slope[0].data),
                           static_cast<const T*>(o.slope[1].data), static_cast<const T*>(o.intercept[0].data),
                           static_cast<const T*>(o.intercept[1].data)})
    aligned = aligned && is_aligned<T, kPack<T>>(pointer);
  for (const T* pointer : more) aligned = aligned && is_aligned<T, kPack<T>>(pointer);
  return aligned;
}

Spans spans_of(int64_t rows, int64_t numbers) {
  const int64_t length = numbers <= kWarpNumbers ? std::max<int64_t>(1, numbers) : span_of_rows(rows, numbers, 4096);
  return {length, std::max<int64_t>(1, (numbers + length - 1) / length)};
}

dim3 grid_of(int64_t rows, const Spans& spans, int threads) {
  const int64_t each = kBlock / threads;
  return block_for_each((rows * spans.count + each - 1) / each);
}

template <class T, int n, bool slopes>
void forward(const char* operation, const RowOperands<T>& o, const Spans& spans, T* out, T* sums) {
  const bool aligned = all_aligned<T>(o, {out});
  if (spans.length <= kWarpNumbers)
    launch(operation, forward_rows<T, n, slopes, kWarp>, grid_of(o.count, spans, kWarp), dim3(kBlock), 0, o, aligned,
           spans, out, sums);
  else
    launch(operation, forward_rows<T, n, slopes, kBlock>, grid_of(o.count, spans, kBlock), dim3(kBlock), 0, o, aligned,
           spans, out, sums);
}

template <class T, int n>
void backward(const RowOperands<T>& o, const RowGradients<T>& g) {
  constexpr const char* operation = "relax_gradient";
  const bool aligned = all_aligned<T>(o, {g.from_rows, g.to_rows, g.to_slope[0].data, g.to_slope[1].data,
                                          g.to_intercept[0].data, g.to_intercept[1].data});
  bool own = g.to_rows != nullptr, shared = false;
  for (const View<T>* to : {&g.to_slope[0], &g.to_slope[1], &g.to_intercept[0], &g.to_intercept[1]}) {
    own = own || (to->data && to->row != 0);
    shared = shared || (to->data && to->row == 0);
  }
  const Spans spans = spans_of(o.count, o.rows.numbers);
  if (own && o.count > 0 && o.rows.numbers > 0) {
    if (spans.length <= kWarpNumbers)
      launch(operation, backward_rows<T, n, kWarp>, grid_of(o.count, spans, kWarp), dim3(kBlock), 0, o, aligned, g,
             spans);
    else
      launch(operation, backward_rows<T, n, kBlock>, grid_of(o.count, spans, kBlock), dim3(kBlock), 0, o, aligned, g,
             spans);
  }
  const int64_t numbers = o.intercept[1].numbers, tiles = (numbers + kWarp * n - 1) / (kWarp * n);
  if (shared && g.samples * tiles > 0)
    launch(operation, sum_rows_to_lines<T, n>, block_for_each(g.samples * tiles), dim3(kBlock), 0, o, aligned, g,
           numbers, tiles);
}

}  // namespace

template <class T>
void relax_rows(const RowOperands<T>& o, T* out, T* sums) {
  if (o.count == 0) return;
  const char* const operation = out ? "relax" : "choose_sum";
  const Spans spans = spans_of(o.count, o.rows.numbers);
  const Scratch<T> partial(spans.count == 1 ? 0 : o.count * spans.count);
  T* const target = spans.count == 1 ? sums : partial.data();
  if (in_packs<T>(o))
    out ? forward<T, kPack<T>, true>(operation, o, spans, out, target)
        : forward<T, kPack<T>, false>(operation, o, spans, out, target);
  else
    out ? forward<T, 1, true>(operation, o, spans, out, target)
        : forward<T, 1, false>(operation, o, spans, out, target);
  if (spans.count > 1)
    launch(operation, join_spans_of_rows<T>, dim3(grid_for(o.count * kWarp, kBlock)), dim3(kBlock), 0, partial.data(),
           o.count, spans.count, sums);
}

template <class T>
void relax_rows_gradient(const RowOperands<T>& o, const RowGradients<T>& g) {
  if (in_packs<T>(o)) backward<T, kPack<T>>(o, g);
  else backward<T, 1>(o, g);
}

void window_numbers(const Runs& runs, int64_t pairs, int64_t numbers, int32_t outside, int32_t* out) {
  const int64_t count = pairs * numbers;
  if (count == 0) return;
  launch("window_numbers", number_windows, dim3(grid_for(count, kBlock)), dim3(kBlock), 0, runs, pairs, numbers,
         outside, out);
}

template void relax_rows<float>(const RowOperands<float>&, float*, float*);
template void relax_rows<double>(const RowOperands<double>&, double*, double*);
template void relax_rows_gradient<float>(const RowOperands<float>&, const RowGradients<float>&);
template void relax_rows_gradient<double>(const RowOperands<double>&, const RowGradients<double>&);

}  // namespace mollify::cuda
