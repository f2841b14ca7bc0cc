#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/batch_norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/batch_norm.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Calls f(tag, first channel) for vectors of channels, then one by one for the rest.
template <class T, class F>
HWY_INLINE void for_channels(int64_t channels, const F& f) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) f(d, c);
  for (; c < channels; ++c) f(hn::CappedTag<T, 1>(), c);
}

// A centre near the mean, Σ(x − centre) and Σ(x − centre)² of a chunk of rows that stays in cache between the two
// passes. The first sum tells by how much rounding put the centre off the mean.
template <class T>
void moments(const T* x, int64_t rows, int64_t channels, T* centres, T* rests, T* squares) {
  for_channels<T>(channels, [&](auto d, int64_t c) HWY_ATTR {
    auto total = hn::Zero(d);
    for (int64_t r = 0; r < rows; ++r) total = total + hn::LoadU(d, x + r * channels + c);
    const auto centre = total * hn::Set(d, T{1} / static_cast<T>(rows));
    auto rest = hn::Zero(d), sum = hn::Zero(d);
    for (int64_t r = 0; r < rows; ++r) {
      const auto off = hn::LoadU(d, x + r * channels + c) - centre;
      rest = rest + off;
      sum = hn::MulAdd(off, off, sum);
    }
    hn::StoreU(centre, d, centres + c);
    hn::StoreU(rest, d, rests + c);
    hn::StoreU(sum, d, squares + c);
  });
}

template <class T>
void normalize(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift, T* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for_channels<T>(channels, [&](auto d, int64_t c) HWY_ATTR {
      const auto off = hn::LoadU(d, x + r * channels + c) - hn::LoadU(d, mean + c);
      hn::StoreU(hn::MulAdd(off, hn::LoadU(d, factor + c), hn::LoadU(d, shift + c)), d, y + r * channels + c);
    });
  }
}

template <class T>
void gradient_sums(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g, T* sum_gx) {
  for_channels<T>(channels, [&](auto d, int64_t c) HWY_ATTR {
    auto total = hn::Zero(d), total_x = hn::Zero(d);
    const auto centre = hn::LoadU(d, mean + c);
    for (int64_t r = 0; r < rows; ++r) {
      const auto gradient = hn::LoadU(d, g + r * channels + c);
      total = total + gradient;
      total_x = hn::MulAdd(gradient, hn::LoadU(d, x + r * channels + c) - centre, total_x);
    }
    hn::StoreU(total, d, sum_g + c);
    hn::StoreU(total_x, d, sum_gx + c);
  });
}

template <class T>
void gradient(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* offset,
              const T* slope, T* dx) {
  for (int64_t r = 0; r < rows; ++r) {
    for_channels<T>(channels, [&](auto d, int64_t c) HWY_ATTR {
      const auto off = hn::LoadU(d, x + r * channels + c) - hn::LoadU(d, mean + c);
      const auto rest =
          hn::NegMulAdd(off, hn::LoadU(d, slope + c), hn::LoadU(d, g + r * channels + c) - hn::LoadU(d, offset + c));
      hn::StoreU(rest * hn::LoadU(d, factor + c), d, dx + r * channels + c);
    });
  }
}

#define MOLLIFY_DEFINE(T, suffix)                                                                                     \
  void moments_##suffix(const T* x, int64_t rows, int64_t channels, T* centres, T* rests, T* squares) {               \
    moments(x, rows, channels, centres, rests, squares);                                                              \
  }                                                                                                                   \
  void normalize_##suffix(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift, \
                          T* y) {                                                                                     \
    normalize(x, rows, channels, mean, factor, shift, y);                                                             \
  }                                                                                                                   \
  void gradient_sums_##suffix(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g,        \
                              T* sum_gx) {                                                                            \
    gradient_sums(g, x, rows, channels, mean, sum_g, sum_gx);                                                         \
  }                                                                                                                   \
  void gradient_##suffix(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor,      \
                         const T* offset, const T* slope, T* dx) {                                                    \
    gradient(g, x, rows, channels, mean, factor, offset, slope, dx);                                                  \
  }
MOLLIFY_DEFINE(float, f32)
MOLLIFY_DEFINE(double, f64)
#undef MOLLIFY_DEFINE

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#include <algorithm>
#include <cmath>

