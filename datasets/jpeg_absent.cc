// In place of jpeg.cc where there is no libturbojpeg.
#include <mollify/datasets/jpeg.h>

#include <mollify/engine/error.h>

namespace mollify::datasets {

void require_jpeg(const char* operation) {
  throw Error(
      format("{}: this build has no libturbojpeg; needs one that was set up with libturbojpeg0-dev "
             "(-Djpeg=enabled)",
             operation));
}

Jpeg::Jpeg(const std::filesystem::path& file) : decoder_(nullptr, [](void*) {}) { require_jpeg(file.c_str()); }
std::vector<uint8_t> Jpeg::decode(int64_t) const { return {}; }

}  // namespace mollify::datasets
