// Square views of an image: a rectangle of it, at another size and antialiased.
#pragma once

#include <cstdint>
#include <span>

namespace mollify::datasets {

struct Region;

// Along one axis, pixel i of the view is centred at begin + (i + ½)·step, where pixel j of the image covers j … j + 1.
struct Axis {
  double begin = 0, step = 1;
};
struct View {
  Axis rows, columns;
};

// What the field evaluates on: the shorter side is brought to 8/7 of the view's (256 for 224), the longer one with it,
// and the middle is cut out. An image that has the view's extents is the view.
View centre_view(int64_t height, int64_t width, int64_t size);
View region_view(const Region& region, int64_t size);

// `view` of an image [height, width, 3] as [size, size, 3]: each pixel a mean of those around its centre, weighted by
// max(0, 1 − |distance| / max(step, 1)) along each axis; what lies beyond the image has no weight. This is Pillow's
// bilinear filter and torchvision's with antialiasing, but for sums in f32 that are rounded once, at the end.
void resize(const View& view, int64_t height, int64_t width, std::span<const uint8_t> image, int64_t size,
            std::span<uint8_t> output);

}  // namespace mollify::datasets
