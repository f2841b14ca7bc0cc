#include <mollify/datasets/noise.h>
#include <mollify/datasets/streams.h>
#include <mollify/engine/error.h>

#include <cmath>

namespace mollify::datasets {

void check(const char* operation, const Noise& noise) {
  require<ValueError>(std::isfinite(noise.input_deviation) && noise.input_deviation >= 0,
                      "{}: input noise of standard deviation {}; needs a finite one, at least 0", operation,
                      noise.input_deviation);
  require<ValueError>(noise.label_share >= 0 && noise.label_share <= 1, "{}: a share {} of random labels; needs 0 to 1",
                      operation, noise.label_share);
}

void add_noise(const Noise& noise, int64_t index, std::span<float> image) {
  if (noise.input_deviation == 0) return;
  add_normals(key_of(noise.seed, Purpose::input_noise, index), 0, static_cast<float>(noise.input_deviation), image);
}

int32_t noisy_label(const Noise& noise, int64_t index, int32_t label, int64_t classes) {
  RandomSequence random(key_of(noise.seed, Purpose::label_noise, index));
  if (classes < 2 || !(random.uniform() < noise.label_share)) return label;
  const auto other = static_cast<int32_t>(random.below(classes - 1));
  return other + (other >= label);
}

}  // namespace mollify::datasets
