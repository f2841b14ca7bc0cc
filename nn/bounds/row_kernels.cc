// Rows through lines: they are read once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/nn/bounds/row_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/nn/bounds/row_kernels.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::nn::bounds::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class T, class V = hn::Vec<D>>
HWY_INLINE V chosen(D d, hn::Mask<D> nonnegative, const T* const* pair, int64_t i) {
  const V negative = hn::LoadU(d, pair[1] + i);
  if (!pair[0]) return hn::IfThenZeroElse(nonnegative, negative);
  return hn::IfThenElse(nonnegative, hn::LoadU(d, pair[0] + i), negative);
}

template <bool slopes, class D, class T, class V = hn::Vec<D>>
HWY_INLINE V forward_step(D d, const RowForward<T>& r, int64_t i, V sum) {
  const V a = hn::LoadU(d, r.row + i);
  const auto nonnegative = hn::Ge(a, hn::Zero(d));
  if constexpr (slopes) hn::StoreU(a * chosen(d, nonnegative, r.slope, i), d, r.out + i);
  return hn::MulAdd(a, chosen(d, nonnegative, r.intercept, i), sum);
}

template <bool slopes, class T>
void forward_row(const RowForward<T>& r) {
  const hn::ScalableTag<T> d;
  const hn::CappedTag<T, 1> d1;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * lanes <= r.n; i += 4 * lanes) {
    s0 = forward_step<slopes>(d, r, i, s0);
    s1 = forward_step<slopes>(d, r, i + lanes, s1);
    s2 = forward_step<slopes>(d, r, i + 2 * lanes, s2);
    s3 = forward_step<slopes>(d, r, i + 3 * lanes, s3);
  }
  for (; i + lanes <= r.n; i += lanes) s0 = forward_step<slopes>(d, r, i, s0);
  HWY_ALIGN T partial[HWY_MAX_BYTES / sizeof(T)];
  hn::Store((s0 + s1) + (s2 + s3), d, partial);
  T rest[4] = {};  // what is left takes turns, so that no term passes through many roundings
  for (int64_t j = 0; i < r.n; ++i, j = (j + 1) % 4)
    rest[j] = hn::GetLane(forward_step<slopes>(d1, r, i, hn::Set(d1, rest[j])));
  for (int64_t width = lanes; width > 1; width /= 2)
    for (int64_t j = 0; j < width / 2; ++j) partial[j] += partial[j + width / 2];
  *r.sum = partial[0] + ((rest[0] + rest[1]) + (rest[2] + rest[3]));
}

template <class D, class T, class V>
HWY_INLINE void add_to(D d, T* target, int64_t i, V a, V gradient) {
  if (target) hn::StoreU(hn::MulAdd(a, gradient, hn::LoadU(d, target + i)), d, target + i);
}

template <class D, class T>
HWY_INLINE void backward_step(D d, const RowBackward<T>& r, int64_t i) {
  const auto zero = hn::Zero(d), a = hn::LoadU(d, r.row + i), to_sum = hn::Set(d, r.to_sum);
  const auto nonnegative = hn::Ge(a, zero);
  const auto above = hn::IfThenElseZero(nonnegative, a), below = hn::IfThenZeroElse(nonnegative, a);
  auto to_row = zero;
  if (r.to_out) {
    const auto g = hn::LoadU(d, r.to_out + i);
    if (r.to_row) to_row = g * chosen(d, nonnegative, r.slope, i);
    add_to(d, r.to_slope[0], i, above, g);
    add_to(d, r.to_slope[1], i, below, g);
  }
  if (r.to_row) hn::StoreU(hn::MulAdd(to_sum, chosen(d, nonnegative, r.intercept, i), to_row), d, r.to_row + i);
  add_to(d, r.to_intercept[0], i, above, to_sum);
  add_to(d, r.to_intercept[1], i, below, to_sum);
}

template <class T>
void backward_row(const RowBackward<T>& r) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= r.n; i += lanes) backward_step(d, r, i);
  for (; i < r.n; ++i) backward_step(hn::CappedTag<T, 1>(), r, i);
}

void relax_f32(const RowForward<float>& r) { forward_row<true>(r); }
void relax_f64(const RowForward<double>& r) { forward_row<true>(r); }
void sum_f32(const RowForward<float>& r) { forward_row<false>(r); }
void sum_f64(const RowForward<double>& r) { forward_row<false>(r); }
void gradient_f32(const RowBackward<float>& r) { backward_row(r); }
void gradient_f64(const RowBackward<double>& r) { backward_row(r); }

}  // namespace mollify::nn::bounds::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace mollify::nn::bounds {

HWY_EXPORT(relax_f32);
HWY_EXPORT(relax_f64);
HWY_EXPORT(sum_f32);
HWY_EXPORT(sum_f64);
HWY_EXPORT(gradient_f32);
HWY_EXPORT(gradient_f64);

void run(bool slopes, const RowForward<float>& r) {
  slopes ? HWY_DYNAMIC_DISPATCH(relax_f32)(r) : HWY_DYNAMIC_DISPATCH(sum_f32)(r);
}
void run(bool slopes, const RowForward<double>& r) {
  slopes ? HWY_DYNAMIC_DISPATCH(relax_f64)(r) : HWY_DYNAMIC_DISPATCH(sum_f64)(r);
}
void run(const RowBackward<float>& r) { HWY_DYNAMIC_DISPATCH(gradient_f32)(r); }
void run(const RowBackward<double>& r) { HWY_DYNAMIC_DISPATCH(gradient_f64)(r); }

}  // namespace mollify::nn::bounds

#endif  // HWY_ONCE
