#include <mollify/nn/bounds/row_operands.h>

namespace mollify::nn::bounds {

void check(const char* operation, const Operands& o) {
  if (o.pairs.all()) return;
  int64_t before = 0;
  const Places places(o.pairs, 1, o.samples());
  for (int64_t i = 0; i < o.pairs.sample.size(); ++i) {
    const Place place = places[i];
    require<ValueError>(place.sample >= before && place.sample < o.samples() && place.row >= 0 && place.row < o.rows.shape()[1],
                        "{}: pair {} is of row {} and sample {}; needs rows below {} and samples that rise below {}", operation, i, place.row, place.sample,
                        o.rows.shape()[1], o.samples());
    before = place.sample;
  }
}

std::vector<int64_t> first_rows(const Places& places, int64_t samples, int64_t count) {
  std::vector<int64_t> first(static_cast<size_t>(samples) + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++first[static_cast<size_t>(places[i].sample) + 1];
  for (size_t s = 0; s < static_cast<size_t>(samples); ++s) first[s + 1] += first[s];
  return first;
}

Tensor window_numbers(const Pairs& pairs, const Window& window, const Shape& rows, const Shape& image) {
  const int axis = image.rank() - 3;
  const int64_t height = rows[2], width = rows[3], channels = rows[4], image_height = image[axis], image_width = image[axis + 1], count = pairs.place.size();
  const Tensor places = packed_operand(pairs.place);
  std::vector<int32_t> numbers;
  numbers.reserve(static_cast<size_t>(count * height * width * channels));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = places.data<int32_t>()[i];
    const int64_t top = place / pairs.columns * window.stride_height - window.before_height, left = place % pairs.columns * window.stride_width - window.before_width;
    for (int64_t y = top; y < top + height; ++y)
      for (int64_t x = left; x < left + width; ++x)
        for (int64_t c = 0; c < channels; ++c) {
          const bool inside = y >= 0 && y < image_height && x >= 0 && x < image_width;
          numbers.push_back(static_cast<int32_t>(inside ? (y * image_width + x) * channels + c : image_height * image_width * channels));
        }
  }
  return Tensor::from(numbers, {count, height * width * channels});
}

}  // namespace mollify::nn::bounds
