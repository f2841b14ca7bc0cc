// Random numbers of this folder: a stream for each purpose and image.
#pragma once

#include <mollify/engine/random.h>

#include <cstdint>
#include <span>
#include <utility>

namespace mollify::datasets {

inline RandomKey key_of(uint64_t seed, Purpose purpose, int64_t index = 0) {
  return {seed, stream_of(purpose, static_cast<uint64_t>(index))};
}

// Adds N(0, deviation²) draws to the values: f32 Box–Muller, four values a block of random words, at most 5.8
// deviations from 0.
inline void add_normals(RandomKey key, uint32_t step, float deviation, std::span<float> values) {
  for (size_t i = 0; i < values.size(); i += 4) {
    const RandomWords words = random_words(key, step, static_cast<uint32_t>(i / 4));
    float normals[4];
    for (int pair = 0; pair < 4; pair += 2) {
      const float radius = std::sqrt(-2 * std::log(uniform_f32(words.word[pair])));
      const float angle = 6.2831853f * uniform_f32(words.word[pair + 1]);
      normals[pair] = radius * std::cos(angle);
      normals[pair + 1] = radius * std::sin(angle);
    }
    for (size_t j = i; j < i + 4 && j < values.size(); ++j) values[j] += deviation * normals[j - i];
  }
}

// Fisher–Yates.
template <class T>
void shuffle(RandomSequence random, std::span<T> values) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i)]);
}

}  // namespace mollify::datasets
