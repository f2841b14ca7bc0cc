// Values of an ONNX graph, each with how its tensor lies relative to the file's axes.
#pragma once

#include <mollify/engine/ops.h>

#include <functional>
#include <memory>
#include <vector>

namespace mollify::nn::formats::detail {

// For a value whose shape in the file (for a batch of one) is (a, b, …), over N rows:
enum class Form {
  constant,  // [a, b, …], of weights alone
  filter,    // [a, c, d, b]: a convolution's weight, channels last
  stacked,   // [N, a, b, …]
  folded,    // [N, b, …] where a = 1 and there are two axes or more
  image,     // [N, c, d, b] where a = 1 and there are four axes: channels last
};

struct Padded;

struct Value {
  Tensor tensor;  // empty: an optional input that is not given
  Form form = Form::constant;
  std::shared_ptr<const Padded> padded = {};  // of an image that a Pad put −∞ around

  bool is_constant() const { return form == Form::constant || form == Form::filter; }
};
using Values = std::vector<Value>;

// What a Pad with −∞ was given: a max pooling pads by itself, so that no infinite number meets bounds' sums.
struct Padded {
  Value image;
  std::vector<int64_t> pads;  // top, left, bottom, right
};

// What an operator does. `one` is the 0-d 1 of the evaluation's dtype, from which constants are made.
using Run = std::function<Values(std::span<const Value> in, const Tensor& one)>;

Shape file_shape(const Value& x);

// In the file's order of axes: constant, stacked or folded.
Value in_file_order(const Value& x);
// constant or stacked
Value stacked(const Value& x);
// stacked becomes folded where it can
Value folded(const Value& x);
// Throws ShapeError unless the value depends on the rows and is (1, C, H, W).
Value as_image(const Value& x);
// The same numbers, in the file's order, as a value of another shape in the file.
Value with_shape(const Value& x, const Shape& shape);

// The value with a tensor axis for each of the file's axes that are asked for (the first one is none while folded).
Value with_axes(const Value& x, std::span<const int> axes);
// The tensor's axis that is the file's `axis`.
int tensor_axis(const Value& x, int axis);

// f on operands that broadcast as the file's shapes do.
using Binary = Tensor (*)(const Tensor&, const Tensor&);
Value broadcast_apply(Binary f, const Value& a, const Value& b);

}  // namespace mollify::nn::formats::detail
