#include <mollify/datasets/source.h>

#include <mollify/engine/error.h>

#include <algorithm>

namespace mollify::datasets {
namespace {

class InMemory final : public ImageSource {
 public:
  InMemory(std::vector<uint8_t> pixels, int64_t image_size) : pixels_(std::move(pixels)), image_size_(image_size) {
    require<ValueError>(image_size > 0 && static_cast<int64_t>(pixels_.size()) % image_size == 0,
                        "in_memory: {} bytes in images of {}; needs a whole number of images", pixels_.size(),
                        image_size);
  }
  int64_t count() const override { return static_cast<int64_t>(pixels_.size()) / image_size_; }
  int64_t image_size() const override { return image_size_; }
  void read(int64_t index, std::span<uint8_t> pixels) const override {
    std::copy_n(pixels_.data() + index * image_size_, image_size_, pixels.data());
  }

 private:
  const std::vector<uint8_t> pixels_;
  const int64_t image_size_;
};

class Chosen final : public ImageSource {
 public:
  Chosen(std::shared_ptr<const ImageSource> source, std::vector<int64_t> indices)
      : source_(std::move(source)), indices_(std::move(indices)) {
    for (int64_t index : indices_)
      require<ValueError>(index >= 0 && index < source_->count(), "chosen: image {}; needs 0 to {}", index,
                          source_->count() - 1);
  }
  int64_t count() const override { return static_cast<int64_t>(indices_.size()); }
  int64_t image_size() const override { return source_->image_size(); }
  void read(int64_t index, std::span<uint8_t> pixels) const override {
    source_->read(indices_[static_cast<size_t>(index)], pixels);
  }
  bool decodes() const override { return source_->decodes(); }
  void read_crop(int64_t index, RandomSequence random, std::span<uint8_t> pixels) const override {
    source_->read_crop(indices_[static_cast<size_t>(index)], random, pixels);
  }

 private:
  const std::shared_ptr<const ImageSource> source_;
  const std::vector<int64_t> indices_;
};

}  // namespace

void ImageSource::read_crop(int64_t, RandomSequence, std::span<uint8_t>) const {
  throw ValueError("read_crop: images that are not decoded; needs a source that decodes them, such as image folders");
}

std::shared_ptr<const ImageSource> in_memory(std::vector<uint8_t> pixels, int64_t image_size) {
  return std::make_shared<InMemory>(std::move(pixels), image_size);
}

std::shared_ptr<const ImageSource> chosen(std::shared_ptr<const ImageSource> source, std::vector<int64_t> indices) {
  return std::make_shared<Chosen>(std::move(source), std::move(indices));
}

}  // namespace mollify::datasets
