#include <mollify/smoothing/randomized/noise.h>

#include <mollify/engine/ops.h>

#include <cmath>

namespace mollify::smoothing {

Tensor gaussian_noise(const Shape& shape, const Noise& noise, NoiseUse use, const Tensor& images, const Tensor& draws,
                      DType dtype) {
  require<ValueError>(noise.sigma > 0 && std::isfinite(noise.sigma), "noise: sigma {}; needs a finite number above 0",
                      noise.sigma);
  const uint64_t above_images = static_cast<uint64_t>(use) << 32;
  return normal_rows(shape, {noise.seed, stream_of(Purpose::smoothing_noise, above_images)}, images, draws, dtype) *
         noise.sigma;
}

}  // namespace mollify::smoothing