namespace mollify::cpu {

HWY_EXPORT(moments_f32);
HWY_EXPORT(moments_f64);
HWY_EXPORT(normalize_f32);
HWY_EXPORT(normalize_f64);
HWY_EXPORT(gradient_sums_f32);
HWY_EXPORT(gradient_sums_f64);
HWY_EXPORT(gradient_f32);
HWY_EXPORT(gradient_f64);

#define MOLLIFY_DISPATCH(T, name) (*[] {                                        \
    if constexpr (sizeof(T) == 4) return HWY_DYNAMIC_DISPATCH(name##_f32);      \
    else return HWY_DYNAMIC_DISPATCH(name##_f64);                               \
  }())

namespace {

// Rows of a chunk: about 64 KiB, so that a second pass over it is free.
template <class T>
int64_t chunk_rows(int64_t channels) {
  return std::clamp<int64_t>(65536 / static_cast<int64_t>(sizeof(T)) / std::max<int64_t>(1, channels), 1, 1024);
}

}  // namespace

template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, T* mean, T* variance) {
  const int64_t chunk = chunk_rows<T>(channels), chunks = (rows + chunk - 1) / chunk;
  Scratch<T> centres(chunks * channels), rests(chunks * channels), squares(chunks * channels);
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      MOLLIFY_DISPATCH(T, moments)
      (x + i * chunk * channels, std::min(chunk, rows - i * chunk), channels, centres.data() + i * channels,
       rests.data() + i * channels, squares.data() + i * channels);
  });
  for (int64_t c = 0; c < channels; ++c) {  // Chan, Golub & LeVeque: joining the moments of chunks
    double count = 0, centre = 0, sum = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      const auto more = static_cast<double>(std::min(chunk, rows - i * chunk));
      const int64_t at = i * channels + c;
      const double rest = static_cast<double>(rests[at]),
                   about_mean = static_cast<double>(squares[at]) - rest * rest / more;
      const double delta = static_cast<double>(centres[at]) + rest / more - centre;
      sum += (about_mean < 0 ? 0 : about_mean) + delta * delta * count * more / (count + more);
      centre += delta * more / (count + more);
      count += more;
    }
    mean[c] = static_cast<T>(centre);
    variance[c] = static_cast<T>(sum / count);
  }
}

template <class T>
void batch_norm_factor(int64_t channels, const T* scale, const T* variance, double epsilon, T* factor) {
  for (int64_t c = 0; c < channels; ++c)
    factor[c] = static_cast<T>(static_cast<double>(scale[c]) / std::sqrt(static_cast<double>(variance[c]) + epsilon));
}

template <class T>
void normalize_channels(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift,
                        T* y) {
  const int64_t chunk = chunk_rows<T>(channels);
  parallel_for(rows, chunk, [&](int64_t begin, int64_t end) {
    MOLLIFY_DISPATCH(T, normalize)
    (x + begin * channels, end - begin, channels, mean, factor, shift, y + begin * channels);
  });
}

template <class T>
void channel_gradient_sums(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g, T* sum_gx) {
  const int64_t chunk = chunk_rows<T>(channels), chunks = (rows + chunk - 1) / chunk;
  Scratch<T> sums(chunks * channels), sums_x(chunks * channels);
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * chunk * channels;
      MOLLIFY_DISPATCH(T, gradient_sums)
      (g + first, x + first, std::min(chunk, rows - i * chunk), channels, mean, sums.data() + i * channels,
       sums_x.data() + i * channels);
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    double total = 0, total_x = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      total += static_cast<double>(sums[i * channels + c]);
      total_x += static_cast<double>(sums_x[i * channels + c]);
    }
    sum_g[c] = static_cast<T>(total);
    sum_gx[c] = static_cast<T>(total_x);
  }
}

template <class T>
void batch_norm_gradient_factors(int64_t channels, int64_t rows, const T* scale, const T* variance, double epsilon,
                                 T* d_scale, const T* d_shift, T* factor, T* offset, T* slope) {
  const double share = 1.0 / static_cast<double>(rows);
  for (int64_t c = 0; c < channels; ++c) {
    const double inverse = 1 / std::sqrt(static_cast<double>(variance[c]) + epsilon),
                 sum_gx = static_cast<double>(d_scale[c]);
    factor[c] = static_cast<T>(static_cast<double>(scale[c]) * inverse);
    offset[c] = static_cast<T>(static_cast<double>(d_shift[c]) * share);
    slope[c] = static_cast<T>(inverse * inverse * sum_gx * share);
    d_scale[c] = static_cast<T>(sum_gx * inverse);
  }
}

template <class T>
void normalize_channels_gradient(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor,
                                 const T* offset, const T* slope, T* dx) {
  const int64_t chunk = chunk_rows<T>(channels);
  parallel_for(rows, chunk, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * channels;
    MOLLIFY_DISPATCH(T, gradient)(g + first, x + first, end - begin, channels, mean, factor, offset, slope, dx + first);
  });
}

#define MOLLIFY_INSTANTIATE(T)                                                                                       \
  template void channel_moments(const T*, int64_t, int64_t, T*, T*);                                                 \
  template void batch_norm_factor(int64_t, const T*, const T*, double, T*);                                          \
  template void normalize_channels(const T*, int64_t, int64_t, const T*, const T*, const T*, T*);                    \
  template void channel_gradient_sums(const T*, const T*, int64_t, int64_t, const T*, T*, T*);                       \
  template void batch_norm_gradient_factors(int64_t, int64_t, const T*, const T*, double, T*, const T*, T*, T*, T*); \
  template void normalize_channels_gradient(const T*, const T*, int64_t, int64_t, const T*, const T*, const T*,      \
                                            const T*, T*);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE
#undef MOLLIFY_DISPATCH

}  // namespace mollify::cpu

#endif  // HWY_ONCE
