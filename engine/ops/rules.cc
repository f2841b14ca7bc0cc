#include <mollify/engine/ops/rules.h>

#include <cstdint>
#include <limits>

namespace mollify {

void require_floating(const char* operation, const Tensor& x) {
  require<TypeError>(is_floating(x.dtype()), "{}: given {} of shape {}; needs f32 or f64 (cast converts)", operation,
                     x.dtype(), x.shape());
}

void require_indices(const char* operation, const Tensor& x) {
  require<TypeError>(x.dtype() == DType::i32, "{}: given {} of shape {}; needs i32", operation, x.dtype(), x.shape());
}

void require_same_dtype(const char* operation, const Tensor& a, const Tensor& b) {
  require<TypeError>(a.dtype() == b.dtype(), "{}: given {} and {}; needs one dtype (cast converts)", operation,
                     a.dtype(), b.dtype());
}

void require_fits(const char* operation, double value, DType dtype) {
  if (is_floating(dtype)) return;
  const double low = dtype == DType::u8 ? 0 : std::numeric_limits<int32_t>::min(),
               high = dtype == DType::u8 ? 255 : std::numeric_limits<int32_t>::max();
  require<ValueError>(value > low - 1 && value < high + 1, "{}: {} given as {}; needs a number from {} to {}",
                      operation, value, dtype, low, high);
}

Tensors packed_operands(Inputs in, const Attributes&) {
  Tensors out(in.size());
  for (size_t i = 0; i < in.size(); ++i) out[i] = packed_operand(in[i]);
  return out;
}

Tensor repeated(double value, const Shape& shape, const Tensor& like) {
  return expand(full({}, value, like.dtype(), like.device()), shape);
}

Layouts broadcast_shape(const Op& op, Inputs in, const Attributes&) {
  require_floating(op.name, in[0]);
  Shape shape = in[0].shape();
  for (size_t i = 1; i < in.size(); ++i) {
    require_same_dtype(op.name, in[0], in[i]);
    if (!(in[i].shape() == shape)) shape = broadcast(op.name, shape, in[i].shape());
  }
  return Layout::packed(shape, in[0].dtype(), in[0].device());
}

}  // namespace mollify
