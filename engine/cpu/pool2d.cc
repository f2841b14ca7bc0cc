#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/pool2d.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/pool2d.h>

#include <algorithm>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kRun = 1024;  // pixels that are added one after another; cuda/pool2d.cu cuts alike

// to[c] = share·Σ from[h·row_stride + w·channels + c] over rows × columns pixels, in runs of up to kRun pixels: some
// whole rows, or a part of one. Runs are added up in f64.
template <class T>
void sum_pixels(const T* from, int64_t rows, int64_t columns, int64_t row_stride, int64_t channels, T share, T* to) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t run_rows = std::max<int64_t>(1, kRun / std::max<int64_t>(1, columns));
  const auto run_at = [&](auto tag, int64_t c, int64_t h0, int64_t w0) HWY_ATTR {
    auto total = hn::Zero(tag);
    for (int64_t h = h0; h < std::min(rows, h0 + run_rows); ++h)
      for (int64_t w = w0; w < std::min(columns, w0 + kRun); ++w)
        total = total + hn::LoadU(tag, from + h * row_stride + w * channels + c);
    return total;
  };
  const auto sum_at = [&](auto tag, int64_t c) HWY_ATTR {
    auto total = run_at(tag, c, 0, 0);
    if (rows > run_rows || columns > kRun) {
      HWY_ALIGN T run[HWY_MAX_BYTES / sizeof(T)];
      double totals[HWY_MAX_BYTES / sizeof(T)] = {};
      for (int64_t h = 0; h < rows; h += run_rows)
        for (int64_t w = 0; w < columns; w += kRun) {
          hn::Store(run_at(tag, c, h, w), tag, run);
          for (size_t i = 0; i < hn::Lanes(tag); ++i) totals[i] += static_cast<double>(run[i]);
        }
      for (size_t i = 0; i < hn::Lanes(tag); ++i) run[i] = static_cast<T>(totals[i]);
      total = hn::Load(tag, run);
    }
    hn::StoreU(total * hn::Set(tag, share), tag, to + c);
  };
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) sum_at(d, c);
  for (; c < channels; ++c) sum_at(hn::CappedTag<T, 1>(), c);
}

template <class T>
T area_share(const Pool2dShape& s) { return T{1} / static_cast<T>(s.kernel_height * s.kernel_width); }

template <class T>
void average_image(const Pool2dShape& s, const T* x, T* y) {
  for (int64_t oh = 0; oh < s.out_height; ++oh) {
    const int64_t top = oh * s.stride_height - s.pad_top, h0 = std::max<int64_t>(0, top),
                  h1 = std::min(s.height, top + s.kernel_height);
    for (int64_t ow = 0; ow < s.out_width; ++ow) {
      const int64_t left = ow * s.stride_width - s.pad_left, w0 = std::max<int64_t>(0, left),
                    w1 = std::min(s.width, left + s.kernel_width);
      sum_pixels(x + (h0 * s.width + w0) * s.channels, h1 - h0, w1 - w0, s.width * s.channels, s.channels,
                 area_share<T>(s), y + (oh * s.out_width + ow) * s.channels);
    }
  }
}

// Outputs first … last − 1 have input `at` in their windows.
HWY_INLINE void windows_over(int64_t at, int64_t kernel, int64_t stride, int64_t outputs, int64_t& first,
                             int64_t& last) {
  first = at < kernel ? 0 : (at - kernel) / stride + 1;
  last = std::min(outputs, at / stride + 1);
}

template <class T>
void average_image_gradient(const Pool2dShape& s, const T* g, T* dx) {
  for (int64_t h = 0; h < s.height; ++h) {
    int64_t h0, h1;
    windows_over(h + s.pad_top, s.kernel_height, s.stride_height, s.out_height, h0, h1);
    for (int64_t w = 0; w < s.width; ++w) {
      int64_t w0, w1;
      windows_over(w + s.pad_left, s.kernel_width, s.stride_width, s.out_width, w0, w1);
      sum_pixels(g + (h0 * s.out_width + w0) * s.channels, h1 - h0, w1 - w0, s.out_width * s.channels, s.channels,
                 area_share<T>(s), dx + (h * s.width + w) * s.channels);
    }
  }
}

