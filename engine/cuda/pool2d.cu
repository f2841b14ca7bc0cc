#include <mollify/engine/cuda/pack.cuh>
#include <mollify/engine/cuda/pool2d.h>

namespace mollify::cuda {
namespace {

constexpr int kThreads = 256;

// Rows h0 … h1 − 1 and columns w0 … w1 − 1 of an image.
struct Window {
  int64_t h0, h1, w0, w1;
};

// n neighbouring channels of a pixel.
struct Place {
  int64_t image, h, w, channel;
};

__device__ Place place_of(int64_t i, int64_t height, int64_t width, int64_t packs, int n) {
  const int64_t pixel = i / packs, row = pixel / width, image = row / height;
  return {image, row - image * height, pixel - row * width, (i - pixel * packs) * n};
}

// What output (h, w) sees.
__device__ Window window_of(const Pool2dShape& s, int64_t h, int64_t w) {
  const int64_t top = h * s.stride_height - s.pad_top, left = w * s.stride_width - s.pad_left;
  return {max(int64_t{0}, top), min(s.height, top + s.kernel_height), max(int64_t{0}, left),
          min(s.width, left + s.kernel_width)};
}

// First output whose window holds padded place `at`, and one past the last.
__device__ int64_t first_window(int64_t at, int64_t kernel, int64_t stride) {
  return at < kernel ? 0 : (at - kernel) / stride + 1;
}
__device__ int64_t last_window(int64_t at, int64_t stride, int64_t outputs) { return min(outputs, at / stride + 1); }

// The outputs that see input (h, w).
__device__ Window windows_over(const Pool2dShape& s, int64_t h, int64_t w) {
  const int64_t y = h + s.pad_top, x = w + s.pad_left;
  return {first_window(y, s.kernel_height, s.stride_height), last_window(y, s.stride_height, s.out_height),
          first_window(x, s.kernel_width, s.stride_width), last_window(x, s.stride_width, s.out_width)};
}

constexpr int64_t kRun = 1024;  // pixels that are added one after another; cpu/pool2d.cc cuts alike

// share·Σ over a window of an image of `width` pixels a row; in the CPU's order: runs of whole rows, or of a part of
// one, whose sums are added up in f64.
template <int n, class T>
__device__ Pack<T, n> sum_window(const Window& window, const T* image, int64_t width, int64_t channels, T share,
                                 bool aligned) {
  const int64_t columns = max(int64_t{1}, window.w1 - window.w0), run_rows = max(int64_t{1}, kRun / columns);
  double totals[n] = {};
  for (int64_t h0 = window.h0; h0 < window.h1; h0 += run_rows)
    for (int64_t w0 = window.w0; w0 < window.w1; w0 += kRun) {
      Pack<T, n> run{};
      for (int64_t h = h0; h < min(window.h1, h0 + run_rows); ++h)
        for (int64_t w = w0; w < min(window.w1, w0 + kRun); ++w) {
          const Pack<T, n> pixel = load<n>(image + (h * width + w) * channels, aligned);
          MOLLIFY_UNROLL
          for (int i = 0; i < n; ++i) run.at[i] += pixel.at[i];
        }
      MOLLIFY_UNROLL
      for (int i = 0; i < n; ++i) totals[i] += static_cast<double>(run.at[i]);
    }
  Pack<T, n> total;
  MOLLIFY_UNROLL
  for (int i = 0; i < n; ++i) total.at[i] = static_cast<T>(totals[i]);
  MOLLIFY_UNROLL
  for (int i = 0; i < n; ++i) total.at[i] *= share;
  return total;
}

template <class T, int n>
__global__ void average(Pool2dShape s, const T* x, T* y, T share, bool aligned) {
  const int64_t packs = s.channels / n, count = s.batch * s.out_height * s.out_width * packs;
  for (int64_t i = global_thread(); i < count; i += global_threads()) {
    const Place to = place_of(i, s.out_height, s.out_width, packs, n);
    const T* image = x + to.image * s.height * s.width * s.channels + to.channel;
    store(sum_window<n>(window_of(s, to.h, to.w), image, s.width, s.channels, share, aligned), y + i * n, aligned);
  }
}

template <class T, int n>
__global__ void average_gradient(Pool2dShape s, const T* g, T* dx, T share, bool aligned) {
  const int64_t packs = s.channels / n, count = s.batch * s.height * s.width * packs;
  for (int64_t i = global_thread(); i < count; i += global_threads()) {
    const Place to = place_of(i, s.height, s.width, packs, n);
    const T* image = g + to.image * s.out_height * s.out_width * s.channels + to.channel;
    store(sum_window<n>(windows_over(s, to.h, to.w), image, s.out_width, s.channels, share, aligned), dx + i * n,
          aligned);
  }
}

template <class T, int n>
__global__ void maximum(Pool2dShape s, const T* x, T* y, int32_t* indices, bool aligned, bool indices_aligned) {
  const int64_t packs = s.channels / n, count = s.batch * s.out_height * s.out_width * packs;
  for (int64_t item = global_thread(); item < count; item += global_threads()) {
    const Place to = place_of(item, s.out_height, s.out_width, packs, n);
    const T* image = x + to.image * s.height * s.width * s.channels;
    const Window window = window_of(s, to.h, to.w);
    Pack<T, n> best;
    Pack<int32_t, n> index;
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) {
      best.at[i] = -kInfinity<T>;
      index.at[i] = static_cast<int32_t>((window.h0 * s.width + window.w0) * s.channels + to.channel + i);
    }
    for (int64_t h = window.h0; h < window.h1; ++h)
      for (int64_t w = window.w0; w < window.w1; ++w) {
        const int64_t at = (h * s.width + w) * s.channels + to.channel;
        const Pack<T, n> pixel = load<n>(image + at, aligned);
        MOLLIFY_UNROLL
        for (int i = 0; i < n; ++i) {
          const bool wins = pixel.at[i] > best.at[i] || (pixel.at[i] != pixel.at[i] && best.at[i] == best.at[i]);
          best.at[i] = wins ? pixel.at[i] : best.at[i];
          index.at[i] = wins ? static_cast<int32_t>(at + i) : index.at[i];
        }
      }
    store(best, y + item * n, aligned);
    store(index, indices + item * n, indices_aligned);
  }
}

template <class T>
T area_share(const Pool2dShape& s) { return T{1} / static_cast<T>(s.kernel_height * s.kernel_width); }

// Calls f(width of a pack): several channels at once where all pixels have as many.
template <class T, class F>
void with_pack(const Pool2dShape& s, const F& f) {
  if (s.channels % kPack<T> == 0) f(std::integral_constant<int, kPack<T>>());
  else f(std::integral_constant<int, 1>());
}

}  // namespace

