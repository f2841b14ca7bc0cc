#include <mollify/engine/cuda/random.h>

#include <mollify/engine/cuda/pack.cuh>
#include <mollify/engine/cuda/strided.cuh>

#include <type_traits>

namespace mollify::cuda {
namespace {

constexpr int kBlock = 256;

__device__ inline void sine_and_cosine_of_pi(float x, float* sine, float* cosine) { sincospif(x, sine, cosine); }
__device__ inline void sine_and_cosine_of_pi(double x, double* sine, double* cosine) { sincospi(x, sine, cosine); }

// Box and Muller's pair; 2v is exact, so that the angle loses nothing.
template <class T>
__device__ inline void box_muller(T& u, T& v) {
  const T radius = std::sqrt(std::log(u) * T(-2));
  T sine{}, cosine{};
  sine_and_cosine_of_pi(v + v, &sine, &cosine);
  u = radius * cosine;
  v = radius * sine;
}

template <Distribution distribution, class T, int N>
__device__ inline void shape_numbers(Pack<T, N>& u) {
  MOLLIFY_UNROLL
  for (int k = 0; k < N; k += 2) {
    if constexpr (distribution == Distribution::normal) box_muller(u.at[k], u.at[k + 1]);
    if constexpr (distribution == Distribution::signs)
      for (int i = k; i < k + 2; ++i) u.at[i] = u.at[i] < T(0.5) ? T(-1) : T(1);
  }
}

// The numbers of one Philox block: four of float, two of double.
template <Distribution distribution>
__device__ inline Pack<float, 4> numbers(RandomWords words, float) {
  Pack<float, 4> u;
  MOLLIFY_UNROLL
  for (int k = 0; k < 4; ++k) u.at[k] = uniform_f32(words.word[k]);
  shape_numbers<distribution>(u);
  return u;
}
template <Distribution distribution>
__device__ inline Pack<double, 2> numbers(RandomWords words, double) {
  Pack<double, 2> u = {{uniform_f64(words.word[0], words.word[1]), uniform_f64(words.word[2], words.word[3])}};
  shape_numbers<distribution>(u);
  return u;
}

template <class T>
__device__ inline void store_part(const Pack<T, kPack<T>>& pack, T* to, int64_t rest, bool aligned) {
  if (rest >= kPack<T>) return store(pack, to, aligned);
  MOLLIFY_UNROLL
  for (int k = 0; k < kPack<T>; ++k)
    if (k < rest) to[k] = pack.at[k];
}

template <Distribution distribution, class T>
__global__ void draw_numbers(RandomKey key, const int32_t* step, int64_t count, T* out, bool aligned) {
  for (int64_t block = global_thread(); block * kPack<T> < count; block += global_threads()) {
    const RandomWords words = random_words(key, static_cast<uint32_t>(*step), static_cast<uint32_t>(block));
    store_part(numbers<distribution>(words, T()), out + block * kPack<T>, count - block * kPack<T>, aligned);
  }
}

// `blocks` Philox blocks a row.
template <Distribution distribution, class T>
__global__ void draw_row_numbers(RandomKey key, const int32_t* streams, const int32_t* step, int64_t step_stride,
                                 int64_t rows, int64_t blocks, int64_t count, T* out, bool aligned, Fault* fault) {
  for (int64_t i = global_thread(); i < rows * blocks; i += global_threads()) {
    const int64_t row = quotient(i, blocks), block = i - row * blocks;
    const int32_t stream = streams[row];
    if (stream < 0 && block == 0) report(fault, FaultKind::stream, stream, 0);
    const RandomKey row_key = {key.seed, key.stream + static_cast<uint64_t>(stream)};
    const RandomWords words = random_words(row_key, static_cast<uint32_t>(step[row * step_stride]),
                                           static_cast<uint32_t>(block));
    store_part(numbers<distribution>(words, T()), out + row * count + block * kPack<T>, count - block * kPack<T>,
               aligned);
  }
}

template <Distribution distribution, class T>
__global__ void add_draws(const T* coefficients, int64_t draws, RandomKey key, const int32_t* step, int64_t count,
                          T* out, bool aligned) {
  for (int64_t block = global_thread(); block * kPack<T> < count; block += global_threads()) {
    Pack<T, kPack<T>> sum = {};
    for (int64_t j = 0; j < draws; ++j) {
      const RandomKey of_draw = {key.seed, key.stream + static_cast<uint64_t>(j)};
      const auto drawn = numbers<distribution>(
          random_words(of_draw, static_cast<uint32_t>(*step), static_cast<uint32_t>(block)), T());
      const T coefficient = coefficients[j];
      MOLLIFY_UNROLL
      for (int k = 0; k < kPack<T>; ++k) sum.at[k] = fma(coefficient, drawn.at[k], sum.at[k]);
    }
    store_part(sum, out + block * kPack<T>, count - block * kPack<T>, aligned);
  }
}

template <class T>
__global__ void drop_out(const T* x, int64_t n, RandomKey key, const int32_t* step, const T* rate, T* out,
                         bool aligned) {
  const T least = *rate, scale = 1 / (1 - least);
  for (int64_t block = global_thread(); block * kPack<T> < n; block += global_threads()) {
    const int64_t first = block * kPack<T>, rest = n - first;
    const RandomWords words = random_words(key, static_cast<uint32_t>(*step), static_cast<uint32_t>(block));
    const auto u = numbers<Distribution::uniform>(words, T());
    Pack<T, kPack<T>> values;
    if (rest >= kPack<T>) values = load<kPack<T>>(x + first, aligned);
    else for (int k = 0; k < kPack<T>; ++k) values.at[k] = x[first + min(int64_t{k}, rest - 1)];
    MOLLIFY_UNROLL
    for (int k = 0; k < kPack<T>; ++k) values.at[k] = values.at[k] * (u.at[k] >= least ? scale : T(0));
    store_part(values, out + first, rest, aligned);
  }
}

template <class T>
int64_t blocks_of(int64_t count) {
  return (count + kPack<T> - 1) / kPack<T>;
}

}  // namespace

// Calls f with the distribution as a constant.
template <class F>
void for_distribution(Distribution distribution, const F& f) {
  switch (distribution) {
    case Distribution::uniform: return f(std::integral_constant<Distribution, Distribution::uniform>());
    case Distribution::normal: return f(std::integral_constant<Distribution, Distribution::normal>());
    case Distribution::signs: return f(std::integral_constant<Distribution, Distribution::signs>());
  }
}

template <class T>
void draw(Distribution distribution, RandomKey key, const int32_t* step, int64_t count, T* out) {
  if (count == 0) return;
  for_distribution(distribution, [&](auto which) {
    launch("random", draw_numbers<which.value, T>, dim3(grid_for(blocks_of<T>(count), kBlock)), dim3(kBlock), 0, key,
           step, count, out, is_aligned<T, kPack<T>>(out));
  });
}

template <class T>
void draw_rows(Distribution distribution, RandomKey key, const int32_t* streams, const int32_t* step,
               int64_t step_stride, int64_t rows, int64_t count, T* out) {
  if (rows * count == 0) return;
  const int64_t blocks = blocks_of<T>(count);
  const bool aligned = is_aligned<T, kPack<T>>(out) && count % kPack<T> == 0;
  for_distribution(distribution, [&](auto which) {
    launch("random", draw_row_numbers<which.value, T>, dim3(grid_for(rows * blocks, kBlock)), dim3(kBlock), 0, key,
           streams, step, step_stride, rows, blocks, count, out, aligned, fault());
  });
}

template <class T>
void draw_sum(Distribution distribution, const T* coefficients, int64_t draws, RandomKey key, const int32_t* step,
              int64_t count, T* out) {
  if (count == 0) return;
  for_distribution(distribution, [&](auto which) {
    launch("random", add_draws<which.value, T>, dim3(grid_for(blocks_of<T>(count), kBlock)), dim3(kBlock), 0,
           coefficients, draws, key, step, count, out, is_aligned<T, kPack<T>>(out));
  });
}

template <class T>
void dropout(const T* x, int64_t n, RandomKey key, const int32_t* step, const T* rate, T* out) {
  if (n == 0) return;
  const bool aligned = is_aligned<T, kPack<T>>(x) && is_aligned<T, kPack<T>>(out);
  launch("dropout", drop_out<T>, dim3(grid_for(blocks_of<T>(n), kBlock)), dim3(kBlock), 0, x, n, key, step, rate, out,
         aligned);
}

#define MOLLIFY_INSTANTIATE(T)                                                                                        \
  template void draw(Distribution, RandomKey, const int32_t*, int64_t, T*);                                           \
  template void draw_rows(Distribution, RandomKey, const int32_t*, const int32_t*, int64_t, int64_t, int64_t, T*);    \
  template void draw_sum(Distribution, const T*, int64_t, RandomKey, const int32_t*, int64_t, T*);                     \
  template void dropout(const T*, int64_t, RandomKey, const int32_t*, const T*, T*);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
