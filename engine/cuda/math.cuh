// The arithmetic policy of the GPU: scalars of float or double, with exactly the interface of cpu/simd_math-inl.h, so
// that the formulas of engine/ops and smoothing compile unchanged as device code. Files that include it are compiled
// with --fmad=false: a·b + c stays two roundings where it is not written as fma.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#ifndef MOLLIFY_FN
#define MOLLIFY_FN __device__ __forceinline__
#endif

namespace mollify::cuda {

// Constants of e^x for one type: ln 2 in two parts, the first short enough that n times it is exact for |n| below 2^9
// (float), 2^11 (double); a magic number that leaves the nearest integer in a sum's last bits.
template <class T>
struct ExpFormat;
template <>
struct ExpFormat<float> {
  using Bits = uint32_t;
  static constexpr int kMantissaBits = 23, kBias = 127;
  static constexpr float kMagic = 0x1.8p23f, kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f, kBound = 174.0f;
  static MOLLIFY_FN Bits bits(float x) { return __float_as_uint(x); }
  static MOLLIFY_FN float number(Bits bits) { return __uint_as_float(bits); }
};
template <>
struct ExpFormat<double> {
  using Bits = uint64_t;
  static constexpr int kMantissaBits = 52, kBias = 1023;
  static constexpr double kMagic = 0x1.8p52, kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45,
                          kBound = 1416.0;
  static MOLLIFY_FN Bits bits(double x) { return static_cast<Bits>(__double_as_longlong(x)); }
  static MOLLIFY_FN double number(Bits bits) { return __longlong_as_double(static_cast<long long>(bits)); }
};

// A policy object is empty: pass it by value.
template <class T>
struct CudaMath {
  using Scalar = T;
  using V = T;
  using Mask = bool;
  static constexpr bool kFused = true;

  MOLLIFY_FN V set(double c) const { return static_cast<T>(c); }
  MOLLIFY_FN V zero() const { return T(0); }
  MOLLIFY_FN V one() const { return T(1); }

  MOLLIFY_FN V neg(V x) const { return -x; }
  MOLLIFY_FN V abs(V x) const { return std::fabs(x); }
  MOLLIFY_FN V copysign(V magnitude, V sign) const { return std::copysign(magnitude, sign); }
  MOLLIFY_FN V sqrt(V x) const { return std::sqrt(x); }
  MOLLIFY_FN V floor(V x) const { return std::floor(x); }
  MOLLIFY_FN V round(V x) const { return std::rint(x); }
  MOLLIFY_FN V fma(V a, V b, V c) const { return std::fma(a, b, c); }
  // a·b − p exactly, where p is a·b rounded.
  MOLLIFY_FN V product_error(V a, V b, V p) const { return std::fma(a, b, -p); }

  MOLLIFY_FN V min(V a, V b) const { return a < b || a != a ? a : b; }  // fmin would drop NaN
  MOLLIFY_FN V max(V a, V b) const { return a > b || a != a ? a : b; }

  MOLLIFY_FN Mask lt(V a, V b) const { return a < b; }
  MOLLIFY_FN Mask le(V a, V b) const { return a <= b; }
  MOLLIFY_FN Mask gt(V a, V b) const { return a > b; }
  MOLLIFY_FN Mask ge(V a, V b) const { return a >= b; }
  MOLLIFY_FN Mask eq(V a, V b) const { return a == b; }
  MOLLIFY_FN Mask ne(V a, V b) const { return a != b; }
  MOLLIFY_FN Mask is_nan(V x) const { return x != x; }
  MOLLIFY_FN Mask is_finite(V x) const { return x - x == T(0); }
  MOLLIFY_FN V select(Mask mask, V a, V b) const { return mask ? a : b; }
  MOLLIFY_FN Mask both(Mask a, Mask b) const { return a && b; }
  MOLLIFY_FN Mask either(Mask a, Mask b) const { return a || b; }
  MOLLIFY_FN Mask invert(Mask a) const { return !a; }
  MOLLIFY_FN bool any(Mask a) const { return a; }
  MOLLIFY_FN bool all(Mask a) const { return a; }

