// exp, expm1, log, log1p and tanh on Highway vectors of float or double, and what sin, cos and pow share with them.
// The polynomials are Remez fits (60-digit arithmetic, relative error of the function as weight); the error behind each
// one is that of the function it serves.
#if defined(MOLLIFY_ENGINE_CPU_SIMD_ELEMENTARY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_SIMD_ELEMENTARY_INL_H_
#undef MOLLIFY_ENGINE_CPU_SIMD_ELEMENTARY_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_SIMD_ELEMENTARY_INL_H_
#endif

#include <cstdint>
#include <limits>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_SSE4
inline constexpr bool kFusedMultiplyAdd = false;
#else
inline constexpr bool kFusedMultiplyAdd = true;
#endif

template <class D>
inline constexpr bool kSingle = sizeof(hn::TFromD<D>) == 4;

// The layout of float and double, and constants cut so that products with small integers are exact without fused
// arithmetic.
template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr int kMantissaBits = 23, kBias = 127;
  static constexpr double kMagic = 0x1.8p23;  // adding it leaves the nearest integer in the last bits
  static constexpr double kLn2High = 0x1.62e4p-1, kLn2Low = 0x1.7f7d1cf79abcap-20;
  static constexpr double kExpBound = 174.0;  // both halves of the scaling stay normal
  static constexpr double kSplitter = 4097.0;
};
template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr int kMantissaBits = 52, kBias = 1023;
  static constexpr double kMagic = 0x1.8p52;
  static constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
  static constexpr double kExpBound = 1416.0;
  static constexpr double kSplitter = 134217729.0;
};

template <class D>
HWY_INLINE hn::Vec<D> set(D d, double c) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(c));
}

// c0 + x (c1 + x (c2 + ...)).
template <class D, class V>
HWY_INLINE V horner(D d, V, double c) {
  return set(d, c);
}
template <class D, class V, class... Rest>
HWY_INLINE V horner(D d, V x, double c, Rest... rest) {
  return hn::MulAdd(horner(d, x, rest...), x, set(d, c));
}

// Minimum and maximum that give b where either argument is NaN (what the x86 instructions do).
template <class V>
HWY_INLINE V min_or_second(V a, V b) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Min(a, b);
#else
  return hn::IfThenElse(hn::Lt(a, b), a, b);
#endif
}
template <class V>
HWY_INLINE V max_or_second(V a, V b) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Max(a, b);
#else
  return hn::IfThenElse(hn::Gt(a, b), a, b);
#endif
}

// x limited to [-bound, bound]; NaN stays NaN.
template <class D, class V>
HWY_INLINE V clamp(D d, V x, double bound) {
  return max_or_second(set(d, -bound), min_or_second(set(d, bound), x));
}

// a*b - p exactly, p being a*b rounded: by fused multiply-add, or by Dekker's product with Veltkamp's splitting.
template <class D, class V>
HWY_INLINE V product_error(D d, V a, V b, V p) {
  if constexpr (kFusedMultiplyAdd) {
    return hn::MulSub(a, b, p);
  } else {
    const V splitter = set(d, Format<hn::TFromD<D>>::kSplitter);
    const V a_scaled = a * splitter, b_scaled = b * splitter;
    const V a_high = a_scaled - (a_scaled - a), b_high = b_scaled - (b_scaled - b);
    const V a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low;
  }
}

// An integer-valued n as an integer vector, |n| < 2^20.
template <class D, class V>
HWY_INLINE auto small_integer(D d, V magic_sum) {
  const hn::RebindToSigned<D> di;
  return hn::Sub(hn::BitCast(di, magic_sum), hn::BitCast(di, set(d, Format<hn::TFromD<D>>::kMagic)));
}

// v * 2^n, rounded once, for n = magic_sum - kMagic.
template <class D, class V>
HWY_INLINE V scale_by_power_of_two(D d, V v, V magic_sum) {
  using F = Format<hn::TFromD<D>>;
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du;
  // Halved in biased form: the shift is then of a non-negative number, which every target has.
  const auto n = small_integer(d, magic_sum);
  const auto biased = hn::Add(n, hn::Set(di, 2 * F::kBias));
  const auto first = hn::BitCast(di, hn::ShiftRight<1>(hn::BitCast(du, biased)));
  const auto second = hn::Sub(biased, first);
  const V first_factor = hn::BitCast(d, hn::ShiftLeft<F::kMantissaBits>(first));
  const V second_factor = hn::BitCast(d, hn::ShiftLeft<F::kMantissaBits>(second));
  return v * first_factor * second_factor;
}

