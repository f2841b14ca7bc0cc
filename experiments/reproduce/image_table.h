// Images beside each other as a picture.
#pragma once

#include <mollify/engine/tensor.h>

#include <string>
#include <vector>

namespace mollify::experiments {

struct ImageTable {
  std::string heading;
  std::vector<std::string> column_names;
  std::vector<std::vector<Tensor>>
      rows;  // [1, H, W, 1 or 3], of one size, 0 to 1: what is beyond is shown as the nearer of them
};

// An SVG document; every pixel is shown to a sixteenth.
std::string image_table_svg(const ImageTable& table);

}  // namespace mollify::experiments
