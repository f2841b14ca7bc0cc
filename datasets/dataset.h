// Labelled images. A copy shares them.
#pragma once

#include <mollify/datasets/source.h>
#include <mollify/engine/error.h>

#include <cstdint>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::datasets {

struct Dataset {
  std::string name = {};
  int64_t height = 0, width = 0, channels = 0, classes = 0;
  std::shared_ptr<const ImageSource> images = {};  // N of [H, W, C] bytes; none where N is 0
  std::vector<int32_t> labels = {};                // N, each 0 … classes − 1
  std::vector<std::string> class_names = {};

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_size() const { return height * width * channels; }
  std::vector<uint8_t> image(int64_t index) const;  // throws ValueError for an index out of range
};

struct Splits {
  Dataset train, test;
};

// Throws ValueError naming `operation` unless extents, images, labels and class names fit together.
void check(const char* operation, const Dataset& dataset);
void check_images(const char* operation, const Dataset& dataset);  // of these, only the images: their number and size

// Images first … first + count − 1; throws ValueError where there are not as many.
Dataset take(const Dataset& dataset, int64_t first, int64_t count);

// Holds out `count` images, chosen and ordered by the seed, as `test`; the others stay, in their order, as `train`.
// Throws ValueError unless 0 ≤ count ≤ size.
Splits split(const Dataset& dataset, int64_t count, uint64_t seed);

}  // namespace mollify::datasets
#pragma GCC visibility pop
