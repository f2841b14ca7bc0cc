// The funnel: every computation is apply(op, inputs, attributes). An op is data, and this header is all that writing
// one takes (examples/own_operation.cc):
//
//   const Op twice_op{.name = "twice", .shape = broadcast_shape, .cpu = kernel, .operands = packed_operands,
//                     .vjp = [](const VjpArguments& a) -> Tensors { return a.g * 2.0; }};
//   Tensor twice(const Tensor& x) { return apply(twice_op, x); }
//
// Graphs and plans refer to ops by address: they live as long as the program, as constants do.
#pragma once

#include <mollify/engine/op_arguments.h>

#pragma GCC visibility push(default)
namespace mollify {

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

// Most have a name, a shape rule, kernels with their operands and a backward rule, or are made_of others.
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

// What a backward rule sees.
class VjpArguments {
 public:
  VjpArguments(const Node& node, Inputs gradients, Inputs outputs, std::span<const bool> needed);

  Inputs in;
  const Attributes& attributes;
  const Tensor& g;   // gradient of output 0
  Inputs gradients;  // of every output; empty where none arrived
  bool needs(size_t i) const { return needed_[i]; }
  template <class T>
  const T& as() const { return attributes.as<T>(); }
  // Output i with its history, the live one or computed again; and its values only (of saved_outputs). Both throw
  // GraphError where the output was overwritten.
  Tensor out(size_t i = 0) const;
  const Tensor& saved(size_t i) const;

 private:
  void check_output(const Tensor& output) const;

  const Node& node_;
  Inputs outputs_;
  std::span<const bool> needed_;
};

Tensor apply(const Op& op, Inputs in, const Attributes& attributes = {});            // of one output
Tensors apply_all(const Op& op, Inputs in, const Attributes& attributes = {});       // of any number

// ---- Parts of rules and kernels
// A `shape`: packed, of the shape to which all inputs broadcast, and of their common dtype. Throws TypeError for
// integers or mixed dtypes.
Layouts broadcast_shape(const Op& op, Inputs in, const Attributes&);
// The `operands` of kernels that read row-major memory only: x.address<T>(), x.size() numbers.
Tensors packed_operands(Inputs in, const Attributes&);
// Throws TypeError unless the tensor is f32 or f64.
void require_floating(const char* operation, const Tensor& x);
// Calls f with a zero of the floating dtype's type: f(float()) or f(double()).
template <class F>
void for_floating(DType dtype, const F& f) {
  if (dtype == DType::f32) f(float());
  else f(double());
}

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
#pragma GCC visibility pop
