// The funnel: every computation is apply(op, inputs, attributes). An op is data.
#pragma once

#include <mollify/engine/tensor.h>

#include <cstring>
#include <memory>
#include <type_traits>

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

struct KernelArguments {
  Inputs in;                    // as the op's `operands` made them
  std::span<const Tensor> out;  // packed, unless the op assigns
  const Attributes& attributes;
};
using Kernel = void (*)(const KernelArguments&);

// Reads n numbers of each input and writes n of each output; an output may be an input's memory.
using BlockFunction = void (*)(const void* const* in, void* const* out, int64_t n);

class VjpArguments;

// What readers of a trace may rely on. sum: linear in all floating inputs together. product: linear in input 0 and in
// input 1 (or in its inverse) apart, with an optional input 2 added.
enum class Linearity : uint8_t { none, sum, product };

struct Op {
  const char* name;
  Linearity linearity = Linearity::none;
  Layouts (*shape)(const Op&, Inputs,
                   const Attributes&);  // throws with the shapes or values at fault; null for a variable
  Kernel cpu = nullptr;
  Kernel cuda = nullptr;
  // Of elementwise ops: the formula in f32 or f64 on the CPU, so that a plan can run several over the same block.
  BlockFunction (*formula)(DType) = nullptr;
  // What the kernels read, made of the inputs: views or copies in a layout that they want, and operands of their own.
  // Null: the inputs.
  Tensors (*operands)(Inputs, const Attributes&) = nullptr;
  // Vector–Jacobian product in public, differentiable ops: one gradient per input; an empty one where nothing flows or
  // nobody asked.
  // A gradient may have the broadcast shape; grad sums it down. Null: not differentiable.
  Tensors (*vjp)(const VjpArguments&) = nullptr;
  // The same numbers faster, for when no graph of the gradient is wanted; tests hold the two equal.
  Tensors (*vjp_fast)(const VjpArguments&) = nullptr;
  // In place of kernels: the operation as others on the same inputs. Those are what is computed, captured and, unless
  // there is a vjp, differentiated; readers of a trace see the operation itself.
  Tensors (*made_of)(Inputs, const Attributes&) = nullptr;
  bool chooses_device = false;  // its shape rule says where the outputs are; else they are where the inputs are
  bool view = false;            // output 0… share input 0's buffer; there is no kernel
  // Of an op that does nothing but copy its inputs to disjoint parts of output 0: the part of input i, so that a plan
  // can let it be written there in the first place.
  Layout (*place)(const Layout& out, std::span<const Shape> in, size_t i, const Attributes&) = nullptr;
  int assigns = 0;              // the first `assigns` inputs are overwritten and are the outputs
  uint32_t saved_outputs = 0;   // bit i: a rule reads output i's values, which are kept with the node
};

// A recorded application of an op. Output tensors own their node and nodes own their inputs: no cycle.
struct Node {
  const Op* op;
  Attributes attributes;
  Tensors inputs;
  uint64_t version;       // version_sum when recorded: versions only rise, so any change shows
  Tensors saved;          // integer outputs and those of op->saved_outputs, without history
  uint64_t number;        // rises with time: inputs have smaller numbers
  size_t outputs = 1;
  std::atomic<int32_t> references{1};
  Node* next_dead = nullptr;
};
// Of the inputs whose values the op's rule reads: a sum's rule reads none but integers, such as a condition.
uint64_t version_sum(const Op& op, Inputs in);

// What a backward rule sees.
class VjpArguments {
 public:
  VjpArguments(const Node& node, Inputs gradients, Inputs outputs, std::span<const bool> needed)
      : in(node.inputs),
        attributes(node.attributes),
        g(gradients[0]),
        gradients(gradients),
        node_(node),
        outputs_(outputs),
        needed_(needed) {}

  Inputs in;
  const Attributes& attributes;
  const Tensor& g;   // gradient of output 0
  Inputs gradients;  // of every output; empty where none arrived
  bool needs(size_t i) const { return needed_[i]; }
  template <class T>
  const T& as() const { return attributes.as<T>(); }
  Tensor out(size_t i = 0) const;              // output i with its history: the live one, or computed again
  // Output i's values only. Both throw GraphError where the output was overwritten.
  const Tensor& saved(size_t i) const {
    check_output(node_.saved[i]);
    return node_.saved[i];
  }

 private:
  void check_output(const Tensor& output) const;

  const Node& node_;
  Inputs outputs_;
  std::span<const bool> needed_;
};

// The same value as the start of a new piece of history: what grad differentiates with respect to.
Tensor variable(const Tensor& value);

Tensor apply(const Op& op, Inputs in, const Attributes& attributes = {});            // of one output
Tensors apply_all(const Op& op, Inputs in, const Attributes& attributes = {});       // of any number

// Recording is per thread and on by default; it has an effect only where an input has a history.
bool is_recording();
class NoGrad {
 public:
  explicit NoGrad(bool record = false);
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;

 private:
  bool before_;
};
template <class F>
auto no_grad(F&& f) {
  NoGrad guard;
  return f();
}

}  // namespace mollify
