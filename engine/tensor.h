// Tensors: handles to counted, strided arrays, with the node that computed them when gradients are recorded.
#pragma once

#include <mollify/engine/error.h>
#include <mollify/engine/memory.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify {

enum class DType : uint8_t { f32, f64, i32, u8 };
const char* to_string(DType dtype);
inline int64_t size_of(DType dtype) { return dtype == DType::f64 ? 8 : dtype == DType::u8 ? 1 : 4; }
inline bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }
// The types that a tensor's numbers have.
template <class T>
concept Element =
    std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, int32_t> || std::is_same_v<T, uint8_t>;
template <Element T>
inline constexpr DType dtype_of = std::is_same_v<T, float>     ? DType::f32
                                  : std::is_same_v<T, double>  ? DType::f64
                                  : std::is_same_v<T, int32_t> ? DType::i32
                                                               : DType::u8;

// Calls f with a zero of the dtype's type: f(float()), …
template <class F>
void for_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f(float());
    case DType::f64: return f(double());
    case DType::i32: return f(int32_t());
    case DType::u8: return f(uint8_t());
  }
}

inline constexpr int kMaxRank = 6;

// Up to six extents, in place. Used for shapes and for strides (both in elements).
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : Shape(extents.begin(), extents.size()) {}
  Shape(const int64_t* extents, size_t rank);  // throws ShapeError above six extents or for a negative one
  explicit Shape(const std::vector<int64_t>& extents) : Shape(extents.data(), extents.size()) {}

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[axis]; }
  int64_t& operator[](int axis) { return extents_[axis]; }
  int64_t back() const { return extents_[rank_ - 1]; }
  const int64_t* begin() const { return extents_; }
  const int64_t* end() const { return extents_ + rank_; }
  void push_back(int64_t extent);
  void erase(int axis);
  void insert(int axis, int64_t extent);

  int64_t size() const {
    int64_t product = 1;
    for (int64_t extent : *this) product *= extent;
    return product;
  }
  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a.extents_[i] != b.extents_[i]) return false;
    return true;
  }

 private:
  int64_t extents_[kMaxRank] = {};
  int rank_ = 0;
};
std::string to_string(const Shape& shape);  // "[2, 3]"

// `axis` counts from the back when negative; throws ShapeError naming `operation` when there is no such axis.
int resolve_axis(const char* operation, int64_t axis, int rank);

// The shape that both broadcast to: trailing axes aligned, extents equal or 1. Throws ShapeError naming `operation`.
Shape broadcast(const char* operation, const Shape& a, const Shape& b);

// Where the elements of a tensor are within its buffer.
struct Layout {
  Shape shape;
  Shape strides;       // in elements; 0 repeats, negative runs backwards
  int64_t offset = 0;  // in elements
  DType dtype = DType::f32;
  Device device = Device::cpu;

  static Layout packed(const Shape& shape, DType dtype,
                       Device device = Device::cpu);  // row-major; throws when the size overflows
  bool is_packed() const;
};

// Numbers in nested braces, such as {{1, 2}, {3, 4}}.
struct NestedList {
  NestedList(double number) : number(number) {}                                // NOLINT: implicit, for braces
  NestedList(std::initializer_list<NestedList> list) : list(list), leaf(false) {}  // NOLINT
  double number = 0;
  std::vector<NestedList> list = {};
  bool leaf = true;
};

class Index;

struct Node;
void retain(Node* node);
void release(Node* node);

// A value handle: copying shares. Default-constructed, it is empty: !defined().
class Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor& other) : body_(other.body_) {
    if (body_) body_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Tensor(Tensor&& other) noexcept : body_(std::exchange(other.body_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(body_, other.body_);
    return *this;
  }
  ~Tensor() {
    if (body_ && drop_reference(body_->references)) destroy();
  }

  // Of numbers in braces, nested to as many axes; throws ShapeError where lists of one depth differ in length,
  // ValueError where an integer dtype has no such number.
  Tensor(std::initializer_list<NestedList> list, DType dtype = DType::f32);

  // A new packed tensor with values that are not set.
  static Tensor empty(const Layout& layout);
  // A tensor on part of an existing buffer, which it retains.
  static Tensor on(Buffer* buffer, const Layout& layout);
  template <Element T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  template <Element T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }
  static Tensor scalar(double value,
                       DType dtype = DType::f32);  // 0-d; throws ValueError where an integer dtype has no such number

