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
  V sin, cos;
  m.sin_and_cos(angle, sin, cos);
  u = radius * cos;
  v = radius * sin;
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

// What N uniform vectors become.
template <Distribution distribution, int N, class M, class V>
HWY_INLINE void shape_numbers(M m, V* u) {
  if constexpr (distribution == Distribution::normal)
    for (int j = 0; j < N; j += 2) box_muller(m, u[j], u[j + 1]);
  if constexpr (distribution == Distribution::signs)
    for (int j = 0; j < N; ++j) u[j] = hn::CopySign(m.one(), u[j] - m.set(0.5));
}

// Four numbers a Philox block.
template <Distribution distribution>
HWY_INLINE void numbers(hn::ScalableTag<float> d, RandomKey key, uint32_t step, uint32_t block, float* out) {
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::RebindToSigned<decltype(d)> di;
  const SimdMath<decltype(d)> m{d};
  hn::Vec<decltype(du)> w[4];
  philox(du, key, step, block, w[0], w[1], w[2], w[3]);
  hn::Vec<decltype(d)> u[4];
  for (int j = 0; j < 4; ++j)
    u[j] = (hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<9>(w[j]))) + m.set(0.5)) * m.set(0x1p-23);
  shape_numbers<distribution, 4>(m, u);
  store_interleaved<4>(d, u, out);
}

// Two numbers a Philox block. The 52 bits are put in the mantissa of [1, 2), so that no integer is converted.
template <Distribution distribution>
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
  shape_numbers<distribution, 2>(m, u);
  store_interleaved<2>(d, u, out);
}

// Calls f(numbers, how many of them count) for one vector of blocks after another.
template <Distribution distribution, class T, class F>
HWY_INLINE void for_blocks(RandomKey key, uint32_t step, uint32_t block, int64_t count, const F& f) {
  const hn::ScalableTag<T> d;
  constexpr int64_t kPerBlock = sizeof(T) == 4 ? 4 : 2;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  T drawn[HWY_MAX_BYTES / sizeof(T) * kPerBlock];
  for (int64_t first = 0; first < count; first += lanes * kPerBlock, block += static_cast<uint32_t>(lanes)) {
    numbers<distribution>(d, key, step, block, drawn);
    f(first, drawn, HWY_MIN(lanes * kPerBlock, count - first));
  }
}

template <Distribution distribution, class T>
void draw_blocks(RandomKey key, uint32_t step, uint32_t block, int64_t count, T* out) {
  const hn::ScalableTag<T> d;
  constexpr int64_t kPerBlock = sizeof(T) == 4 ? 4 : 2;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  while (count >= lanes * kPerBlock) {
    numbers<distribution>(d, key, step, block, out);
    block += static_cast<uint32_t>(lanes);
    out += lanes * kPerBlock;
    count -= lanes * kPerBlock;
  }
  for_blocks<distribution, T>(key, step, block, count, [&](int64_t, const T* drawn, int64_t n) {
    for (int64_t i = 0; i < n; ++i) out[i] = drawn[i];
  });
}

// out[i] += coefficient·number i
template <Distribution distribution, class T>
void add_blocks(RandomKey key, uint32_t step, uint32_t block, int64_t count, T coefficient, T* out) {
  const hn::ScalableTag<T> d;
  const hn::CappedTag<T, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto add = [&](auto tag, const T* drawn, T* to) {
    hn::StoreU(hn::MulAdd(hn::Set(tag, coefficient), hn::LoadU(tag, drawn), hn::LoadU(tag, to)), tag, to);
  };
  for_blocks<distribution, T>(key, step, block, count, [&](int64_t first, const T* drawn, int64_t n) {
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) add(d, drawn + i, out + first + i);
    for (; i < n; ++i) add(one, drawn + i, out + first + i);
  });
}