  // CUDA's accurate versions: at most 2 ulp, pow of float 4.
  MOLLIFY_FN V exp(V x) const { return std::exp(x); }
  MOLLIFY_FN V expm1(V x) const { return std::expm1(x); }
  MOLLIFY_FN V log(V x) const { return std::log(x); }
  MOLLIFY_FN V log1p(V x) const { return std::log1p(x); }
  MOLLIFY_FN V sin(V x) const { return std::sin(x); }
  MOLLIFY_FN V cos(V x) const { return std::cos(x); }
  MOLLIFY_FN V tanh(V x) const { return std::tanh(x); }
  // C's pow, but NaN in either argument gives NaN.
  MOLLIFY_FN V pow(V x, V y) const { return x != x || y != y ? x + y : std::pow(x, y); }

  // (a + a_low)·e^(x + x_low), rounded once more than a itself is; a subnormal or infinite e^x is no harm where the
  // product is normal, for |log a| < 60 (float) or 600 (double). x_low is below the last digit of x, a_low of a.
  // The last sum rounds to 1/2 ulp; what it adds to a is below 0.42 a, and two roundings and the fit of e^r − 1
  // (reduced) leave it wrong by less than 1/2 ulp of a. Powers of two are exact, but for the last one where the result
  // is subnormal.
  MOLLIFY_FN V exp_times(V a, V a_low, V x, V x_low) const {
    V magic_sum;
    const V m = reduced(max(min(x, Format::kBound), -Format::kBound), x_low, magic_sum);
    const V value = a + fma(a, m, fma(a_low, m, a_low));
    const Bits n = exponent(magic_sum), first = (n + 2 * Format::kBias) / 2 - Format::kBias;
    return value * power_of_two(first) * power_of_two(n - first);
  }

  // 2^lift·e^x where that is a normal number, and NaN for NaN.
  template <int lift>
  MOLLIFY_FN V exp_lifted(V x) const {
    V magic_sum;
    const V m = reduced(x, T(0), magic_sum);
    const V scale = power_of_two(exponent(magic_sum) + lift);
    return fma(m, scale, scale);
  }

 private:
  using Format = ExpFormat<T>;
  using Bits = typename Format::Bits;

  // The integer that a sum with the magic number holds, and 2^n of it, modulo 2^32 or 2^64. For a sum that is NaN these
  // are whatever bits: the other factor is then NaN.
  static MOLLIFY_FN Bits exponent(V magic_sum) { return Format::bits(magic_sum) - Format::bits(Format::kMagic); }
  static MOLLIFY_FN V power_of_two(Bits n) { return Format::number((n + Format::kBias) << Format::kMantissaBits); }

  MOLLIFY_FN V horner(V, double c) const { return set(c); }
  template <class... Rest>
  MOLLIFY_FN V horner(V x, double c, Rest... rest) const { return fma(horner(x, rest...), x, set(c)); }

  // x + x_low = n ln 2 + r with n the nearest integer; returns e^r − 1 = r + r² q(r), the CPU's Remez fit: an error of
  // 8.6e-10 (float), 1.9e-17 (double) relative to r. |r| < 0.3467 is right to half a unit of its last place, since n
  // times the high part of ln 2 is exact, as is what it leaves of x.
  MOLLIFY_FN V reduced(V x, V x_low, V& magic_sum) const {
    magic_sum = fma(x, set(1.4426950408889634), Format::kMagic);
    const V n = magic_sum - Format::kMagic;
    const V r = fma(-n, Format::kLn2Low, fma(-n, Format::kLn2High, x)) + x_low;
    V q;
    if constexpr (sizeof(T) == 4) {
      q = horner(r, 0.5, 0.166666672, 0.0416664816, 0.00833328161, 0.00139333517, 0.000199097427);
    } else {
      q = horner(r, 0.50000000000000056, 0.16666666666666666, 0.041666666666570949, 0.0083333333333313192,
                 0.0013888888933250671, 0.0001984126985678861, 2.4801503385063134e-05, 2.7557278149262352e-06,
                 2.7626755635346568e-07, 2.5095801292519134e-08);
    }
    return fma(r * r, q, r);
  }
};

}  // namespace mollify::cuda