// e^r - 1 for |r| < 0.3467: r + r^2 q(r). Error 8.6e-10 (float), 1.9e-17 (double) relative to r.
template <class D, class V>
HWY_INLINE V expm1_reduced(D d, V r) {
  V q;
  if constexpr (kSingle<D>) {
    q = horner(d, r, 0.5, 0.166666672, 0.0416664816, 0.00833328161, 0.00139333517, 0.000199097427);
  } else {
    q = horner(d, r, 0.50000000000000056, 0.16666666666666666, 0.041666666666570949, 0.0083333333333313192,
               0.0013888888933250671, 0.0001984126985678861, 2.4801503385063134e-05, 2.7557278149262352e-06,
               2.7626755635346568e-07, 2.5095801292519134e-08);
  }
  return hn::MulAdd(r * r, q, r);
}

// Writes x = n ln 2 + r with n = magic_sum - kMagic the nearest integer; returns e^r - 1.
template <class D, class V>
HWY_INLINE V reduce_exponent(D d, V x, V x_low, V& magic_sum) {
  using F = Format<hn::TFromD<D>>;
  magic_sum = hn::MulAdd(x, set(d, 1.4426950408889634), set(d, F::kMagic));
  const V n = magic_sum - set(d, F::kMagic);
  V r = hn::NegMulAdd(n, set(d, F::kLn2High), x);
  r = hn::NegMulAdd(n, set(d, F::kLn2Low), r) + x_low;
  return expm1_reduced(d, r);
}

template <class D, class V>
HWY_INLINE V exp(D d, V x) {
  V magic_sum;
  const V m = reduce_exponent(d, clamp(d, x, Format<hn::TFromD<D>>::kExpBound), hn::Zero(d), magic_sum);
  return scale_by_power_of_two(d, set(d, 1.0) + m, magic_sum);
}

template <class D, class V>
HWY_INLINE V exp_times(D d, V a, V a_low, V x, V x_low) {
  V magic_sum;
  const V m = reduce_exponent(d, clamp(d, x, Format<hn::TFromD<D>>::kExpBound), x_low, magic_sum);
  const V v = a + hn::MulAdd(a, m, hn::MulAdd(a_low, m, a_low));
  return scale_by_power_of_two(d, v, magic_sum);
}

// 2^lift e^x where that is a normal number, and NaN for NaN: half the work of exp.
template <int lift, class D, class V>
HWY_INLINE V exp_lifted(D d, V x) {
  using F = Format<hn::TFromD<D>>;
  const hn::RebindToSigned<D> di;
  V magic_sum;
  const V m = reduce_exponent(d, x, hn::Zero(d), magic_sum);
  const auto exponent = hn::Add(small_integer(d, magic_sum), hn::Set(di, F::kBias + lift));
  const V scale = hn::BitCast(d, hn::ShiftLeft<F::kMantissaBits>(exponent));
  return hn::MulAdd(m, scale, scale);
}

// 2^n (e^r - 1) + (2^n - 1), carried at half its size so that the top of the range does not overflow early.
template <class D, class V>
HWY_INLINE V expm1(D d, V x) {
  using F = Format<hn::TFromD<D>>;
  V magic_sum;
  const V upper = min_or_second(set(d, kSingle<D> ? 89.0 : 710.0), x);
  const V limited = max_or_second(set(d, kSingle<D> ? -30.0 : -60.0), upper);
  const V m = reduce_exponent(d, limited, hn::Zero(d), magic_sum);
  const hn::RebindToSigned<D> di;
  const auto exponent = hn::Add(small_integer(d, magic_sum), hn::Set(di, F::kBias - 1));
  const V half_scale = hn::BitCast(d, hn::ShiftLeft<F::kMantissaBits>(exponent));
  const V half = hn::MulAdd(m, half_scale, half_scale - set(d, 0.5));
  // Below epsilon/4 the result is x, -0 and subnormals included.
  const auto tiny = hn::Lt(hn::Abs(x), set(d, kSingle<D> ? 0x1p-26 : 0x1p-55));
  return hn::IfThenElse(tiny, x, half + half);
}

// x = 2^k m with m in [sqrt(1/2), sqrt(2)), for normal positive x.
template <class D, class V>
HWY_INLINE void split_binary(D d, V x, V& k, V& m) {
  using T = hn::TFromD<D>;
  using F = Format<T>;
  using Bits = typename F::Bits;
  const hn::RebindToUnsigned<D> du;
  const auto sqrt_half = hn::BitCast(du, set(d, 0.70710678118654752));
  const auto bias = hn::Set(du, static_cast<Bits>(F::kBias) << F::kMantissaBits);
  const auto u = hn::Add(hn::Sub(hn::BitCast(du, x), sqrt_half), bias);
  const auto biased = hn::ShiftRight<F::kMantissaBits>(u);
  const auto magic = hn::BitCast(du, set(d, F::kMagic));
  k = hn::BitCast(d, hn::Add(biased, magic)) - set(d, F::kMagic + F::kBias);
  const auto mantissa = hn::And(u, hn::Set(du, (Bits{1} << F::kMantissaBits) - 1));
  m = hn::BitCast(d, hn::Add(mantissa, sqrt_half));
}

