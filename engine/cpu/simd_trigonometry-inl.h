// sin and cos on Highway vectors of float or double.
#if defined(MOLLIFY_ENGINE_CPU_SIMD_TRIGONOMETRY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_SIMD_TRIGONOMETRY_INL_H_
#undef MOLLIFY_ENGINE_CPU_SIMD_TRIGONOMETRY_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_SIMD_TRIGONOMETRY_INL_H_
#endif

#include <cmath>

#include <hwy/highway.h>
#include <mollify/engine/cpu/simd_elementary-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {

// x - n pi/2 by Cody and Waite: pi/2 in four parts, the first three short enough that n times them is exact for
// |n| < 2^13 (float) or 2^20 (double).
template <class D, class V>
HWY_INLINE V subtract_quarter_turns(D d, V x, V n) {
  if constexpr (kSingle<D>) {
    x = hn::NegMulAdd(n, set(d, 0x1.92p+0), x);
    x = hn::NegMulAdd(n, set(d, 0x1.fb4p-12), x);
    x = hn::NegMulAdd(n, set(d, 0x1.444p-24), x);
    return hn::NegMulAdd(n, set(d, 0x1.68c234c4c6629p-39), x);
  } else {
    x = hn::NegMulAdd(n, set(d, 0x1.921fb544p+0), x);
    x = hn::NegMulAdd(n, set(d, 0x1.0b4611a6p-34), x);
    x = hn::NegMulAdd(n, set(d, 0x1.3198a2ep-69), x);
    return hn::NegMulAdd(n, set(d, 0x1.b839a252049c1p-104), x);
  }
}

// sin(r) = r + r^3 S(r^2) for |r| <= pi/4: error 5.6e-9 (float), 3.5e-18 (double).
template <class D, class V>
HWY_INLINE V sin_reduced(D d, V r, V z) {
  V s;
  if constexpr (kSingle<D>) {
    s = horner(d, z, -0.166666552, 0.00833217613, -0.000195169778);
  } else {
    s = horner(d, z, -0.16666666666666632, 0.0083333333333223698, -0.00019841269829771313, 2.7557313678706788e-06,
               -2.5050755966727294e-08, 1.5896666772606193e-10);
  }
  return hn::MulAdd(r * z, s, r);
}

// cos(r) = 1 - r^2/2 + r^4 C(r^2) for |r| <= pi/4: error 4.9e-10 (float), 4.8e-20 (double).
template <class D, class V>
HWY_INLINE V cos_reduced(D d, V z) {
  V c;
  if constexpr (kSingle<D>) {
    c = horner(d, z, 0.0416666456, -0.00138873642, 2.44380917e-05);
  } else {
    c = horner(d, z, 0.041666666666666602, -0.0013888888888874064, 2.480158728944358e-05, -2.7557314340683606e-07,
               2.0875721626696598e-09, -1.1359559476718334e-11);
  }
  return hn::MulAdd(z, hn::MulAdd(c, z, set(d, -0.5)), set(d, 1.0));
}

// x within the reduction's reach, less its nearest quarter turns, whose number has small_integer(magic_sum).
template <class D>
struct Reduced {
  using V = hn::Vec<D>;
  V magic_sum, sin, cos;  // sine and cosine of what is left

  HWY_INLINE Reduced(D d, V x) {
    using F = Format<hn::TFromD<D>>;
    magic_sum = hn::MulAdd(x, set(d, 0.63661977236758134), set(d, F::kMagic));
    const V r = subtract_quarter_turns(d, x, magic_sum - set(d, F::kMagic)), z = r * r;
    sin = sin_reduced(d, r, z);
    cos = cos_reduced(d, z);
  }

  // sin(x + quarter_turns pi/2) with quarter_turns 0 or 1.
  HWY_INLINE V shifted(D d, int quarter_turns) const {
    const hn::RebindToSigned<D> di;
    using Int = hn::TFromD<decltype(di)>;
    const auto quadrant = hn::Add(small_integer(d, magic_sum), hn::Set(di, static_cast<Int>(quarter_turns)));
    const auto odd = hn::RebindMask(d, hn::Eq(hn::And(quadrant, hn::Set(di, Int{1})), hn::Set(di, Int{1})));
    const V value = hn::IfThenElse(odd, cos, sin);
    // Quadrants 2 and 3 change the sign: bit 1 moved to the sign bit.
    constexpr int kSignShift = static_cast<int>(sizeof(Int)) * 8 - 2;
    const auto flip = hn::ShiftLeft<kSignShift>(hn::And(quadrant, hn::Set(di, Int{2})));
    return hn::Xor(value, hn::BitCast(d, flip));
  }
};

// Arguments beyond the reduction's reach (infinities and NaN included) go to the C library one by one.
template <class D, class V>
HWY_INLINE V sin_or_cos(D d, V x, int quarter_turns) {
  using T = hn::TFromD<D>;
  const auto near = hn::Le(hn::Abs(x), set(d, kSingle<D> ? 12000.0 : 1.6e6));
  const V value = Reduced<D>(d, hn::IfThenElseZero(near, x)).shifted(d, quarter_turns);
  if (hn::AllTrue(d, near)) return value;
  alignas(64) T arguments[hn::MaxLanes(D())];
  hn::Store(x, d, arguments);
  for (size_t i = 0; i < hn::Lanes(d); i++)
    arguments[i] = quarter_turns ? std::cos(arguments[i]) : std::sin(arguments[i]);
  return hn::IfThenElse(near, value, hn::Load(d, arguments));
}

template <class D, class V>
HWY_INLINE V sin(D d, V x) {
  // -0 is lost in the reduction.
  return hn::IfThenElse(hn::Lt(hn::Abs(x), set(d, kSingle<D> ? 0x1p-14 : 0x1p-28)), x, sin_or_cos(d, x, 0));
}

template <class D, class V>
HWY_INLINE V cos(D d, V x) {
  return sin_or_cos(d, x, 1);
}

// Both, to the same bits, of numbers within the reduction's reach and not -0.
template <class D, class V>
HWY_INLINE void sin_and_cos(D d, V x, V& sin, V& cos) {
  const Reduced<D> reduced(d, x);
  sin = reduced.shifted(d, 0);
  cos = reduced.shifted(d, 1);
}

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
