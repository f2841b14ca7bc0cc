#include <mollify/engine/tensor.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/engine/recorder.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace mollify {

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::f64: return "f64";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
  }
  return "?";
}

Shape::Shape(const int64_t* extents, size_t rank) {
  require(rank <= kMaxRank, "shape: {} axes given; at most {} can be", rank, kMaxRank);
  for (size_t i = 0; i < rank; ++i) {
    require(extents[i] >= 0, "shape: axis {} has extent {}; extents are at least 0", i, extents[i]);
    extents_[i] = extents[i];
  }
  rank_ = static_cast<int>(rank);
}

void Shape::insert(int axis, int64_t extent) {
  require(rank_ < kMaxRank, "shape: a {}th axis on {}; at most {} can be", rank_ + 1, *this, kMaxRank);
  for (int i = rank_; i > axis; --i) extents_[i] = extents_[i - 1];
  extents_[axis] = extent;
  ++rank_;
}

void Shape::push_back(int64_t extent) { insert(rank_, extent); }

void Shape::erase(int axis) {
  for (int i = axis; i + 1 < rank_; ++i) extents_[i] = extents_[i + 1];
  extents_[--rank_] = 0;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text += "]";
}

int resolve_axis(const char* operation, int64_t axis, int rank) {
  require(axis >= -rank && axis < rank, "{}: axis {} given; a tensor of {} axes has {} to {}", operation, axis, rank,
          -rank, rank - 1);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Shape broadcast(const char* operation, const Shape& a, const Shape& b) {
  Shape out = a.rank() >= b.rank() ? a : b;
  const Shape& other = a.rank() >= b.rank() ? b : a;
  const int lead = out.rank() - other.rank();
  for (int i = 0; i < other.rank(); ++i) {
    int64_t& extent = out[lead + i];
    require(extent == other[i] || extent == 1 || other[i] == 1,
            "{}: shapes {} and {} given; trailing extents must be equal or 1", operation, a, b);
    if (extent == 1) extent = other[i];
  }
  return out;
}

Layout Layout::packed(const Shape& shape, DType dtype, Device device) {
  Layout layout;
  layout.shape = layout.strides = shape;
  layout.dtype = dtype;
  layout.device = device;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) {
    for (int i = 0; i < shape.rank(); ++i) layout.strides[i] = 0;
    return layout;
  }
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    layout.strides[i] = stride;
    if (__builtin_mul_overflow(stride, shape[i], &stride) || stride > (int64_t{1} << 46))
      throw ShapeError(format("shape: {} has more elements than can be addressed", shape));
  }
  return layout;
}

bool Layout::is_packed() const {
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != stride) return false;
    stride *= shape[i];
  }
  return true;
}

Tensor::Body* Tensor::new_body(Buffer* buffer, const Layout& layout) {
  Body* body = new (allocate_small(sizeof(Body))) Body;
  body->buffer = buffer;
  body->layout = layout;
  return body;
}

Tensor Tensor::empty(const Layout& layout) {
  Tensor out;
  out.body_ = new_body(Buffer::allocate(layout.shape.size() * size_of(layout.dtype), layout.device), layout);
  return out;
}

Tensor Tensor::on(Buffer* buffer, const Layout& layout) {
  buffer->retain();
  Tensor out;
  out.body_ = new_body(buffer, layout);
  return out;
}

void Tensor::destroy() {
  body_->buffer->release();
  if (body_->node) mollify::release(body_->node);
  body_->~Body();
  free_small(body_, sizeof(Body));
}

void Tensor::set_node(Node* node, int output_number) {
  if (node) retain(node);
  if (body_->node) mollify::release(body_->node);
  body_->node = node;
  body_->output_number = output_number;
}

void Tensor::throw_empty() { throw GraphError("tensor: it is empty; needs one with values"); }

Tensor Tensor::detach() const { return on(body_->buffer, layout()); }

void require_writable(const char* operation, const Tensor& x) {
  require<ValueError>(!x.buffer().read_only(),
                      "{}: a tensor {} in memory for reading only would be overwritten; needs a copy of it", operation,
                      x.shape());
}

void* Tensor::typed_data(DType wanted) const {
  require<TypeError>(dtype() == wanted, "data: the tensor is {}; read as {}; needs its own type, or cast(x, DType::{})",
                     dtype(), wanted, wanted);
  require<DeviceError>(device() == Device::cpu, "data: the tensor is on {}; only the CPU's memory can be read",
                       device());
  require<GraphError>(body_->buffer != &Buffer::without_values(),
                      "data: a value of a tensor {} is read while its function is traced; there is none yet", shape());
  if (const Recorder* recorder = Recorder::current()) recorder->check_host_access(*body_->buffer, shape());
  return first_byte();
}

Tensor Tensor::scalar(double value, DType dtype) {
  require_fits("scalar", value, dtype);
  Tensor out = empty(Layout::packed({}, dtype));
  switch (dtype) {
    case DType::f32: *out.data<float>() = static_cast<float>(value); break;
    case DType::f64: *out.data<double>() = value; break;
    case DType::i32: *out.data<int32_t>() = static_cast<int32_t>(value); break;
    case DType::u8: *out.data<uint8_t>() = static_cast<uint8_t>(value); break;
  }
  return out;
}

template <Element T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  require(static_cast<int64_t>(values.size()) == shape.size(), "tensor: {} values given for shape {}; needs {}",
          values.size(), shape, shape.size());
  Tensor out = empty(Layout::packed(shape, dtype_of<T>));
  if (!values.empty()) std::memcpy(out.data<T>(), values.data(), values.size_bytes());
  return out;
}

template <Element T>
std::vector<T> Tensor::to_vector() const {
  if (device() != Device::cpu) return to(detach(), Device::cpu).template to_vector<T>();
  const T* base = data<T>();
  std::vector<T> values(static_cast<size_t>(size()));
  if (values.empty()) return values;
  int64_t index[kMaxRank] = {};
  const T* element = base;
  for (T& value : values) {
    value = *element;
    for (int axis = rank() - 1; axis >= 0; --axis) {
      element += strides()[axis];
      if (++index[axis] < shape()[axis]) break;
      element -= strides()[axis] * shape()[axis];
      index[axis] = 0;
    }
  }
  return values;
}

template Tensor Tensor::from(std::span<const float>, const Shape&);
template Tensor Tensor::from(std::span<const double>, const Shape&);
template Tensor Tensor::from(std::span<const int32_t>, const Shape&);
template Tensor Tensor::from(std::span<const uint8_t>, const Shape&);
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<int32_t> Tensor::to_vector() const;
template std::vector<uint8_t> Tensor::to_vector() const;

double Tensor::item() const {
  require(size() == 1, "item: the tensor has shape {}; needs exactly one element", shape());
  if (device() != Device::cpu) return to(detach(), Device::cpu).item();
  switch (dtype()) {
    case DType::f32: return *data<float>();
    case DType::f64: return *data<double>();
    case DType::i32: return *data<int32_t>();
    case DType::u8: return *data<uint8_t>();
  }
  return 0;
}

}  // namespace mollify
