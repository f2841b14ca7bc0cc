// Images that are asked for by their numbers: held in memory, or read and decoded when they are needed.
#pragma once

#include <mollify/engine/random.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::datasets {

class ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual int64_t count() const = 0;
  virtual int64_t image_size() const = 0;  // bytes of each

  // The image as bytes in channels-last order, to `pixels`, which has room for just them. The same at every call.
  // Several threads may ask at once. `index` is within 0 … count − 1. Throws FormatError for what cannot be read.
  virtual void read(int64_t index, std::span<uint8_t> pixels) const = 0;

  // Whether images are decoded from files of their own extents: that is work for all threads, and gives crops.
  virtual bool decodes() const { return false; }

  // In place of the image a random region of it (draw_region), brought to the same extents: a function of the image and
  // the random numbers. Otherwise as read. Throws ValueError unless decodes().
  virtual void read_crop(int64_t index, RandomSequence random, std::span<uint8_t> pixels) const;
};

// One image after the other. Throws ValueError unless there is a whole number of images.
std::shared_ptr<const ImageSource> in_memory(std::vector<uint8_t> pixels, int64_t image_size);

// Images `indices` of another source, in this order: nothing is copied.
std::shared_ptr<const ImageSource> chosen(std::shared_ptr<const ImageSource> source, std::vector<int64_t> indices);

}  // namespace mollify::datasets
#pragma GCC visibility pop