void average_f32(const Pool2dShape& s, const float* x, float* y) { average_image(s, x, y); }
void average_f64(const Pool2dShape& s, const double* x, double* y) { average_image(s, x, y); }
void average_gradient_f32(const Pool2dShape& s, const float* g, float* dx) { average_image_gradient(s, g, dx); }
void average_gradient_f64(const Pool2dShape& s, const double* g, double* dx) { average_image_gradient(s, g, dx); }

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/threads.h>

namespace mollify::cpu {

HWY_EXPORT(average_f32);
HWY_EXPORT(average_f64);
HWY_EXPORT(average_gradient_f32);
HWY_EXPORT(average_gradient_f64);

namespace {

// Calls f(number of the image) for all images, in parallel.
template <class F>
void for_images(const Pool2dShape& s, const F& f) {
  const int64_t size = std::max<int64_t>(1, s.height * s.width * s.channels);
  parallel_for(s.batch, std::max<int64_t>(1, 32768 / size), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) f(n);
  });
}

int64_t input_size(const Pool2dShape& s) { return s.height * s.width * s.channels; }
int64_t output_size(const Pool2dShape& s) { return s.out_height * s.out_width * s.channels; }

// One pixel of the window joins the running maxima of its channels.
template <class T>
void join_maxima(const T* in, int64_t place, int64_t channels, T* best, int32_t* index) {
  for (int64_t c = 0; c < channels; ++c) {
    const bool wins = in[c] > best[c] || (in[c] != in[c] && best[c] == best[c]);
    best[c] = wins ? in[c] : best[c];
    index[c] = wins ? static_cast<int32_t>(place + c) : index[c];
  }
}

}  // namespace

template <class T>
void average_pool2d(const Pool2dShape& s, const T* x, T* y) {
  for_images(s, [&](int64_t n) {
    if constexpr (sizeof(T) == 4) HWY_DYNAMIC_DISPATCH(average_f32)(s, x + n * input_size(s), y + n * output_size(s));
    else HWY_DYNAMIC_DISPATCH(average_f64)(s, x + n * input_size(s), y + n * output_size(s));
  });
}

template <class T>
void average_pool2d_gradient(const Pool2dShape& s, const T* g, T* dx) {
  for_images(s, [&](int64_t n) {
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(average_gradient_f32)(s, g + n * output_size(s), dx + n * input_size(s));
    else
      HWY_DYNAMIC_DISPATCH(average_gradient_f64)(s, g + n * output_size(s), dx + n * input_size(s));
  });
}

template <class T>
void max_pool2d(const Pool2dShape& s, const T* x, T* y, int32_t* indices) {
  for_images(s, [&](int64_t n) {
    const T* image = x + n * input_size(s);
    for (int64_t oh = 0; oh < s.out_height; ++oh) {
      const int64_t top = oh * s.stride_height - s.pad_top, h0 = std::max<int64_t>(0, top),
                    h1 = std::min(s.height, top + s.kernel_height);
      for (int64_t ow = 0; ow < s.out_width; ++ow) {
        const int64_t left = ow * s.stride_width - s.pad_left, w0 = std::max<int64_t>(0, left),
                      w1 = std::min(s.width, left + s.kernel_width);
        const int64_t at = n * output_size(s) + (oh * s.out_width + ow) * s.channels,
                      first = (h0 * s.width + w0) * s.channels;
        std::fill_n(y + at, s.channels, -std::numeric_limits<T>::infinity());
        for (int64_t c = 0; c < s.channels; ++c) indices[at + c] = static_cast<int32_t>(first + c);
        for (int64_t h = h0; h < h1; ++h)
          for (int64_t w = w0; w < w1; ++w) {
            const int64_t place = (h * s.width + w) * s.channels;
            join_maxima(image + place, place, s.channels, y + at, indices + at);
          }
      }
    }
  });
}

template void average_pool2d(const Pool2dShape&, const float*, float*);
template void average_pool2d(const Pool2dShape&, const double*, double*);
template void average_pool2d_gradient(const Pool2dShape&, const float*, float*);
template void average_pool2d_gradient(const Pool2dShape&, const double*, double*);
template void max_pool2d(const Pool2dShape&, const float*, float*, int32_t*);
template void max_pool2d(const Pool2dShape&, const double*, double*, int32_t*);

}  // namespace mollify::cpu

#endif  // HWY_ONCE
