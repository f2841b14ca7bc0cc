// What operations take and say besides tensors: lists of inputs, attributes, layouts of outputs. All convert from what
// a call or a rule writes down, so that few need to read this.
#pragma once

#include <mollify/engine/tensor.h>

#include <cstring>
#include <memory>
#include <type_traits>

#pragma GCC visibility push(default)
namespace mollify {

// The inputs of an operation, as passed in a call: apply(op, {a, b}). Refers to tensors, and lives no longer than they
// do.
class Inputs {
 public:
  Inputs() = default;
  template <class... Rest>
  requires(sizeof...(Rest) < 6 && (std::is_same_v<Rest, Tensor> && ...))
      Inputs(const Tensor& first, const Rest&... rest)
      : size_(1 + sizeof...(Rest)), few_{&first, &rest...} {}  // NOLINT: implicit by design
  Inputs(std::span<const Tensor> list) : size_(list.size()), list_(list.data()) {}
  Inputs(const Tensors& list) : Inputs(std::span<const Tensor>(list)) {}

  size_t size() const { return size_; }
  const Tensor& operator[](size_t i) const { return list_ ? list_[i] : *few_[i]; }

  struct Iterator {
    const Inputs* inputs;
    size_t i;
    const Tensor& operator*() const { return (*inputs)[i]; }
    Iterator& operator++() {
      ++i;
      return *this;
    }
    bool operator==(const Iterator&) const = default;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size_}; }

 private:
  size_t size_ = 0;
  const Tensor* list_ = nullptr;
  const Tensor* few_[6] = {};
};

// The numbers of an operation that are not tensors: one small plain struct of the op's own choosing, and a list where
// lengths vary.
class Attributes {
 public:
  Attributes() = default;
  template <class T>
  requires(std::is_trivially_copyable_v<T> && !std::is_same_v<T, Attributes>) Attributes(const T& value)
      : size_(sizeof(T)),
        type_(&type_of<T>),
        prefix_(prefix_of<T>()) {  // NOLINT: implicit, so that calls read apply(op, in, Slice{…})
    static_assert(sizeof(T) <= sizeof bytes_ && alignof(T) <= 8);
    std::memcpy(bytes_, &value, sizeof(T));
  }
  Attributes(std::vector<int64_t> list) : list_(std::make_shared<const std::vector<int64_t>>(std::move(list))) {}
  Attributes(std::shared_ptr<const std::vector<int64_t>> list) : list_(std::move(list)) {}
  Attributes(const Attributes& other)
      : size_(other.size_), type_(other.type_), prefix_(other.prefix_), list_(other.list_) {
    std::memcpy(bytes_, other.bytes_, size_);
  }
  Attributes& operator=(const Attributes& other) {
    std::memcpy(bytes_, other.bytes_, size_ = other.size_);
    type_ = other.type_;
    prefix_ = other.prefix_;
    list_ = other.list_;
    return *this;
  }

  // The struct that was given, or its first member where the struct names that member's type as its Prefix; throws
  // GraphError for any other.
  template <class T>
  const T& as() const {
    require<GraphError>(type_ == &type_of<T> || prefix_ == &type_of<T>,
                        "attributes: {} bytes are read as another type of {}; needs the type that was given", size_,
                        sizeof(T));
    return *reinterpret_cast<const T*>(bytes_);
  }
  const std::vector<int64_t>& list() const {
    require<GraphError>(list_ != nullptr, "attributes: there is no list; needs one");
    return *list_;
  }

 private:
  template <class T> static inline constexpr char type_of = 0;  // its address tells types apart
  template <class T>
  static constexpr const char* prefix_of() {
    if constexpr (requires { typename T::Prefix; }) return &type_of<typename T::Prefix>;
    else return nullptr;
  }

  size_t size_ = 0;
  const char *type_ = nullptr, *prefix_ = nullptr;
  alignas(8) unsigned char bytes_[96];
  std::shared_ptr<const std::vector<int64_t>> list_;
};

// Layouts of an op's outputs, at most four unless the op is a split.
class Layouts {
 public:
  Layouts() = default;
  Layouts(const Layout& single) : size_(1), first_(single) {}  // NOLINT: most rules return one
  Layouts(std::initializer_list<Layout> list) {
    for (const Layout& layout : list) push_back(layout);
  }
  void push_back(const Layout& layout) {
    if (size_ == 0) first_ = layout;
    else rest_.push_back(layout);
    ++size_;
  }
  size_t size() const { return size_; }
  const Layout& operator[](size_t i) const { return i == 0 ? first_ : rest_[i - 1]; }

 private:
  size_t size_ = 0;
  Layout first_;
  std::vector<Layout> rest_;
};

}  // namespace mollify
#pragma GCC visibility pop
