// Labelled images in memory.
#pragma once

#include <mollify/engine/error.h>

#include <cstdint>
#include <string>
#include <vector>

namespace mollify::datasets {

struct Dataset {
  std::string name = {};
  int64_t height = 0, width = 0, channels = 0, classes = 0;
  std::vector<uint8_t> pixels = {};  // (N, H, W, C): channels last
  std::vector<int32_t> labels = {};  // N, each 0 … classes − 1
  std::vector<std::string> class_names = {};

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_size() const { return height * width * channels; }
  const uint8_t* image(int64_t index) const { return pixels.data() + index * image_size(); }
};

struct Splits {
  Dataset train, test;
};

// Throws ValueError naming `operation` unless extents, pixels, labels and class names fit together.
void check(const char* operation, const Dataset& dataset);

// Images first … first + count − 1; throws ValueError where there are not as many.
Dataset take(const Dataset& dataset, int64_t first, int64_t count);

// Holds out `count` images, chosen and ordered by the seed, as `test`; the others stay, in their order, as `train`.
// Throws ValueError unless 0 ≤ count ≤ size.
Splits split(const Dataset& dataset, int64_t count, uint64_t seed);

}  // namespace mollify::datasets
