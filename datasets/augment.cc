#include <mollify/datasets/augment.h>
#include <mollify/datasets/streams.h>
#include <mollify/engine/error.h>

#include <algorithm>
#include <cmath>

namespace mollify::datasets {

Move draw_move(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t index) {
  require<ValueError>(
      augmentation.padding >= 0 && augmentation.padding <= INT32_MAX && epoch >= 0 && epoch <= UINT32_MAX,
      "draw_move: padding {}, epoch {}; needs padding at least 0 and an epoch from 0 to 2^32 - 1", augmentation.padding,
      epoch);
  RandomSequence random(key_of(seed, Purpose::augmentation, index), static_cast<uint32_t>(epoch));
  Move move;
  move.row_shift = static_cast<int64_t>(random.below(2 * augmentation.padding + 1)) - augmentation.padding;
  move.column_shift = static_cast<int64_t>(random.below(2 * augmentation.padding + 1)) - augmentation.padding;
  move.flip = augmentation.flip && random.below(2) == 1;
  return move;
}

void apply_move(const Move& move, int64_t height, int64_t width, int64_t channels, const float* input, float* output) {
  for (int64_t row = 0; row < height; ++row) {
    const int64_t from_row = row + move.row_shift;
    for (int64_t column = 0; column < width; ++column, output += channels) {
      const int64_t from_column = (move.flip ? width - 1 - column : column) + move.column_shift;
      const bool inside = from_row >= 0 && from_row < height && from_column >= 0 && from_column < width;
      if (inside)
        std::copy_n(input + (from_row * width + from_column) * channels, channels, output);
      else
        std::fill_n(output, channels, 0.0f);
    }
  }
}

Region draw_region(int64_t height, int64_t width, RandomSequence random) {
  constexpr double kLeastArea = 0.08, kWidest = 4.0 / 3;
  const double rows = static_cast<double>(height), columns = static_cast<double>(width);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = rows * columns * random.uniform(kLeastArea, 1),
                 ratio = std::exp(random.uniform(-std::log(kWidest), std::log(kWidest)));
    const Region region{.height = std::llround(std::sqrt(area / ratio)),
                        .width = std::llround(std::sqrt(area * ratio))};
    if (region.height < 1 || region.height > height || region.width < 1 || region.width > width) continue;
    const auto row = static_cast<int64_t>(random.below(static_cast<uint64_t>(height - region.height + 1))),
               column = static_cast<int64_t>(random.below(static_cast<uint64_t>(width - region.width + 1)));
    return {row, column, region.height, region.width};
  }
  const int64_t used_rows = std::min(height, std::max<int64_t>(1, std::llround(columns * kWidest))),
                used_columns = std::min(width, std::max<int64_t>(1, std::llround(rows * kWidest)));
  return {(height - used_rows) / 2, (width - used_columns) / 2, used_rows, used_columns};
}

}  // namespace mollify::datasets
