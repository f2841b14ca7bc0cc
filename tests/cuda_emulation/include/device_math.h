// CUDA's mathematics on the CPU: bits, conversions, rounding-mode arithmetic, and the functions <math.h> lacks.
// <math.h> gives the rest, unqualified, with its overloads for float. Fast variants (__expf, …) are the exact ones.
#pragma once

#include <cmath>
#include <math.h>  // NOLINT: puts C++'s overloads into the global namespace

#include <bit>
#include <cfloat>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <limits>

// Bits.
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
inline unsigned long long __brevll(unsigned long long x) {
  unsigned long long reversed = 0;
  for (int bit = 0; bit < 64; ++bit, x >>= 1) reversed = reversed << 1 | (x & 1);
  return reversed;
}
inline unsigned __brev(unsigned x) { return static_cast<unsigned>(__brevll(x) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<int64_t>(a) * b >> 32); }
__extension__ typedef unsigned __int128 emulation_uint128;
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<emulation_uint128>(a) * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline int __double2hiint(double x) { return static_cast<int>(std::bit_cast<uint64_t>(x) >> 32); }
inline int __double2loint(double x) { return static_cast<int>(std::bit_cast<uint64_t>(x)); }
inline double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(static_cast<uint64_t>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low));
}

// Conversions: saturating, with NaN to 0 for 32-bit integers and to the least one for 64-bit integers, as the
// instructions do.
namespace emulation {
template <class Integer>
inline Integer saturate(double x) {
  if (x != x) return sizeof(Integer) == 8 ? static_cast<Integer>(int64_t{1} << 63) : Integer{0};
  constexpr Integer least = std::numeric_limits<Integer>::min(), greatest = std::numeric_limits<Integer>::max();
  if (x <= static_cast<double>(least)) return least;
  if (x >= static_cast<double>(greatest)) return greatest;
  return static_cast<Integer>(x);
}
}  // namespace emulation
#define EMULATION_CONVERSIONS(mode, round)                                                                            \
  inline int __float2int_##mode(float x) { return emulation::saturate<int>(round(x)); }                               \
  inline int __double2int_##mode(double x) { return emulation::saturate<int>(round(x)); }                             \
  inline unsigned __float2uint_##mode(float x) { return emulation::saturate<unsigned>(round(x)); }                    \
  inline unsigned __double2uint_##mode(double x) { return emulation::saturate<unsigned>(round(x)); }                  \
  inline long long __float2ll_##mode(float x) { return emulation::saturate<long long>(round(x)); }                    \
  inline long long __double2ll_##mode(double x) { return emulation::saturate<long long>(round(x)); }                  \
  inline unsigned long long __double2ull_##mode(double x) { return emulation::saturate<unsigned long long>(round(x)); }
EMULATION_CONVERSIONS(rn, std::nearbyint)
EMULATION_CONVERSIONS(rz, std::trunc)
EMULATION_CONVERSIONS(rd, std::floor)
EMULATION_CONVERSIONS(ru, std::ceil)
#undef EMULATION_CONVERSIONS
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }

// Arithmetic that is never contracted.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __drcp_rn(double a) { return 1 / a; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }

// Fast variants.
inline float __expf(float x) { return std::exp(x); }
inline float __exp10f(float x) { return std::pow(10.0f, x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __log10f(float x) { return std::log10(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __tanf(float x) { return std::tan(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }

// Functions; later C libraries have those of C23.
namespace emulation {
// sin(πx) and cos(πx): x is reduced exactly to a multiple of 1/2 and at most 1/4 more.
template <class Real, class Wide>
inline void sincospi(Real x, Real& sine, Real& cosine) {
  const Real halves = std::nearbyint(2 * std::fmod(x, Real{2}));
  const Wide angle = static_cast<Wide>(3.14159265358979323846264338327950288L) * (std::fmod(x, Real{2}) - halves / 2);
  const Real s = static_cast<Real>(std::sin(angle)), c = static_cast<Real>(std::cos(angle));
  if (!std::isfinite(x)) {
    sine = cosine = std::numeric_limits<Real>::quiet_NaN();
    return;
  }
  switch (static_cast<int>(halves) & 3) {
    case 0: sine = s, cosine = c; break;
    case 1: sine = c, cosine = -s; break;
    case 2: sine = -s, cosine = -c; break;
    default: sine = -c, cosine = s;
  }
  if (sine == 0) sine = std::copysign(Real{0}, x);
  if (cosine == 0) cosine = 0;
}
}  // namespace emulation
inline void sincospif(float x, float* sine, float* cosine) { emulation::sincospi<float, double>(x, *sine, *cosine); }
inline void sincospi(double x, double* sine, double* cosine) {
  emulation::sincospi<double, long double>(x, *sine, *cosine);
}
#if !__GLIBC_PREREQ(2, 41)
inline float sinpif(float x) {
  float sine, cosine;
  sincospif(x, &sine, &cosine);
  return sine;
}
inline float cospif(float x) {
  float sine, cosine;
  sincospif(x, &sine, &cosine);
  return cosine;
}
inline double sinpi(double x) {
  double sine, cosine;
  sincospi(x, &sine, &cosine);
  return sine;
}
inline double cospi(double x) {
  double sine, cosine;
  sincospi(x, &sine, &cosine);
  return cosine;
}
#endif
#if !__GLIBC_PREREQ(2, 42)
inline float rsqrtf(float x) { return static_cast<float>(1 / std::sqrt(static_cast<double>(x))); }
inline double rsqrt(double x) { return static_cast<double>(1 / std::sqrt(static_cast<long double>(x))); }
#endif
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
inline float normcdff(float x) { return static_cast<float>(normcdf(x)); }

// Least and greatest: as fmin and fmax where a float is given, else with the usual conversions.
template <class A, class B>
  requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
inline auto min(A a, B b) {
  using Common = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<Common>) return std::fmin(static_cast<Common>(a), static_cast<Common>(b));
  else return static_cast<Common>(a) < static_cast<Common>(b) ? static_cast<Common>(a) : static_cast<Common>(b);
}
template <class A, class B>
  requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
inline auto max(A a, B b) {
  using Common = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<Common>) return std::fmax(static_cast<Common>(a), static_cast<Common>(b));
  else return static_cast<Common>(a) > static_cast<Common>(b) ? static_cast<Common>(a) : static_cast<Common>(b);
}
