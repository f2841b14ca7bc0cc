// Where rows, lines, pairs and windows lie in memory: plain numbers and addresses, for the kernels of any device. Inner
// header of nn/bounds.
#pragma once

#include <mollify/engine/ops/rules.h>
#include <mollify/nn/bounds/ops.h>

#include <algorithm>

namespace mollify::nn::bounds {

// A packed tensor [1 | N, 1 | K, d…] as rows in memory; nothing where it is empty.
template <class T>
struct View {
  View() = default;
  explicit View(const Tensor& x) {
    if (!x.defined()) return;
    data = x.address<T>();
    numbers = extent_product(x.shape(), 2, x.rank());
    sample = x.shape()[0] == 1 ? 0 : x.shape()[1] * numbers;
    row = x.shape()[1] == 1 ? 0 : numbers;
  }
  MOLLIFY_HOST_DEVICE T* at(int64_t n, int64_t k) const { return data ? data + n * sample + k * row : nullptr; }
  T* data = nullptr;
  int64_t numbers = 0, sample = 0, row = 0;
};

// Where result row i is read: its sample, and its row of what all share or of its own.
struct Place { int64_t sample, row; };
class Places {
 public:
  // `rows`: of the result, of each of its samples; `samples`: of the lines.
  Places(const Pairs& pairs, int64_t rows, int64_t samples) : rows_(rows), one_sample_(samples == 1) {
    if (pairs.all()) return;
    sample_ = pairs.sample.address<int32_t>();
    if (pairs.source.defined()) source_ = pairs.source.address<int32_t>();
  }
  MOLLIFY_HOST_DEVICE Place operator[](int64_t i) const {
    if (!sample_) return {i / rows_, i % rows_};
    return {one_sample_ ? 0 : sample_[i], source_ ? source_[i] : i};
  }

  // The result rows of sample s of the lines follow one another: from first_of(s) up to first_of(s + 1).
  MOLLIFY_HOST_DEVICE int64_t first_of(int64_t s) const {
    if (!sample_ || one_sample_) return s * rows_;
    int64_t low = 0, high = rows_;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sample_[middle] < s) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  // Number k of them, the first being `first`.
  MOLLIFY_HOST_DEVICE Place of_sample(int64_t s, int64_t first, int64_t k) const {
    return {s, !sample_ ? k : source_ ? source_[first + k] : first + k};
  }

 private:
  const int32_t *sample_ = nullptr, *source_ = nullptr;
  int64_t rows_;
  bool one_sample_;  // lines that all samples share
};

// Which numbers of a row and of its lines meet: all, or those of a window that are in the image.
class Runs {
 public:
  // place: of windows, else empty. `rows` and `lines` are shapes [1, K, h, w, C] and [N, 1, H, W, C].
  Runs(const Tensor& place, const Window& window, int64_t columns, const Shape& rows, const Shape& lines)
      : numbers_(extent_product(rows, 2, rows.rank())) {
    if (!place.defined()) return;
    place_ = place.address<int32_t>();
    window_ = window;
    columns_ = static_cast<int32_t>(columns);
    height_ = static_cast<int32_t>(rows[2]);
    width_ = static_cast<int32_t>(rows[3]);
    channels_ = static_cast<int32_t>(rows[4]);
    image_height_ = static_cast<int32_t>(lines[2]);
    image_width_ = static_cast<int32_t>(lines[3]);
  }

  MOLLIFY_HOST_DEVICE bool windows() const { return place_ != nullptr; }
  // Neighbouring numbers come in runs of a multiple of this.
  int64_t together() const { return place_ ? channels_ : numbers_; }

  // Of a pair's window, its first number's place in the image, which may be outside.
  struct Corner { int32_t top, left; };
  MOLLIFY_HOST_DEVICE Corner corner(int64_t pair) const {
    if (!place_) return {0, 0};
    const int32_t row = place_[pair] / columns_, column = place_[pair] - row * columns_;
    return {static_cast<int32_t>(row * window_.stride_height - window_.before_height),
            static_cast<int32_t>(column * window_.stride_width - window_.before_width)};
  }

  // Calls f(first number in the row, first number in the lines, count).
  template <class F>
  void each(int64_t pair, const F& f) const {
    if (!place_) return f(0, 0, numbers_);
    const auto [top, left] = corner(pair);
    const int64_t begin = std::max(0, -left), end = std::min(width_, image_width_ - left);
    if (begin >= end) return;
    for (int64_t y = std::max(0, -top); y < std::min(height_, image_height_ - top); ++y)
      f((y * width_ + begin) * channels_, ((top + y) * image_width_ + left + begin) * channels_,
        (end - begin) * channels_);
  }

  // Which number of the lines meets number `own` of the row, and the other way about; −1: none.
  MOLLIFY_HOST_DEVICE int64_t in_lines(const Corner& at, int64_t own) const {
    if (!place_) return own;
    const auto number = static_cast<int32_t>(own);
    const int32_t pixel = number / channels_, y = pixel / width_, row = y + at.top,
                  column = pixel - y * width_ + at.left;
    if (row < 0 || row >= image_height_ || column < 0 || column >= image_width_) return -1;
    return (row * image_width_ + column) * channels_ + (number - pixel * channels_);
  }
  MOLLIFY_HOST_DEVICE int64_t in_row(const Corner& at, int64_t line) const {
    if (!place_) return line;
    const auto number = static_cast<int32_t>(line);
    const int32_t pixel = number / channels_, y = pixel / image_width_, row = y - at.top,
                  column = pixel - y * image_width_ - at.left;
    if (row < 0 || row >= height_ || column < 0 || column >= width_) return -1;
    return (row * width_ + column) * channels_ + (number - pixel * channels_);
  }

 private:
  const int32_t* place_ = nullptr;
  Window window_;
  int64_t numbers_;  // of a row
  int32_t columns_ = 1, height_ = 0, width_ = 0, channels_ = 1, image_height_ = 0, image_width_ = 0;
};

}  // namespace mollify::nn::bounds
