// What stands in x(…): a number takes a place along its axis and drops it, negative ones count from the back; a Slice a
// run of places; `all` the whole axis; a 1-d i32 tensor the places that it lists, a 1-d u8 one those where it is not 0.
// Axes that are not named are whole. A single u8 tensor of x's own shape chooses numbers: the result is 1-d.
#pragma once

#include <mollify/engine/tensor.h>

#include <optional>
#include <variant>

#pragma GCC visibility push(default)
namespace mollify {

// As in Python: negative ends count from the back, what is left out is an end of the axis.
struct Slice {
  std::optional<int64_t> start = {}, stop = {};
  int64_t step = 1;
};

// x(all, 0) is a whole axis; all(x) asks whether all numbers are not 0 (ops.h).
struct All {
  Tensor operator()(const Tensor& x) const;
};
inline constexpr All all;

class Index {
 public:
  Index(int64_t place) : what(place) {}                      // NOLINT: implicit by design, all of them
  Index(int place) : what(int64_t{place}) {}                 // NOLINT
  Index(const Slice& slice) : what(slice) {}                 // NOLINT
  Index(All) : what(all) {}                                  // NOLINT
  Index(const Tensor& list_or_mask) : what(list_or_mask) {}  // NOLINT

  std::variant<int64_t, Slice, All, Tensor> what;
};

// Throws ShapeError for a place or an axis that is not there, and for more than one list or mask; TypeError for a
// tensor of another dtype. Masks are read on the host.
Tensor index(const Tensor& x, std::span<const Index> indices);

template <class... Rest>
Tensor Tensor::operator()(const Index& first, const Rest&... rest) const {
  const Index indices[] = {first, Index(rest)...};
  return index(*this, indices);
}

class Tensor::Rows {
 public:
  Rows(const Tensor& x, int64_t i) : x_(&x), i_(i) {}
  Tensor operator*() const { return (*x_)[i_]; }
  Rows& operator++() {
    ++i_;
    return *this;
  }
  bool operator==(const Rows& other) const { return i_ == other.i_; }

 private:
  const Tensor* x_;
  int64_t i_;
};

}  // namespace mollify
#pragma GCC visibility pop