template <class T>
void average_pool2d(const Pool2dShape& s, const T* x, T* y) {
  const int64_t count = s.batch * s.out_height * s.out_width * s.channels;
  if (count == 0) return;
  with_pack<T>(s, [&](auto n) {
    const bool aligned = is_aligned<T, n>(x) && is_aligned<T, n>(y);
    const dim3 grid(grid_for(count / n, kThreads));
    launch("average_pool2d", average<T, n>, grid, dim3(kThreads), 0, s, x, y, area_share<T>(s), aligned);
  });
}

template <class T>
void average_pool2d_gradient(const Pool2dShape& s, const T* g, T* dx) {
  const int64_t count = s.batch * s.height * s.width * s.channels;
  if (count == 0) return;
  with_pack<T>(s, [&](auto n) {
    const bool aligned = is_aligned<T, n>(g) && is_aligned<T, n>(dx);
    const dim3 grid(grid_for(count / n, kThreads));
    launch("average_pool2d_gradient", average_gradient<T, n>, grid, dim3(kThreads), 0, s, g, dx, area_share<T>(s),
           aligned);
  });
}

template <class T>
void max_pool2d(const Pool2dShape& s, const T* x, T* y, int32_t* indices) {
  const int64_t count = s.batch * s.out_height * s.out_width * s.channels;
  if (count == 0) return;
  with_pack<T>(s, [&](auto n) {
    const bool aligned = is_aligned<T, n>(x) && is_aligned<T, n>(y);
    const dim3 grid(grid_for(count / n, kThreads));
    launch("max_pool2d", maximum<T, n>, grid, dim3(kThreads), 0, s, x, y, indices, aligned,
           is_aligned<int32_t, n>(indices));
  });
}

#define MOLLIFY_INSTANTIATE(T)                                              \
  template void average_pool2d(const Pool2dShape&, const T*, T*);           \
  template void average_pool2d_gradient(const Pool2dShape&, const T*, T*);  \
  template void max_pool2d(const Pool2dShape&, const T*, T*, int32_t*);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
