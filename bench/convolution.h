// The convolutions of ResNet-18 in CIFAR form, same padding.
#pragma once

#include <mollify/engine/ops.h>

namespace mollify::bench {

struct ConvolutionSizes {
  int64_t extent, channels, filters, kernel, stride;
};
inline constexpr ConvolutionSizes kResnet18[] = {{32, 3, 64, 3, 1},    {32, 64, 64, 3, 1},   {32, 64, 128, 3, 2},
                                                 {16, 128, 128, 3, 1}, {16, 128, 256, 1, 2}, {8, 256, 256, 3, 1},
                                                 {4, 512, 512, 3, 1}};

inline Tensor random_values(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu) {
  return normal(shape, {1, 2}, Tensor::scalar(0, DType::i32), dtype, device);
}

struct Convolution {
  Convolution(const ConvolutionSizes& s, int64_t batch, Device device = Device::cpu)
      : x(random_values({batch, s.extent, s.extent, s.channels}, DType::f32, device)),
        w(random_values({s.filters, s.kernel, s.kernel, s.channels}, DType::f32, device)),
        how(Conv2d::square(s.stride, s.kernel / 2)),
        y(conv2d(x, w, {}, how)) {}
  double flops() const { return 2.0 * static_cast<double>(y.size() * w.size() / w.dim(0)); }

  Tensor x, w;
  Conv2d how;
  Tensor y;
};

}  // namespace mollify::bench
