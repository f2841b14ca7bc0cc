#include <mollify/datasets/jpeg.h>

#include <mollify/engine/file.h>

#include <turbojpeg.h>

namespace mollify::datasets {
namespace {

constexpr const char* kRead = "read_jpeg";
constexpr int64_t kMostBytes = int64_t{1} << 28;
constexpr int64_t kMostPixels = int64_t{1} << 27;  // beyond what cameras make: what a hostile header asks for

void destroy(void* decoder) {
  if (decoder) tjDestroy(decoder);
}

std::vector<uint8_t> rgb_of_inks(const std::vector<uint8_t>& inks) {
  std::vector<uint8_t> rgb(inks.size() / 4 * 3);
  for (size_t pixel = 0; pixel < inks.size() / 4; ++pixel)
    for (size_t channel = 0; channel < 3; ++channel)
      rgb[3 * pixel + channel] = static_cast<uint8_t>((inks[4 * pixel + channel] * inks[4 * pixel + 3] + 127) / 255);
  return rgb;
}

}  // namespace

void require_jpeg(const char*) {}

Jpeg::Jpeg(const std::filesystem::path& file)
    : file_(file.string()), bytes_(read_bytes(kRead, file, kMostBytes)), decoder_(tjInitDecompress(), destroy) {
  require<Error>(decoder_ != nullptr, "{}: {}: libturbojpeg makes no decoder ({})", kRead, file_,
                 tjGetErrorStr2(nullptr));
  int width = 0, height = 0, subsampling = 0, colours = 0;
  const int status =
      tjDecompressHeader3(decoder_.get(), bytes_.data(), bytes_.size(), &width, &height, &subsampling, &colours);
  require<FormatError>(status == 0, "{}: {}: {}; needs a JPEG file", kRead, file_, tjGetErrorStr2(decoder_.get()));
  height_ = height;
  width_ = width;
  inks_ = colours == TJCS_CMYK || colours == TJCS_YCCK;
  require<FormatError>(height_ >= 1 && width_ >= 1 && height_ * width_ <= kMostPixels,
                       "{}: {}: {} by {} pixels; needs 1 to {}", kRead, file_, height_, width_, kMostPixels);
}

std::vector<uint8_t> Jpeg::decode(int64_t reduction) const {
  const int64_t rows = (height_ + reduction - 1) / reduction, columns = (width_ + reduction - 1) / reduction,
                channels = inks_ ? 4 : 3;
  std::vector<uint8_t> pixels(static_cast<size_t>(rows * columns * channels));
  // A warning is an error here: behind it lie pixels that the decoder made up.
  const int status = tjDecompress2(decoder_.get(), bytes_.data(), bytes_.size(), pixels.data(),
                                   static_cast<int>(columns), static_cast<int>(columns * channels),
                                   static_cast<int>(rows), inks_ ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS);
  require<FormatError>(status == 0, "{}: {}: {}; needs a whole, undamaged JPEG file", kRead, file_,
                       tjGetErrorStr2(decoder_.get()));
  return inks_ ? rgb_of_inks(pixels) : pixels;
}

}  // namespace mollify::datasets
