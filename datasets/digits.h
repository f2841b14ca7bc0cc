// Handwritten-looking digits that the program draws: endless, deterministic, 28 × 28 grey, about as hard as MNIST:
// from 60,000 images a softmax regression reaches 91 % and a small convolutional network 99.6 %, from 20,000 images
// 99.0 %.
#pragma once

#include <mollify/datasets/dataset.h>

#include <cstdint>
#include <span>

#pragma GCC visibility push(default)
namespace mollify::datasets {

inline constexpr int64_t kDigitExtent = 28;

enum class Split : uint8_t { train, test };  // disjoint sets of random numbers, the same distribution

// Draws digit `index` of a split and returns its label: a function of the arguments alone.
// Every ten images from a multiple of ten on hold each label once.
int32_t draw_digit(uint64_t seed, Split split, int64_t index, std::span<uint8_t, kDigitExtent * kDigitExtent> pixels);

// Digits first … first + count − 1 of a split, drawn on all threads. Throws ValueError unless 0 ≤ count < 2^31
// and 0 ≤ first ≤ 2^40 − count.
Dataset digits(int64_t count, uint64_t seed, Split split, int64_t first = 0);

}  // namespace mollify::datasets
#pragma GCC visibility pop
