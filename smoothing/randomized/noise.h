// Gaussian noise on images, for votes, training and attacks. A draw is a function of (seed, use, image, draw): neither
// batches, threads nor the order of images change it, and no two uses share numbers.
#pragma once

#include <mollify/engine/tensor.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

enum class NoiseUse : uint8_t { selection, estimation, prediction, training, attack, projection, evaluation };

// Standard deviation in units of x, such as pixels from 0 to 1: finite and above 0.
struct Noise {
  double sigma;
  uint64_t seed = 0;
};

// [N, …] of N(0, σ²): row r is number draws[r] for image images[r], both i32 [N] and not negative, where `images` lies;
// `draws` may be one for all rows, 0-d. Throws as normal_rows, and ValueError for a σ that is none.
Tensor gaussian_noise(const Shape& shape, const Noise& noise, NoiseUse use, const Tensor& images, const Tensor& draws,
                      DType dtype = DType::f32);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