// k ln 2 + log(1 + f) + low, for 1 + f in [sqrt(1/2), sqrt(2)). float: f - f^2/2 + f^3 P(f), error 6.4e-9; double, with
// s = f / (2 + f): f - s (f - s^2 L(s^2)), error 1.3e-18.
template <class D, class V>
HWY_INLINE V log_sum(D d, V k, V f, V low) {
  using F = Format<hn::TFromD<D>>;
  low = hn::MulAdd(k, set(d, F::kLn2Low), low);
  const V high = set(d, F::kLn2High);
  if constexpr (kSingle<D>) {
    const V square = f * f;
    const V p = horner(d, f, 0.333333313, -0.250008196, 0.200012267, -0.166233569, 0.142017573, -0.131601796,
                       0.127615795, -0.0763450414);
    const V tail = hn::MulAdd(square, set(d, -0.5), hn::MulAdd(square * f, p, low));
    return hn::MulAdd(k, high, f + tail);
  } else {
    const V s = f / (f + set(d, 2.0));
    const V z = s * s;
    const V l = horner(d, z, 0.66666666666667351, 0.39999999999411096, 0.28571428743261834, 0.22222198476116337,
                       0.18183569731612698, 0.15313903480505622, 0.14797505199529643);
    return hn::MulAdd(k, high, f - hn::MulSub(s, f - z * l, low));
  }
}

// The values of log at its edges: -inf at 0, NaN below, +inf at +inf, NaN at NaN; elsewhere `value`.
template <class D, class V>
HWY_INLINE V log_edges(D d, V x, V value) {
  const V infinity = set(d, std::numeric_limits<double>::infinity());
  value = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), value);
  value = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), set(d, std::numeric_limits<double>::quiet_NaN()), value);
  return hn::IfThenElse(hn::Or(hn::Eq(x, infinity), hn::IsNaN(x)), x, value);
}

// Normal, positive and finite.
template <class D, class V>
HWY_INLINE auto is_ordinary(D d, V x) {
  using L = std::numeric_limits<hn::TFromD<D>>;
  return hn::And(hn::Ge(x, hn::Set(d, L::min())), hn::Le(x, hn::Set(d, L::max())));
}

// Makes subnormal x normal by a power of two; k_offset is what that adds to the exponent.
template <class D, class V>
HWY_INLINE V lift_subnormal(D d, V x, V& k_offset) {
  const auto subnormal = hn::Lt(x, hn::Set(d, std::numeric_limits<hn::TFromD<D>>::min()));
  k_offset = hn::IfThenElse(subnormal, set(d, -64.0), hn::Zero(d));
  return hn::IfThenElse(subnormal, x * set(d, 0x1p64), x);
}

template <class D, class V>
HWY_INLINE V log(D d, V x) {
  const bool ordinary = hn::AllTrue(d, is_ordinary(d, x));
  V k, m, k_offset = hn::Zero(d), lifted = x;
  if (!ordinary) lifted = lift_subnormal(d, x, k_offset);
  split_binary(d, lifted, k, m);
  const V value = log_sum(d, k + k_offset, m - set(d, 1.0), hn::Zero(d));
  return ordinary ? value : log_edges(d, x, value);
}

// log(u) + c/u, where u is 1 + x rounded and c what the rounding lost.
template <class D, class V>
HWY_INLINE V log1p(D d, V x) {
  const V one = set(d, 1.0);
  const V u = x + one;
  const V x_part = u - one;
  const V lost = (x - x_part) + (one - (u - x_part));
  V k, m;
  split_binary(d, u, k, m);
  const auto near_one = hn::Eq(k, hn::Zero(d));
  const V f = hn::IfThenElse(near_one, x, m - one);
  const V value = log_sum(d, k, f, hn::IfThenElse(near_one, hn::Zero(d), lost / u));
  const auto tiny = hn::Lt(hn::Abs(x), set(d, kSingle<D> ? 0x1p-26 : 0x1p-55));
  const V result = hn::IfThenElse(tiny, x, value);
  return hn::AllTrue(d, is_ordinary(d, u)) ? result : log_edges(d, u, result);
}

// e / (e + 2) with e = e^(2|x|) - 1.
template <class D, class V>
HWY_INLINE V tanh(D d, V x) {
  const V limited = min_or_second(set(d, kSingle<D> ? 10.0 : 20.0), hn::Abs(x));
  const V e = expm1(d, limited + limited);
  const V tiny = set(d, kSingle<D> ? 0x1p-14 : 0x1p-28);
  return hn::IfThenElse(hn::Lt(limited, tiny), x, hn::CopySign(e / (e + set(d, 2.0)), x));
}

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
