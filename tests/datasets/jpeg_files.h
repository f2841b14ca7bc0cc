// JPEG files that tests write, by libturbojpeg.
#pragma once

#include "files.h"

#include <turbojpeg.h>

#include <memory>
#include <span>

namespace mollify::datasets {

// Bytes of a file of `height` rows of pixels in one of turbojpeg's formats; grey ones and TJPF_CMYK are stored as such.
inline Bytes jpeg(const Bytes& pixels, int height, int format = TJPF_RGB, int quality = 100) {
  const int width = static_cast<int>(pixels.size()) / height / tjPixelSize[format];
  const std::unique_ptr<void, int (*)(void*)> encoder(tjInitCompress(), tjDestroy);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  if (tjCompress2(encoder.get(), pixels.data(), width, 0, height, format, &bytes, &size,
                  format == TJPF_GRAY ? TJSAMP_GRAY : TJSAMP_444, quality, 0) != 0)
    throw std::runtime_error(tjGetErrorStr2(encoder.get()));
  Bytes out(bytes, bytes + size);
  tjFree(bytes);
  return out;
}

// What the file says, as RGB.
inline Bytes decoded(const Bytes& file) {
  const std::unique_ptr<void, int (*)(void*)> decoder(tjInitDecompress(), tjDestroy);
  int width = 0, height = 0, subsampling = 0, colours = 0;
  tjDecompressHeader3(decoder.get(), file.data(), file.size(), &width, &height, &subsampling, &colours);
  Bytes pixels(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  if (tjDecompress2(decoder.get(), file.data(), file.size(), pixels.data(), width, 0, height, TJPF_RGB, 0) != 0)
    throw std::runtime_error(tjGetErrorStr2(decoder.get()));
  return pixels;
}

inline Bytes solid(std::span<const uint8_t> pixel, int count) {
  Bytes out;
  for (int i = 0; i < count; ++i) out.insert(out.end(), pixel.begin(), pixel.end());
  return out;
}
inline Bytes solid(std::initializer_list<uint8_t> pixel, int count) {
  return solid(std::span(pixel.begin(), pixel.size()), count);
}

// Smooth RGB pictures, each with its own waves.
inline Bytes waves(int height, int width, uint32_t seed) {
  Bytes out;
  for (int row = 0; row < height; ++row)
    for (int column = 0; column < width; ++column)
      for (int channel = 0; channel < 3; ++channel)
        out.push_back(static_cast<uint8_t>(128 + 100 * std::sin(6.0 * row / height + seed + channel) *
                                                     std::cos(5.0 * column / width + 2 * seed)));
  return out;
}

}  // namespace mollify::datasets
