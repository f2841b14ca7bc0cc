// Streams of random numbers of this folder: one for each purpose and image, so that none share numbers under one seed.
#pragma once

#include <mollify/engine/random.h>

#include <cstdint>
#include <span>
#include <utility>

namespace mollify::datasets {

// The highest byte of the stream; the lower seven are an image's index. Small streams are left to other users of a seed.
enum class Purpose : uint64_t { order = 0xD0, held_out, input_noise, label_noise, augmentation, digit_train, digit_test, digit_labels };

inline RandomKey key_of(uint64_t seed, Purpose purpose, int64_t index = 0) {
  return {seed, static_cast<uint64_t>(purpose) << 56 | static_cast<uint64_t>(index)};
}

// Adds N(0, deviation²) draws to the values: f32 Box–Muller, four values a block of random words, at most 5.8 deviations from 0.
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
