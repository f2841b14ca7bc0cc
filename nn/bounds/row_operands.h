// What relax and choose_sum read: rows, lines, pairs and windows, as tensors and in memory. Inner header of nn/bounds/ops.cc.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/nn/bounds/ops.h>

#include <algorithm>
#include <vector>

namespace mollify::nn::bounds {

inline int64_t numbers_of(const Tensor& x) { return extent_product(x.shape(), 2, x.rank()); }

inline bool same_numbers(const Shape& a, const Shape& b) {
  bool same = a.rank() == b.rank();
  for (int axis = 2; same && axis < a.rank(); ++axis) same = a[axis] == b[axis];
  return same;
}

// A packed tensor [1 | N, 1 | K, d…] as rows in memory; nothing where it is empty.
template <class T>
struct View {
  View() = default;
  explicit View(const Tensor& x) {
    if (!x.defined()) return;
    data = x.data<T>();
    numbers = extent_product(x.shape(), 2, x.rank());
    sample = x.shape()[0] == 1 ? 0 : x.shape()[1] * numbers;
    row = x.shape()[1] == 1 ? 0 : numbers;
  }
  T* at(int64_t n, int64_t k) const { return data ? data + n * sample + k * row : nullptr; }
  T* data = nullptr;
  int64_t numbers = 0, sample = 0, row = 0;
};

// An op's inputs: rows, slopes (relax only), the negative intercept, the other one if there is one, and of pairs the samples, the sources and
// the places, as they are given.

struct Given {
  bool slopes, nonnegative_intercept, samples, sources, windows;
  Window window = {};
  int64_t columns = 0;
};

struct Operands {
  Operands(Inputs in, const Given& given) : rows(in[0]) {
    size_t next = 1;
    for (int i = 0; i < 2 && given.slopes; ++i) slope[i] = in[next++];
    intercept[1] = in[next++];
    if (given.nonnegative_intercept) intercept[0] = in[next++];
    if (given.samples) pairs.sample = in[next++];
    if (given.sources) pairs.source = in[next++];
    if (given.windows) pairs.place = in[next++];
    pairs.columns = given.columns;
  }
  // Where the gradients of lines belong among the inputs.
  static size_t place_of_intercept(const Given& given, int i) { return (given.slopes ? 3u : 1u) + (i == 0 ? 1u : 0u); }

  int64_t samples() const { return intercept[1].shape()[0]; }
  Tensor rows, slope[2], intercept[2];
  Pairs pairs;
};

// Where result row i is read: its sample, and its row of what all share or of its own.
struct Place { int64_t sample, row; };
class Places {
 public:
  Places(const Pairs& pairs, int64_t rows, int64_t samples) : rows_(rows), one_sample_(samples == 1) {
    if (pairs.all()) return;
    sample_ = pairs.sample.data<int32_t>();
    if (pairs.source.defined()) source_ = pairs.source.data<int32_t>();
  }
  Place operator[](int64_t i) const {
    if (!sample_) return {i / rows_, i % rows_};
    return {one_sample_ ? 0 : sample_[i], source_ ? source_[i] : i};
  }

 private:
  const int32_t *sample_ = nullptr, *source_ = nullptr;
  int64_t rows_;
  bool one_sample_;  // lines that all samples share
};

// Calls f(first number in the row, first number in the lines, count) for the runs of numbers that meet: the row as a whole, or the lines
// of a window that are in the image.
class Runs {
 public:
  Runs(const Operands& o, const Given& given) : window_(given.window), columns_(given.columns), numbers_(numbers_of(o.rows)) {
    if (!given.windows) return;
    place_ = o.pairs.place.data<int32_t>();
    const Shape &rows = o.rows.shape(), &lines = o.intercept[1].shape();
    height_ = rows[2];
    width_ = rows[3];
    channels_ = rows[4];
    image_height_ = lines[2];
    image_width_ = lines[3];
  }
  template <class F>
  void each(int64_t pair, const F& f) const {
    if (!place_) return f(0, 0, numbers_);
    const int64_t top = place_[pair] / columns_ * window_.stride_height - window_.before_height;
    const int64_t left = place_[pair] % columns_ * window_.stride_width - window_.before_width;
    const int64_t begin = std::max<int64_t>(0, -left), end = std::min(width_, image_width_ - left);
    if (begin >= end) return;
    for (int64_t y = std::max<int64_t>(0, -top); y < std::min(height_, image_height_ - top); ++y)
      f((y * width_ + begin) * channels_, ((top + y) * image_width_ + left + begin) * channels_, (end - begin) * channels_);
  }
  bool windows() const { return place_ != nullptr; }

 private:
  const int32_t* place_ = nullptr;
  Window window_;
  int64_t columns_, numbers_, height_ = 0, width_ = 0, channels_ = 0, image_height_ = 0, image_width_ = 0;
};

// Throws ValueError unless the samples rise within [0, samples) and the sources are rows.
void check(const char* operation, const Operands& o);

// The result rows of each sample: they follow one another.
std::vector<int64_t> first_rows(const Places& places, int64_t samples, int64_t count);

}  // namespace mollify::nn::bounds
