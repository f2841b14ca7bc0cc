// pow on Highway vectors of float or double: e^(y log x) with log x and the product in two words.
#if defined(MOLLIFY_ENGINE_CPU_SIMD_POW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_SIMD_POW_INL_H_
#undef MOLLIFY_ENGINE_CPU_SIMD_POW_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_SIMD_POW_INL_H_
#endif

#include <limits>

#include <hwy/highway.h>
#include <mollify/engine/cpu/simd_elementary-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {

// An unevaluated sum, |low| at most about half an ulp of high.
template <class V>
struct TwoWords {
  V high, low;
};

template <class D, class V>
HWY_INLINE TwoWords<V> multiply(D d, TwoWords<V> a, TwoWords<V> b) {
  const V p = a.high * b.high;
  return {p, product_error(d, a.high, b.high, p) + hn::MulAdd(a.high, b.low, a.low * b.high)};
}

// a + b for |a| >= |b| or a = 0.
template <class V>
HWY_INLINE TwoWords<V> add(V a, TwoWords<V> b) {
  const V sum = a + b.high;
  return {sum, (b.high - (sum - a)) + b.low};
}

// log(m) = 2s + 2/3 s^3 + s^5 P(s^2), s = (m - 1)/(m + 1), m in [sqrt(1/2), sqrt(2)); the first two terms in two words.
// The fit of P leaves 1.7e-9 (float), 1.2e-20 (double) of log(m).
template <class D, class V>
HWY_INLINE TwoWords<V> log_of_mantissa(D d, V m) {
  using T = hn::TFromD<D>;
  const V one = set(d, 1.0);
  const V f = m - one, denominator = m + one;
  const V denominator_low = m - (denominator - one);
  const V inverse = one / denominator;
  const V quotient = f * inverse;
  const V product = quotient * denominator;
  const V remainder = (f - product) - product_error(d, quotient, denominator, product);
  const TwoWords<V> s = {quotient, hn::NegMulAdd(quotient, denominator_low, remainder) * inverse};
  const TwoWords<V> z = multiply(d, s, s);
  constexpr double kTwoThirds = static_cast<double>(static_cast<T>(2.0 / 3.0));
  constexpr double kTwoThirdsLow = kSingle<D> ? 2.0 / 3.0 - kTwoThirds : 3.7007434154171886e-17;
  const TwoWords<V> cubic = multiply(d, multiply(d, s, z), TwoWords<V>{set(d, kTwoThirds), set(d, kTwoThirdsLow)});
  V p;
  if constexpr (kSingle<D>) {
    p = horner(d, z.high, 0.400001526, 0.285470843, 0.234198138);
  } else {
    p = horner(d, z.high, 0.40000000000002273, 0.28571428570091895, 0.22222222521352514, 0.1818178423725838,
               0.1538676351829682, 0.13256669213073191, 0.13197746177099634);
  }
  const V rest = hn::MulAdd(s.high * z.high, z.high * p, s.low + s.low);
  return add(s.high + s.high, add(cubic.high, TwoWords<V>{rest, cubic.low}));
}

// |x|^y for finite |x| > 0.
template <class D, class V>
HWY_INLINE V pow_of_magnitude(D d, V magnitude, V y) {
  using F = Format<hn::TFromD<D>>;
  V k, m, k_offset;
  split_binary(d, lift_subnormal(d, magnitude, k_offset), k, m);
  k = k + k_offset;
  const TwoWords<V> fraction = log_of_mantissa(d, m);
  TwoWords<V> logarithm = add(k * set(d, F::kLn2High), fraction);
  logarithm.low = hn::MulAdd(k, set(d, F::kLn2Low), logarithm.low);
  // Beyond this bound every base other than 1 gives 0 or infinity, and within it nothing overflows.
  const V limited = clamp(d, y, kSingle<D> ? 0x1p33 : 0x1p65);
  const V product = limited * logarithm.high;
  const V product_low = hn::MulAdd(limited, logarithm.low, product_error(d, limited, logarithm.high, product));
  const auto in_range = hn::Lt(hn::Abs(product), set(d, F::kExpBound));
  V magic_sum;
  const V e = reduce_exponent(d, clamp(d, product, F::kExpBound), hn::IfThenElseZero(in_range, product_low), magic_sum);
  return scale_by_power_of_two(d, set(d, 1.0) + e, magic_sum);
}

// C's pow, but NaN in either argument gives NaN.
template <class D, class V>
HWY_INLINE V pow(D d, V x, V y) {
  const V zero = hn::Zero(d), one = set(d, 1.0), infinity = set(d, std::numeric_limits<double>::infinity());
  const V magnitude = hn::Abs(x);
  V value = pow_of_magnitude(d, magnitude, y);
  const auto at_zero = hn::Eq(magnitude, zero), at_infinity = hn::Eq(magnitude, infinity);
  const auto grows = hn::Xor(at_zero, hn::Gt(y, zero));
  value = hn::IfThenElse(hn::Or(at_zero, at_infinity), hn::IfThenElseZero(grows, infinity), value);
  if (!hn::AllTrue(d, hn::Gt(x, zero))) {
    const V half_y = y * set(d, 0.5);
    const auto integer = hn::Eq(hn::Round(y), y);
    const auto odd = hn::And(integer, hn::Not(hn::Eq(hn::Round(half_y), half_y)));
    value = hn::IfThenElse(odd, hn::CopySign(value, x), value);
    const auto undefined = hn::And(hn::And(hn::Lt(x, zero), hn::Not(at_infinity)), hn::Not(integer));
    value = hn::IfThenElse(undefined, set(d, std::numeric_limits<double>::quiet_NaN()), value);
  }
  value = hn::IfThenElse(hn::Or(hn::Eq(y, zero), hn::Eq(x, one)), one, value);
  return hn::IfThenElse(hn::Or(hn::IsNaN(x), hn::IsNaN(y)), x + y, value);
}

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
