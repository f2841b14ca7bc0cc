// The arithmetic policy of the CPU: vectors of float or double with IEEE values at every edge (Highway's own Min, Max
// and math functions are wrong for NaN and infinities). The formulas of engine/ops are written once over such a policy.
#if defined(MOLLIFY_ENGINE_CPU_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_SIMD_MATH_INL_H_
#undef MOLLIFY_ENGINE_CPU_SIMD_MATH_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_SIMD_MATH_INL_H_
#endif

#include <hwy/highway.h>
#include <mollify/engine/cpu/simd_elementary-inl.h>
#include <mollify/engine/cpu/simd_pow-inl.h>
#include <mollify/engine/cpu/simd_trigonometry-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {

// D is hn::ScalableTag<T> or hn::CappedTag<T, 1>, T float or double. Addition, subtraction, multiplication and division
// are the operators of V. A policy object is empty but for its tag: pass it by value.
template <class D>
struct SimdMath {
  using Scalar = hn::TFromD<D>;
  using V = hn::Vec<D>;
  using Mask = hn::Mask<D>;
  // Whether fma rounds once; if not, exact products need Dekker's splitting (see product_error).
  static constexpr bool kFused = kFusedMultiplyAdd;

  D d;

  HWY_INLINE V set(double c) const { return hn::Set(d, static_cast<Scalar>(c)); }
  HWY_INLINE V zero() const { return hn::Zero(d); }
  HWY_INLINE V one() const { return set(1.0); }

  HWY_INLINE V neg(V x) const { return hn::Neg(x); }
  HWY_INLINE V abs(V x) const { return hn::Abs(x); }
  HWY_INLINE V copysign(V magnitude, V sign) const { return hn::CopySign(magnitude, sign); }
  HWY_INLINE V sqrt(V x) const { return hn::Sqrt(x); }
  // The sign is copied because the emulated roundings of some targets lose that of -0.
  HWY_INLINE V floor(V x) const { return hn::CopySign(hn::Floor(x), x); }
  HWY_INLINE V round(V x) const { return hn::CopySign(hn::Round(x), x); }
  HWY_INLINE V fma(V a, V b, V c) const { return hn::MulAdd(a, b, c); }
  // a*b - p exactly, where p is a*b rounded.
  HWY_INLINE V product_error(V a, V b, V p) const { return cpu::HWY_NAMESPACE::product_error(d, a, b, p); }

  HWY_INLINE V min(V a, V b) const { return hn::IfThenElse(is_nan(a), a, min_or_second(a, b)); }
  HWY_INLINE V max(V a, V b) const { return hn::IfThenElse(is_nan(a), a, max_or_second(a, b)); }

  HWY_INLINE Mask lt(V a, V b) const { return hn::Lt(a, b); }
  HWY_INLINE Mask le(V a, V b) const { return hn::Le(a, b); }
  HWY_INLINE Mask gt(V a, V b) const { return hn::Gt(a, b); }
  HWY_INLINE Mask ge(V a, V b) const { return hn::Ge(a, b); }
  HWY_INLINE Mask eq(V a, V b) const { return hn::Eq(a, b); }
  HWY_INLINE Mask ne(V a, V b) const { return hn::Not(hn::Eq(a, b)); }
  HWY_INLINE Mask is_nan(V x) const { return hn::IsNaN(x); }
  HWY_INLINE Mask is_finite(V x) const { return hn::IsFinite(x); }
  HWY_INLINE V select(Mask mask, V a, V b) const { return hn::IfThenElse(mask, a, b); }
  HWY_INLINE Mask both(Mask a, Mask b) const { return hn::And(a, b); }
  HWY_INLINE Mask either(Mask a, Mask b) const { return hn::Or(a, b); }
  HWY_INLINE Mask invert(Mask a) const { return hn::Not(a); }
  HWY_INLINE bool any(Mask a) const { return !hn::AllFalse(d, a); }
  HWY_INLINE bool all(Mask a) const { return hn::AllTrue(d, a); }

  HWY_INLINE V exp(V x) const { return cpu::HWY_NAMESPACE::exp(d, x); }
  // (a + a_low) * e^(x + x_low), rounded once more than `a` itself is; a subnormal or infinite e^x is no harm where the
  // product is normal, for |log a| < 60 (float) or 600 (double). x_low is below the last digit of x, a_low of a.
  HWY_INLINE V exp_times(V a, V a_low, V x, V x_low) const {
    return cpu::HWY_NAMESPACE::exp_times(d, a, a_low, x, x_low);
  }
  // 2^lift e^x where that is a normal number, and NaN for NaN.
  template <int lift>
  HWY_INLINE V exp_lifted(V x) const { return cpu::HWY_NAMESPACE::exp_lifted<lift>(d, x); }
  HWY_INLINE V expm1(V x) const { return cpu::HWY_NAMESPACE::expm1(d, x); }
  HWY_INLINE V log(V x) const { return cpu::HWY_NAMESPACE::log(d, x); }
  HWY_INLINE V log1p(V x) const { return cpu::HWY_NAMESPACE::log1p(d, x); }
  HWY_INLINE V sin(V x) const { return cpu::HWY_NAMESPACE::sin(d, x); }
  HWY_INLINE V cos(V x) const { return cpu::HWY_NAMESPACE::cos(d, x); }
  HWY_INLINE void sin_and_cos(V x, V& sin, V& cos) const { cpu::HWY_NAMESPACE::sin_and_cos(d, x, sin, cos); }
  HWY_INLINE V tanh(V x) const { return cpu::HWY_NAMESPACE::tanh(d, x); }
  HWY_INLINE V pow(V x, V y) const { return cpu::HWY_NAMESPACE::pow(d, x, y); }
};

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
