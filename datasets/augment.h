// Augmentation of training images: a random crop from the image padded by zeros, or of any size from the whole image,
// and a horizontal flip.
#pragma once

#include <mollify/engine/random.h>

#include <cstdint>

#pragma GCC visibility push(default)
namespace mollify::datasets {

struct Augmentation {
  int64_t padding = 0;  // zeros on each of the four sides, of which a crop of the image's own extents is taken
  bool flip = false;    // mirror left and right with probability 1/2
  bool resized_crop = false;  // read_crop in place of read: for sources that decode

  bool moves() const { return padding > 0 || flip; }
};

// How one image is moved: output (row, column) is input (row + row_shift, column + column_shift), and 0 outside;
// then, when flipped, columns are reversed.
struct Move {
  int64_t row_shift = 0, column_shift = 0;  // −padding … padding, uniform
  bool flip = false;
};

// A function of its arguments alone. Throws ValueError unless padding ≥ 0 and 0 ≤ epoch < 2^32.
Move draw_move(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t index);

// Writes the moved (H, W, C) image to `output`, which does not overlap `input`.
void apply_move(const Move& move, int64_t height, int64_t width, int64_t channels, const float* input, float* output);

// Rows row … row + height − 1 and columns column … column + width − 1 of an image.
struct Region {
  int64_t row = 0, column = 0, height = 0, width = 0;
};

// A region of 8 to 100 % of the image's area, uniform, and of a ratio of width to height from 3/4 to 4/3, its logarithm
// uniform, anywhere in the image with the same probability: the rule of torchvision's RandomResizedCrop. Where ten such
// draws do not fit, the largest region in the image's middle whose ratio is the nearest to the image's.
Region draw_region(int64_t height, int64_t width, RandomSequence random);

}  // namespace mollify::datasets
#pragma GCC visibility pop
