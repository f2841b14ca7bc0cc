// Random numbers by a counter: Philox 4x32-10 (Salmon et al., SC 2011). A draw is a function of (seed, stream, step,
// index).
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define MOLLIFY_HOST_DEVICE __host__ __device__
#else
#define MOLLIFY_HOST_DEVICE
#endif

#pragma GCC visibility push(default)
namespace mollify {

struct RandomWords { uint32_t word[4]; };

// What a draw depends on besides its index. Streams tell apart what must not share numbers (image, population member,
// purpose).
struct RandomKey {
  uint64_t seed = 0;
  uint64_t stream = 0;
};

// What the library draws for, in the stream's highest byte, so that no two purposes share numbers under one seed. Below
// it lies what tells apart draws of a purpose, such as an image's index.
enum class Purpose : uint8_t {
  initial_weights = 0,  // the number of the weight's piece
  dropout = 0x51,       // the layer's number, above the stream that its caller gives
  svrg_anchor,
  sobol_directions,    // the dimension
  shared_directions,   // signs of propagate_moments
  active_weights,      // the round
  monte_carlo = 0x5A,  // the row, then the sample, or scrambling and step
  attack,              // kind of number, then the row
  falsify,
  landscape,        // the number of a direction in weight space
  neighbors,        // the number of a neighbour in weight space
  smoothing_noise,  // the use, then the image
  order = 0xD0,
  held_out,
  input_noise,
  label_noise,
  augmentation,
  digit_train,
  digit_test,
  digit_labels,
  region,         // of a random resized crop: the image
  caller = 0xF0,  // of those who use the library
};
constexpr uint64_t stream_of(Purpose purpose, uint64_t index = 0) {
  return static_cast<uint64_t>(purpose) << 56 | index;
}

// Words 4·block … 4·block + 3 of the draw. The one place where key and counter are packed:
// key = seed; counter = (block, step, stream's low word, stream's high word).
MOLLIFY_HOST_DEVICE inline RandomWords random_words(RandomKey key, uint32_t step, uint32_t block) {
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  uint32_t c0 = block, c1 = step, c2 = static_cast<uint32_t>(key.stream), c3 = static_cast<uint32_t>(key.stream >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform on the centres of 2^23 (2^52) equal cells of (0, 1): never 0 or 1, and exact in f32 (f64).
MOLLIFY_HOST_DEVICE inline float uniform_f32(uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f;
}
MOLLIFY_HOST_DEVICE inline double uniform_f64(uint32_t high, uint32_t low) {
  return (static_cast<double>((uint64_t{high} << 32 | low) >> 12) + 0.5) * 0x1p-52;
}

// One draw after another, for host code such as shuffles and drawings; the same numbers as the tensors' f64 uniforms of
// the key and step.
class RandomSequence {
 public:
  explicit RandomSequence(RandomKey key, uint32_t step = 0) : key_(key), step_(step) {}

  uint32_t word() {
    if (next_ == 4) {
      words_ = random_words(key_, step_, block_++);
      next_ = 0;
    }
    return words_.word[next_++];
  }
  double uniform() {
    const uint32_t high = word();
    return uniform_f64(high, word());
  }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  double normal() {  // Box–Muller, the cosine half
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }
  // Uniform on 0 … count − 1 without bias; count ≥ 1.
  uint64_t below(uint64_t count) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % count;  // a multiple of count
    uint64_t value;
    do {
      const uint64_t high = word();
      value = high << 32 | word();
    } while (value >= limit);
    return value % count;
  }

 private:
  RandomKey key_;
  uint32_t step_, block_ = 0;
  int next_ = 4;
  RandomWords words_{};
};

}  // namespace mollify
#pragma GCC visibility pop
