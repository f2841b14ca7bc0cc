#include <mollify/engine/indexing.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

Tensor place(const Tensor& x, int axis, int64_t i) {
  const int64_t extent = x.shape()[axis], resolved = i < 0 ? i + extent : i;
  require(resolved >= 0 && resolved < extent, "index: {} along axis {} of {}; needs {} to {}", i, axis, x.shape(),
          -extent, extent - 1);
  return without_axis(slice(x, axis, resolved, resolved + 1), axis);
}

Tensor run(const Tensor& x, int axis, const Slice& s) {
  const int64_t extent = x.shape()[axis];
  const bool backward = s.step < 0;
  // Python's ends: beyond the last place that a run can have, to either side.
  const int64_t start = s.start.value_or(backward ? extent - 1 : 0),
                stop = s.stop.value_or(backward ? -extent - 1 : extent);
  return slice(x, axis, start, stop, s.step);
}

// Where a mask is not 0, in row-major order.
Tensor places_of(const Tensor& mask) {
  std::vector<int32_t> places;
  const std::vector<uint8_t> values = mask.to_vector<uint8_t>();
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i]) places.push_back(static_cast<int32_t>(i));
  return to(Tensor::from(places, {static_cast<int64_t>(places.size())}), mask.device());
}

Tensor chosen(const Tensor& x, int axis, const Tensor& by) {
  require<TypeError>(by.dtype() == DType::i32 || by.dtype() == DType::u8,
                     "index: a list of {}; needs i32, or a mask of u8", by.dtype());
  require(by.rank() == 1, "index: a list or mask of shape {} along axis {}; needs one axis, or a mask of {}",
          by.shape(), axis, x.shape());
  if (by.dtype() == DType::i32)
    return take(x, where(by < 0.0, by + static_cast<double>(x.shape()[axis]), by), axis);
  require(by.dim(0) == x.shape()[axis], "index: a mask of {} along axis {} of {}; needs one for each place", by.dim(0),
          axis, x.shape());
  return take(x, places_of(by), axis);
}

}  // namespace

Tensor index(const Tensor& x, std::span<const Index> indices) {
  if (indices.size() == 1)
    if (const auto* mask = std::get_if<Tensor>(&indices[0].what);
        mask && mask->dtype() == DType::u8 && mask->rank() > 1 && mask->shape() == x.shape())
      return take(flatten(x), places_of(*mask), 0);
  require(static_cast<int>(indices.size()) <= x.rank(), "index: {} indices into {}; needs at most {}", indices.size(),
          x.shape(), x.rank());
  Tensor y = x;
  int axis = 0, lists = 0;
  for (const Index& one : indices) {
    if (const auto* i = std::get_if<int64_t>(&one.what)) {
      y = place(y, axis, *i);
      continue;
    }
    if (const auto* s = std::get_if<Slice>(&one.what)) y = run(y, axis, *s);
    if (const auto* list = std::get_if<Tensor>(&one.what)) {
      require(++lists == 1, "index: {} lists or masks into {}; needs one at most", lists, x.shape());
      y = chosen(y, axis, *list);
    }
    ++axis;
  }
  return y;
}

Tensor Tensor::operator[](int64_t i) const {
  require(rank() > 0, "index: {} into a number; needs an axis", i);
  return place(*this, 0, i);
}

Tensor::Rows Tensor::begin() const {
  require(rank() > 0, "rows: of a number; needs an axis");
  return {*this, 0};
}
Tensor::Rows Tensor::end() const { return {*this, dim(0)}; }

Tensor& Tensor::operator+=(const Tensor& other) { return assign(*this, *this + other), *this; }
Tensor& Tensor::operator-=(const Tensor& other) { return assign(*this, *this - other), *this; }
Tensor& Tensor::operator*=(const Tensor& other) { return assign(*this, *this * other), *this; }
Tensor& Tensor::operator/=(const Tensor& other) { return assign(*this, *this / other), *this; }
Tensor& Tensor::operator+=(double other) { return assign(*this, *this + other), *this; }
Tensor& Tensor::operator-=(double other) { return assign(*this, *this - other), *this; }
Tensor& Tensor::operator*=(double other) { return assign(*this, *this * other), *this; }
Tensor& Tensor::operator/=(double other) { return assign(*this, *this / other), *this; }

namespace {

void read_list(const NestedList& list, int axis, Shape& shape, std::vector<double>& values) {
  if (list.leaf) {
    require(axis == shape.rank(), "tensor: a number stands beside a list at depth {}; needs lists of one depth", axis);
    values.push_back(list.number);
    return;
  }
  const auto extent = static_cast<int64_t>(list.list.size());
  if (axis == shape.rank()) {
    require(values.empty(), "tensor: a list stands beside a number at depth {}; needs lists of one depth", axis);
    shape.push_back(extent);
  }
  require(shape[axis] == extent, "tensor: lists of {} and {} at depth {}; need one length", shape[axis], extent, axis);
  for (const NestedList& below : list.list) read_list(below, axis + 1, shape, values);
}

}  // namespace

Tensor::Tensor(std::initializer_list<NestedList> list, DType dtype) {
  Shape shape;
  std::vector<double> values;
  read_list(NestedList(list), 0, shape, values);
  const Tensor wide = from(values, shape);
  *this = dtype == DType::f64 ? wide : cast(wide, dtype);
}

}  // namespace mollify
