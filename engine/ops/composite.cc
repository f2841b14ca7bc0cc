// Operations that are a few others: their gradients of any order are those.
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>
#include <cmath>

namespace mollify {
namespace {

Tensor like(const Tensor& x, double value) { return Tensor::scalar(value, x.dtype()); }

Tensor truth(const Tensor& x) { return not_equal(x, like(x, 0)); }

// Errors name the operation that was called, not those that it is made of.
void require_pair(const char* operation, const Tensor& a, const Tensor& b) {
  require_same_dtype(operation, a, b);
  broadcast(operation, a.shape(), b.shape());
}

int64_t reduced(const Tensor& x, Axes axes) {
  if (axes.size() == 0) return x.size();
  int64_t count = 1;
  for (const int axis : axes) count *= x.dim(axis);
  return count;
}

// A comparison with a number: of integers in f64, so that 0.5 and 1e10 stay what they are.
Tensor beside(const Tensor& a, double b, Tensor (*compare)(const Tensor&, const Tensor&)) {
  const Tensor x = is_floating(a.dtype()) ? a : cast(a, DType::f64);
  return compare(x, like(x, b));
}

}  // namespace

Tensor root(const Tensor& x) {
  const Tensor zero = like(x, 0), some = less(zero, x);
  return where(some, sqrt(where(some, x, like(x, 1))), where(is_nan(x), x, zero));
}

Tensor linspace(double first, double last, int64_t count, DType dtype, Device device) {
  require<ValueError>(count >= 2, "linspace: {} numbers; needs at least 2", count);
  const double step = (last - first) / static_cast<double>(count - 1);
  return cast(arange(count, DType::f64, device) * step + first, dtype);
}

Tensor eye(int64_t count, DType dtype, Device device) {
  return cast(one_hot(arange(count, DType::i32, device), count), dtype);
}

Tensor rand(const Shape& shape, uint64_t seed, DType dtype, Device device) {
  return uniform(shape, {seed, stream_of(Purpose::caller)}, Tensor::scalar(0, DType::i32), dtype, device);
}
Tensor randn(const Shape& shape, uint64_t seed, DType dtype, Device device) {
  return normal(shape, {seed, stream_of(Purpose::caller)}, Tensor::scalar(0, DType::i32), dtype, device);
}

// ---- Comparisons and truth values

Tensor operator<(const Tensor& a, const Tensor& b) { return less(a, b); }
Tensor operator<=(const Tensor& a, const Tensor& b) { return less_equal(a, b); }
Tensor operator>(const Tensor& a, const Tensor& b) { return greater(a, b); }
Tensor operator>=(const Tensor& a, const Tensor& b) { return greater_equal(a, b); }
Tensor operator==(const Tensor& a, const Tensor& b) { return equal(a, b); }
Tensor operator!=(const Tensor& a, const Tensor& b) { return not_equal(a, b); }
Tensor operator<(const Tensor& a, double b) { return beside(a, b, less); }
Tensor operator<=(const Tensor& a, double b) { return beside(a, b, less_equal); }
Tensor operator>(const Tensor& a, double b) { return beside(a, b, greater); }
Tensor operator>=(const Tensor& a, double b) { return beside(a, b, greater_equal); }
Tensor operator==(const Tensor& a, double b) { return beside(a, b, equal); }
Tensor operator!=(const Tensor& a, double b) { return beside(a, b, not_equal); }

Tensor is_nan(const Tensor& x) { return not_equal(x, x); }
Tensor logical_not(const Tensor& x) { return equal(x, like(x, 0)); }
Tensor logical_and(const Tensor& a, const Tensor& b) {
  require_pair("logical_and", a, b);
  return where(truth(a), truth(b), Tensor::scalar(0, DType::u8));
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  require_pair("logical_or", a, b);
  return where(truth(a), Tensor::scalar(1, DType::u8), truth(b));
}
Tensor any(const Tensor& x) {
  if (x.size() == 0) return zeros({}, DType::u8, x.device());
  return cast(max(cast(truth(x), DType::f32)), DType::u8);
}
Tensor All::operator()(const Tensor& x) const { return logical_not(any(logical_not(x))); }

Tensor minimum(const Tensor& a, double b) { return minimum(a, like(a, b)); }
Tensor maximum(const Tensor& a, double b) { return maximum(a, like(a, b)); }

void assign(const Tensor& target, double value) { assign(target, like(target, value)); }

// ---- Reductions

Tensor sum(const Tensor& x, int axis, bool keep) { return sum(x, Axes{axis}, keep); }
Tensor mean(const Tensor& x, int axis, bool keep) { return mean(x, Axes{axis}, keep); }
Tensor max(const Tensor& x, int axis, bool keep) { return max(x, Axes{axis}, keep); }
Tensor min(const Tensor& x, int axis, bool keep) { return min(x, Axes{axis}, keep); }
Tensor argmin(const Tensor& x, int axis) {
  require_floating("argmin", x);
  return argmax(-x, axis);
}

Tensor variance(const Tensor& x, Axes axes, bool keep, int64_t correction) {
  require_floating("variance", x);
  const Tensor apart = x - mean(x, axes, /*keep=*/true);
  return sum(square(apart), axes, keep) / static_cast<double>(std::max<int64_t>(0, reduced(x, axes) - correction));
}
Tensor standard_deviation(const Tensor& x, Axes axes, bool keep, int64_t correction) {
  require_floating("standard_deviation", x);
  return root(variance(x, axes, keep, correction));
}

// Of x by its largest number, so that squares neither overflow nor vanish. An infinite number makes it infinite.
Tensor norm(const Tensor& x, Axes axes, bool keep) {
  require_floating("norm", x);
  if (x.size() == 0) return sum(abs(x), axes, keep);
  const Tensor largest = max(abs(x.detach()), axes, /*keep=*/true), one = like(x, 1);
  const Tensor usable = where(logical_and(largest > 0.0, largest < INFINITY), largest, one);
  const Tensor scaled = root(sum(square(x / usable), axes, /*keep=*/true)) * usable;
  return keep ? scaled : sum(scaled, axes);  // over axes of extent 1
}

Tensor prod(const Tensor& x, int axis, bool keep) {
  require_floating("prod", x);
  axis = resolve_axis("prod", axis, x.rank());
  Tensor y = x;
  if (x.dim(axis) == 0) {
    Shape none = x.shape();
    none[axis] = 1;
    y = ones(none, x.dtype(), x.device());
  }
  while (y.dim(axis) > 1) {
    const int64_t extent = y.dim(axis), half = extent / 2;
    const Tensor pairs = slice(y, axis, 0, half) * slice(y, axis, half, 2 * half);
    y = extent % 2 ? concat({pairs, slice(y, axis, 2 * half, extent)}, axis) : pairs;
  }
  return keep ? y : sum(y, Axes{axis});  // over an axis of extent 1
}

// ---- Shape

Tensor concat(std::initializer_list<Tensor> parts, int axis) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), axis);
}
Tensor stack(std::initializer_list<Tensor> parts, int axis) {
  return stack(std::span<const Tensor>(parts.begin(), parts.size()), axis);
}

Tensor reshape(const Tensor& x, std::initializer_list<int64_t> extents) {
  Shape shape;
  int64_t known = 1;
  int left = -1;
  for (const int64_t extent : extents) {
    require(extent >= -1 && (extent >= 0 || left < 0), "reshape: an extent of {}; needs at least 0, and one −1 at most",
            extent);
    if (extent < 0)
      left = shape.rank();
    else
      known *= extent;
    shape.push_back(std::max<int64_t>(0, extent));
  }
  if (left >= 0) {
    require(known > 0 && x.size() % known == 0, "reshape: {} into multiples of {}; needs one that divides {}",
            x.shape(), known, x.size());
    shape[left] = x.size() / known;
  }
  return reshape(x, shape);
}

}  // namespace mollify
