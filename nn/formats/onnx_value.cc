#include <mollify/nn/formats/onnx_value.h>

#include <algorithm>

namespace mollify::nn::formats::detail {
namespace {

bool can_fold(const Shape& shape) { return shape.rank() >= 2 && shape[0] == 1; }

// shape with ones in front, of the given rank
Shape raised(const Shape& shape, int rank) {
  Shape out = shape;
  while (out.rank() < rank) out.insert(0, 1);
  return out;
}

Shape with_rows(int64_t rows, const Shape& shape) {
  Shape out = shape;
  out.insert(0, rows);
  return out;
}

// stacked values get ones behind the row axis
Tensor raised_rows(const Value& x, int rank) {
  return reshape(x.tensor, with_rows(x.tensor.dim(0), raised(file_shape(x), rank)));
}

// The constant as it broadcasts with a folded value or an image of `rank` axes; empty when it cannot.
Tensor matching(const Value& constant, const Value& rows, int rank) {
  Tensor c = constant.tensor;
  Shape shape = c.shape();
  if (shape.rank() == rank && shape[0] == 1) shape.erase(0);
  if (shape.rank() >= rank) return {};
  c = reshape(c, rows.form == Form::image ? raised(shape, 3) : shape);
  return rows.form == Form::image ? permute(c, {1, 2, 0}) : c;
}

Value broadcast_constant(Binary f, const Value& rows, const Value& constant, bool constant_first) {
  const auto call = [&](const Tensor& x, const Tensor& c) { return constant_first ? f(c, x) : f(x, c); };
  const int rank = file_shape(rows).rank();
  if (rows.form != Form::stacked)
    if (const Tensor c = matching(constant, rows, rank); c.defined()) return {call(rows.tensor, c), rows.form};
  const Tensor x = raised_rows(stacked(rows), std::max(rank, constant.tensor.rank()));
  return folded({call(x, constant.tensor), Form::stacked});
}

}  // namespace

Shape file_shape(const Value& x) {
  Shape shape = x.tensor.shape();
  switch (x.form) {
    case Form::constant: break;
    case Form::stacked: shape.erase(0); break;
    case Form::folded: shape[0] = 1; break;
    case Form::image: return {1, shape[3], shape[1], shape[2]};
    case Form::filter: return {shape[0], shape[3], shape[1], shape[2]};
  }
  return shape;
}

Value in_file_order(const Value& x) {
  if (x.form != Form::image && x.form != Form::filter) return x;
  return {permute(x.tensor, {0, 3, 1, 2}), x.form == Form::image ? Form::folded : Form::constant};
}

Value stacked(const Value& x) {
  const Value plain = in_file_order(x);
  if (plain.form != Form::folded) return plain;
  return {reshape(plain.tensor, with_rows(plain.tensor.dim(0), file_shape(plain))), Form::stacked};
}

Value folded(const Value& x) { return x.form == Form::stacked ? with_shape(x, file_shape(x)) : x; }

Value as_image(const Value& x) {
  if (x.form == Form::image) return x;
  const Shape shape = file_shape(x);
  require(x.form == Form::folded && shape.rank() == 4,
          "input is {}{}; needs (1, C, H, W), computed from the network's input", x.is_constant() ? "a constant " : "",
          shape);
  return {permute(x.tensor, {0, 2, 3, 1}), Form::image};
}

Value with_shape(const Value& x, const Shape& shape) {
  const Shape before = file_shape(x);
  if (before == shape && x.form != Form::stacked) return x;
  require(before.size() == shape.size(), "from {} to {}; both must have as many elements", before, shape);
  // An image of one channel or one pixel lies as in the file.
  const Value plain = x.form == Form::image && (before[1] == 1 || before[2] * before[3] == 1) ? x : in_file_order(x);
  if (plain.is_constant()) return {reshape(plain.tensor, shape), Form::constant};
  Shape target = shape;
  if (can_fold(shape)) target.erase(0);
  return {reshape(plain.tensor, with_rows(plain.tensor.dim(0), target)),
          can_fold(shape) ? Form::folded : Form::stacked};
}

Value with_axes(const Value& x, std::span<const int> axes) {
  if (x.form == Form::filter) return in_file_order(x);
  return std::find(axes.begin(), axes.end(), 0) == axes.end() ? x : stacked(x);
}

int tensor_axis(const Value& x, int axis) {
  constexpr int kImageAxes[] = {0, 3, 1, 2};
  if (x.form == Form::image) return kImageAxes[axis];
  return x.form == Form::stacked ? axis + 1 : axis;
}

Value broadcast_apply(Binary f, const Value& a, const Value& b) {
  if (a.is_constant() && b.is_constant()) return {f(in_file_order(a).tensor, in_file_order(b).tensor), Form::constant};
  if (b.is_constant()) return broadcast_constant(f, a, in_file_order(b), false);
  if (a.is_constant()) return broadcast_constant(f, b, in_file_order(a), true);
  const int rank_a = file_shape(a).rank(), rank_b = file_shape(b).rank();
  if (a.form == b.form && rank_a == rank_b) return {f(a.tensor, b.tensor), a.form};
  if (a.form == Form::image && b.form == Form::folded && rank_b == 4)
    return {f(a.tensor, as_image(b).tensor), Form::image};
  if (b.form == Form::image && a.form == Form::folded && rank_a == 4)
    return {f(as_image(a).tensor, b.tensor), Form::image};
  const int rank = std::max(rank_a, rank_b);
  return folded({f(raised_rows(stacked(a), rank), raised_rows(stacked(b), rank)), Form::stacked});
}

}  // namespace mollify::nn::formats::detail