template <class T>
void draw_numbers(Distribution distribution, RandomKey key, uint32_t step, uint32_t block, int64_t count, T* out) {
  switch (distribution) {
    case Distribution::uniform: return draw_blocks<Distribution::uniform>(key, step, block, count, out);
    case Distribution::normal: return draw_blocks<Distribution::normal>(key, step, block, count, out);
    case Distribution::signs: return draw_blocks<Distribution::signs>(key, step, block, count, out);
  }
}
void draw_f32(Distribution distribution, RandomKey key, uint32_t step, uint32_t block, int64_t count, float* out) {
  draw_numbers(distribution, key, step, block, count, out);
}
void draw_f64(Distribution distribution, RandomKey key, uint32_t step, uint32_t block, int64_t count, double* out) {
  draw_numbers(distribution, key, step, block, count, out);
}

template <class T>
void add_numbers(Distribution distribution, RandomKey key, uint32_t step, uint32_t block, int64_t count, T coefficient,
                 T* out) {
  switch (distribution) {
    case Distribution::uniform: return add_blocks<Distribution::uniform>(key, step, block, count, coefficient, out);
    case Distribution::normal: return add_blocks<Distribution::normal>(key, step, block, count, coefficient, out);
    case Distribution::signs: return add_blocks<Distribution::signs>(key, step, block, count, coefficient, out);
  }
}
void add_f32(Distribution distribution, RandomKey key, uint32_t step, uint32_t block, int64_t count, float coefficient,
             float* out) {
  add_numbers(distribution, key, step, block, count, coefficient, out);
}
void add_f64(Distribution distribution, RandomKey key, uint32_t step, uint32_t block, int64_t count, double coefficient,
             double* out) {
  add_numbers(distribution, key, step, block, count, coefficient, out);
}

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/threads.h>

#include <algorithm>

namespace mollify::cpu {

HWY_EXPORT(draw_f32);
HWY_EXPORT(draw_f64);
HWY_EXPORT(add_f32);
HWY_EXPORT(add_f64);

template <class T>
void draw(Distribution distribution, RandomKey key, uint32_t step, int64_t first, int64_t count, T* out) {
  constexpr int64_t kGrain = 8192, kPerBlock = sizeof(T) == 4 ? 4 : 2;
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    const auto block = static_cast<uint32_t>((first + begin) / kPerBlock);
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(draw_f32)(distribution, key, step, block, end - begin, out + begin);
    else
      HWY_DYNAMIC_DISPATCH(draw_f64)(distribution, key, step, block, end - begin, out + begin);
  });
}

template <class T>
void draw_sum(Distribution distribution, const T* coefficients, int64_t draws, RandomKey key, uint32_t step,
              int64_t count, T* out) {
  constexpr int64_t kGrain = 4096, kPerBlock = sizeof(T) == 4 ? 4 : 2;  // what is summed stays in the nearest cache
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    const auto block = static_cast<uint32_t>(begin / kPerBlock);
    std::fill(out + begin, out + end, T{0});
    for (int64_t j = 0; j < draws; ++j) {
      const RandomKey of_draw{key.seed, key.stream + static_cast<uint64_t>(j)};
      if constexpr (sizeof(T) == 4)
        HWY_DYNAMIC_DISPATCH(add_f32)(distribution, of_draw, step, block, end - begin, coefficients[j], out + begin);
      else
        HWY_DYNAMIC_DISPATCH(add_f64)(distribution, of_draw, step, block, end - begin, coefficients[j], out + begin);
    }
  });
}

template void draw(Distribution, RandomKey, uint32_t, int64_t, int64_t, float*);
template void draw(Distribution, RandomKey, uint32_t, int64_t, int64_t, double*);
template void draw_sum(Distribution, const float*, int64_t, RandomKey, uint32_t, int64_t, float*);
template void draw_sum(Distribution, const double*, int64_t, RandomKey, uint32_t, int64_t, double*);

}  // namespace mollify::cpu

#endif  // HWY_ONCE