  bool defined() const { return body_ != nullptr; }
  const Layout& layout() const {  // throws GraphError when empty, as all that reads it
    if (!body_) [[unlikely]] throw_empty();
    return body_->layout;
  }
  const Shape& shape() const { return layout().shape; }
  const Shape& strides() const { return layout().strides; }
  int rank() const { return shape().rank(); }
  int64_t dim(int axis) const { return shape()[resolve_axis("dim", axis, rank())]; }
  int64_t size() const { return shape().size(); }
  DType dtype() const { return layout().dtype; }
  Device device() const { return layout().device; }
  bool is_packed() const { return layout().is_packed(); }
  Buffer& buffer() const { return *body_->buffer; }

  // Address of element (0, …, 0); throws TypeError when T is not the dtype, DeviceError when it is not on the CPU,
  // GraphError while a capture or a trace makes its values unknown.
  template <Element T>
  T* data() const;
  // The same for kernels: the address on the tensor's own device, of whatever dtype or as T.
  char* first_byte() const {
    return static_cast<char*>(body_->buffer->data()) + body_->layout.offset * size_of(body_->layout.dtype);
  }
  template <class T>
  T* address() const {
    return reinterpret_cast<T*>(static_cast<char*>(body_->buffer->data()) +
                                body_->layout.offset * static_cast<int64_t>(sizeof(T)));
  }
  // Values copied to the host, from any device, in row-major order.
  template <Element T>
  std::vector<T> to_vector() const;
  // The only element, as a double, from any device; throws ShapeError when there are more.
  double item() const;

  // Views, as in Python: x[0], x(0, 1), x(Slice{1, 3}, all), x(-1), and copies of what lists and masks choose. See
  // engine/indexing.h.
  Tensor operator[](int64_t i) const;
  template <class... Rest>
  Tensor operator()(const Index& first, const Rest&... rest) const;
  // Along the first axis: for (const Tensor& row : x).
  class Rows;
  Rows begin() const;
  Rows end() const;

  // In place, also for those who share the memory; throws GraphError where this has a history.
  Tensor& operator+=(const Tensor& other);
  Tensor& operator-=(const Tensor& other);
  Tensor& operator*=(const Tensor& other);
  Tensor& operator/=(const Tensor& other);
  Tensor& operator+=(double other);
  Tensor& operator-=(double other);
  Tensor& operator*=(double other);
  Tensor& operator/=(double other);

  // The same values without their history.
  Tensor detach() const;
  bool needs_grad() const { return body_ && body_->node; }
  Node* node() const { return body_->node; }
  int output_number() const { return body_->output_number; }
  void set_node(Node* node, int output_number);  // retains node
  bool same(const Tensor& other) const { return body_ == other.body_; }

 private:
  struct Body {
    std::atomic<int32_t> references{1};
    int32_t output_number = 0;  // which of the node's outputs this is
    Buffer* buffer = nullptr;
    Node* node = nullptr;
    Layout layout;
  };
  static Body* new_body(Buffer* buffer, const Layout& layout);
  void destroy();
  [[noreturn]] static void throw_empty();
  void* typed_data(DType dtype) const;

  Body* body_ = nullptr;
};

// Throws ValueError where the tensor lies in memory of others that is for reading only (Buffer::foreign).
void require_writable(const char* operation, const Tensor& x);

template <Element T>
T* Tensor::data() const {
  return static_cast<T*>(typed_data(dtype_of<T>));
}

std::string to_string(const Tensor& x);  // as NumPy prints arrays
std::ostream& operator<<(std::ostream& out, const Tensor& x);

// A short list of tensors, mostly of one to four: no heap until there are more.
class Tensors {
 public:
  Tensors() = default;
  Tensors(std::initializer_list<Tensor> list) : Tensors(std::span<const Tensor>(list.begin(), list.size())) {}
  Tensors(Tensor single) : size_(1) { inline_[0] = std::move(single); }  // NOLINT: a rule may return its only gradient
  Tensors(std::span<const Tensor> list) : Tensors(list.size()) {
    for (size_t i = 0; i < list.size(); ++i) (*this)[i] = list[i];
  }
  explicit Tensors(size_t size) : size_(size) {
    if (size > kInline) heap_.resize(size);
  }
  size_t size() const { return size_; }
  Tensor& operator[](size_t i) { return begin()[i]; }
  const Tensor& operator[](size_t i) const { return begin()[i]; }
  Tensor* begin() { return size_ > kInline ? heap_.data() : inline_.data(); }
  Tensor* end() { return begin() + size_; }
  const Tensor* begin() const { return size_ > kInline ? heap_.data() : inline_.data(); }
  const Tensor* end() const { return begin() + size_; }
  operator std::span<const Tensor>() const { return {begin(), size_}; }

 private:
  static constexpr size_t kInline = 4;
  size_t size_ = 0;
  std::array<Tensor, kInline> inline_;
  std::vector<Tensor> heap_;
};

}  // namespace mollify
#pragma GCC visibility pop
