// JPEG files, decoded by libturbojpeg.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace mollify::datasets {

// Throws Error, which begins with `operation` and says what to install, in a build without libturbojpeg.
void require_jpeg(const char* operation);

// One file: its extents, then its pixels. Orientation tags are not obeyed, as in what the field's results were made
// with. The decoder's arithmetic is exact in integers, so that pixels do not depend on the machine.
class Jpeg {
 public:
  // Reads the file and its header. Throws FormatError, which names the file, where it is not to be read or no JPEG.
  explicit Jpeg(const std::filesystem::path& file);

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

  // RGB bytes [⌈height / reduction⌉, ⌈width / reduction⌉, 3]; pixel j covers pixels j·reduction … (j + 1)·reduction of
  // the whole image, averaged by the cosine transform. Reduction: 1, 2, 4 or 8. Grey becomes three equal channels, CMYK
  // and YCCK, taken as inverted, which Adobe made the rule, R = C·K / 255 and so on. Throws FormatError, which names
  // the file, for what is truncated or damaged, also where the decoder could guess.
  std::vector<uint8_t> decode(int64_t reduction) const;

 private:
  std::string file_;
  std::vector<uint8_t> bytes_;
  std::unique_ptr<void, void (*)(void*)> decoder_;
  int64_t height_ = 0, width_ = 0;
  bool inks_ = false;  // CMYK or YCCK
};

}  // namespace mollify::datasets
