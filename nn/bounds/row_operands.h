// What relax and choose_sum read: rows, lines, pairs and windows, as tensors and in memory. Inner header of
// nn/bounds/ops.cc.
#pragma once

#include <mollify/nn/bounds/row_layout.h>

namespace mollify::nn::bounds {

inline int64_t numbers_of(const Tensor& x) { return extent_product(x.shape(), 2, x.rank()); }

inline bool same_numbers(const Shape& a, const Shape& b) {
  bool same = a.rank() == b.rank();
  for (int axis = 2; same && axis < a.rank(); ++axis) same = a[axis] == b[axis];
  return same;
}

// An op's inputs: rows, slopes (relax only), the negative intercept, the other one if there is one, and of pairs the
// samples, the sources and the places, as they are given.

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

inline Runs runs_of(const Operands& o, const Given& given) {
  return {o.pairs.place, given.window, given.columns, o.rows.shape(), o.intercept[1].shape()};
}

// Throws ValueError unless the samples rise within [0, samples) and the sources are rows. On the CPU.
void check(const char* operation, const Operands& o);

}  // namespace mollify::nn::bounds
