// Noise that is fixed with the data: a function of (seed, image index), whatever the batch, order and epoch.
#pragma once

#include <cstdint>
#include <span>

#pragma GCC visibility push(default)
namespace mollify::datasets {

struct Noise {
  double input_deviation =
      0;  // standard deviation of N(0, ·²) added to every pixel, in units where pixels are 0 … 1; not clipped
  double label_share = 0;      // probability that a label is replaced by one of the others, each as likely
  uint64_t seed = 0;
};

// Throws ValueError naming `operation` unless input_deviation is finite and ≥ 0 and label_share in [0, 1].
void check(const char* operation, const Noise& noise);

void add_noise(const Noise& noise, int64_t index, std::span<float> image);
int32_t noisy_label(const Noise& noise, int64_t index, int32_t label, int64_t classes);

}  // namespace mollify::datasets
#pragma GCC visibility pop
