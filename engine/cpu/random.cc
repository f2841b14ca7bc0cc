#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/random.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/simd_math-inl.h>

#include <mollify/engine/cpu/random.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// High and low halves of the products of 32-bit lanes.
template <class D, class V>
HWY_INLINE void multiply_wide(D du, V a, uint32_t constant, V& high, V& low) {
#if HWY_TARGET == HWY_SCALAR
  const uint64_t product = uint64_t{hn::GetLane(a)} * constant;
  high = hn::Set(du, static_cast<uint32_t>(product >> 32));
  low = hn::Set(du, static_cast<uint32_t>(product));
#else
  const auto c = hn::Set(du, constant);
  const auto even = hn::BitCast(du, hn::MulEven(a, c));
  const auto odd =
      hn::BitCast(du, hn::MulEven(hn::BitCast(du, hn::ShiftRight<32>(hn::BitCast(hn::RepartitionToWide<D>(), a))), c));
  const hn::RepartitionToWide<D> du64;
  high = hn::OddEven(odd, hn::BitCast(du, hn::ShiftRight<32>(hn::BitCast(du64, even))));
  low = hn::OddEven(hn::BitCast(du, hn::ShiftLeft<32>(hn::BitCast(du64, odd))), even);
#endif
}

// random_words of engine/random.h for consecutive blocks, one a lane.
template <class D, class V>
HWY_INLINE void philox(D du, RandomKey key, uint32_t step, uint32_t block, V& c0, V& c1, V& c2, V& c3) {
  c0 = hn::Iota(du, block);
  c1 = hn::Set(du, step);
  c2 = hn::Set(du, static_cast<uint32_t>(key.stream));
  c3 = hn::Set(du, static_cast<uint32_t>(key.stream >> 32));
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    V high0, low0, high1, low1;
    multiply_wide(du, c0, 0xD2511F53u, high0, low0);
    multiply_wide(du, c2, 0xCD9E8D57u, high1, low1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(du, k0));
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(du, k1));
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

template <class M, class V>
HWY_INLINE void box_muller(M m, V& u, V& v) {
  const V radius = m.sqrt(m.log(u) * m.set(-2.0)), angle = v * m.set(6.283185307179586);
  u = radius * m.cos(angle);
  v = radius * m.sin(angle);
}

template <int parts, class D, class V, class T>
HWY_INLINE void store_interleaved(D d, const V* part, T* out) {
#if HWY_TARGET == HWY_SCALAR
  (void)d;
  for (int j = 0; j < parts; ++j) out[j] = hn::GetLane(part[j]);
#else
  if constexpr (parts == 4) hn::StoreInterleaved4(part[0], part[1], part[2], part[3], d, out);
  else hn::StoreInterleaved2(part[0], part[1], d, out);
#endif
}

// Four numbers a Philox block.
template <bool is_normal>
HWY_INLINE void numbers(hn::ScalableTag<float> d, RandomKey key, uint32_t step, uint32_t block, float* out) {
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::RebindToSigned<decltype(d)> di;
  const SimdMath<decltype(d)> m{d};
  hn::Vec<decltype(du)> w[4];
  philox(du, key, step, block, w[0], w[1], w[2], w[3]);
  hn::Vec<decltype(d)> u[4];
  for (int j = 0; j < 4; ++j)
    u[j] = (hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<9>(w[j]))) + m.set(0.5)) * m.set(0x1p-23);
  if constexpr (is_normal) {
    box_muller(m, u[0], u[1]);
    box_muller(m, u[2], u[3]);
  }
  store_interleaved<4>(d, u, out);
}

// Two numbers a Philox block. The 52 bits are put in the mantissa of [1, 2), so that no integer is converted.
template <bool is_normal>
HWY_INLINE void numbers(hn::ScalableTag<double> d, RandomKey key, uint32_t step, uint32_t block, double* out) {
  const hn::RebindToUnsigned<decltype(d)> du64;
  const hn::Rebind<uint32_t, decltype(d)> du;
  const SimdMath<decltype(d)> m{d};
  hn::Vec<decltype(du)> w[4];
  philox(du, key, step, block, w[0], w[1], w[2], w[3]);
  hn::Vec<decltype(d)> u[2];
  for (int j = 0; j < 2; ++j) {
    const auto bits = hn::Or(hn::ShiftLeft<32>(hn::PromoteTo(du64, w[2 * j])), hn::PromoteTo(du64, w[2 * j + 1]));
    const auto one_to_two = hn::Or(hn::ShiftRight<12>(bits), hn::Set(du64, uint64_t{0x3FF0000000000000}));
    u[j] = hn::BitCast(d, one_to_two) - m.one() + m.set(0x1p-53);
  }
  if constexpr (is_normal) box_muller(m, u[0], u[1]);
  store_interleaved<2>(d, u, out);
}

template <bool is_normal, class T>
void draw_blocks(RandomKey key, uint32_t step, uint32_t block, int64_t count, T* out) {
  const hn::ScalableTag<T> d;
  constexpr int64_t kPerBlock = sizeof(T) == 4 ? 4 : 2;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  while (count >= lanes * kPerBlock) {
    numbers<is_normal>(d, key, step, block, out);
    block += static_cast<uint32_t>(lanes);
    out += lanes * kPerBlock;
    count -= lanes * kPerBlock;
  }
  if (count == 0) return;
  T rest[HWY_MAX_BYTES / sizeof(T) * kPerBlock];
  numbers<is_normal>(d, key, step, block, rest);
  for (int64_t i = 0; i < count; ++i) out[i] = rest[i];
}

void uniform_f32(RandomKey key, uint32_t step, uint32_t block, int64_t count, float* out) {
  draw_blocks<false>(key, step, block, count, out);
}
void uniform_f64(RandomKey key, uint32_t step, uint32_t block, int64_t count, double* out) {
  draw_blocks<false>(key, step, block, count, out);
}
void normal_f32(RandomKey key, uint32_t step, uint32_t block, int64_t count, float* out) {
  draw_blocks<true>(key, step, block, count, out);
}
void normal_f64(RandomKey key, uint32_t step, uint32_t block, int64_t count, double* out) {
  draw_blocks<true>(key, step, block, count, out);
}

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/threads.h>

#include <algorithm>

namespace mollify::cpu {

HWY_EXPORT(uniform_f32);
HWY_EXPORT(uniform_f64);
HWY_EXPORT(normal_f32);
HWY_EXPORT(normal_f64);

template <class T>
void draw(Distribution distribution, RandomKey key, uint32_t step, int64_t first, int64_t count, T* out) {
  constexpr int64_t kGrain = 8192, kPerBlock = sizeof(T) == 4 ? 4 : 2;
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    const auto block = static_cast<uint32_t>((first + begin) / kPerBlock);
    if constexpr (sizeof(T) == 4) {
      if (distribution == Distribution::normal)
        HWY_DYNAMIC_DISPATCH(normal_f32)(key, step, block, end - begin, out + begin);
      else HWY_DYNAMIC_DISPATCH(uniform_f32)(key, step, block, end - begin, out + begin);
    } else {
      if (distribution == Distribution::normal)
        HWY_DYNAMIC_DISPATCH(normal_f64)(key, step, block, end - begin, out + begin);
      else HWY_DYNAMIC_DISPATCH(uniform_f64)(key, step, block, end - begin, out + begin);
    }
  });
}

template void draw(Distribution, RandomKey, uint32_t, int64_t, int64_t, float*);
template void draw(Distribution, RandomKey, uint32_t, int64_t, int64_t, double*);

}  // namespace mollify::cpu

#endif  // HWY_ONCE
