#include <mollify/engine/cuda/device.h>
#include <mollify/engine/node.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/recorder.h>
#include <mollify/engine/trace.h>

#include <atomic>
#include <cstring>
#include <new>

namespace mollify {
namespace {

thread_local bool recording = true;
std::atomic<uint64_t> next_number{1};

bool any_needs_grad(Inputs in) {
  for (const Tensor& t : in)
    if (t.needs_grad()) return true;
  return false;
}

bool is_number(const Tensor& x) { return x.device() == Device::cpu && x.rank() == 0; }

// A 0-d tensor of the CPU is a number, and goes with tensors of any device.
Device common_device(const Op& op, Inputs in) {
  Device device = Device::cpu;
  bool arrays = false;
  for (size_t i = 0; i < in.size(); ++i) {
    require<GraphError>(in[i].defined(), "{}: input {} is empty; needs a tensor with values", op.name, i);
    if (is_number(in[i])) continue;
    require<DeviceError>(!arrays || in[i].device() == device,
                         "{}: inputs on {} and {}; all but 0-d numbers must be on one device", op.name, device,
                         in[i].device());
    device = in[i].device();
    arrays = true;
  }
  return device;
}

Kernel kernel_for(const Op& op, Device device) {
  const Kernel kernel = device == Device::cpu ? op.cpu : op.cuda;
  require<DeviceError>(kernel != nullptr, "{}: there is no {} kernel in this build", op.name, device);
  return kernel;
}

// Its only reference belongs to the caller.
Node* new_node(const Op& op, Inputs in, const Attributes& attributes) {
  Tensors inputs(in.size());
  for (size_t i = 0; i < in.size(); ++i) inputs[i] = in[i];
  return new (allocate_small(sizeof(Node))) Node{.op = &op,
                                                 .attributes = attributes,
                                                 .inputs = std::move(inputs),
                                                 .version = version_sum(op, in),
                                                 .saved = {},
                                                 .number = next_number.fetch_add(1, std::memory_order_relaxed)};
}

void record(const Op& op, Inputs in, const Attributes& attributes, std::span<Tensor> out) {
  Node* node = new_node(op, in, attributes);
  node->outputs = out.size();
  bool saves = op.saved_outputs != 0;
  for (const Tensor& t : out) saves |= !is_floating(t.dtype());
  if (saves) node->saved = Tensors(out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const bool differentiable = is_floating(out[i].dtype());
    if (!differentiable || (i < 32 && (op.saved_outputs >> i & 1))) node->saved[i] = out[i].detach();
    if (differentiable) out[i].set_node(node, static_cast<int>(i));
  }
  release(node);
}

// Overwrites the first inputs: never part of a graph, and seen by grad through the buffers' versions.
void assign(const Op& op, Inputs in, Device device, std::span<Tensor> out) {
  for (size_t i = 0; i < out.size(); ++i)
    require<DeviceError>(in[i].device() == device,
                         "{}: a number on {} would be overwritten from {}; needs both on one device", op.name,
                         in[i].device(), device);
  require<GraphError>(!(recording && any_needs_grad(in)),
                      "{}: an input has a history; overwriting is refused while recording (use no_grad or detach)",
                      op.name);
  for (size_t i = 0; i < out.size(); ++i) {
    require_writable(op.name, in[i]);
    out[i] = in[i].detach();
    out[i].buffer().changed();
  }
}

bool any_abstract(Inputs in) {
  for (const Tensor& t : in)
    if (is_abstract(t)) return true;
  return false;
}

// Layouts only: outputs without values, recorded whatever their dtype.
void run_abstractly(const Op& op, Inputs in, const Attributes& attributes, const Layouts& layouts,
                    std::span<Tensor> out) {
  require<GraphError>(!op.assigns,
                      "{}: an input has no values yet, as its function is traced; it cannot be overwritten", op.name);
  Node* node = new_node(op, in, attributes);
  node->outputs = out.size();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = Tensor::on(&Buffer::without_values(), layouts[i]);
    out[i].set_node(node, static_cast<int>(i));
  }
  release(node);
  detail::add_step(out);
}

// A number of the CPU on the device. A capture notes its way there, so that every replay brings the number of then.
Tensor number_on_device(const Tensor& x, Recorder* recorder) {
  if (!recorder || recorder->in_kernel() || recorder->is_constant(x)) return cuda::number(x);
  const Recorder::InKernel unrecorded(recorder);
  uint64_t bits = 0;
  std::memcpy(&bits, x.first_byte(), static_cast<size_t>(size_of(x.dtype())));
  const Tensor out = Tensor::empty(Layout::packed({}, x.dtype(), Device::cuda));
  cuda::write_numbers(&bits, 1, out.buffer().data());
  recorder->number(x, out);
  return out;
}

// What the kernel reads. On the CPU that is mostly the inputs themselves, and then nothing is made.
class Operands {
 public:
  Operands(const Op& op, Inputs in, const Attributes& attributes, Device device, Recorder* recorder) : in_(in) {
    if (op.assigns) stage(op);
    if (op.operands) {
      NoGrad unrecorded;
      made_ = op.operands(in, attributes);
      in_ = made_;
    }
    if (device == Device::cuda) bring_numbers(recorder);
  }
  Inputs inputs() const { return in_; }

 private:
  // What lies in memory that is overwritten, in another order or at another place, is copied first.
  void stage(const Op& op) {
    const auto targets = static_cast<size_t>(op.assigns);
    const auto overlaps = [&](size_t i) {
      for (size_t t = 0; t < targets; ++t)
        if (share_memory(in_[i].buffer(), in_[t].buffer()) && !same_places(in_[i], in_[t])) return true;
      return false;
    };
    Tensors staged(in_.size());
    bool any = false;
    for (size_t i = 0; i < in_.size(); ++i) {
      const bool copied = i >= targets && in_[i].rank() > 0 && overlaps(i);
      staged[i] = copied ? concat(std::span<const Tensor>(&in_[i], 1)) : in_[i];
      any |= copied;
    }
    if (!any) return;
    made_ = std::move(staged);
    in_ = made_;
  }
  static bool same_places(const Tensor& a, const Tensor& b) {
    return a.first_byte() == b.first_byte() && a.shape() == b.shape() && a.strides() == b.strides();
  }

  void bring_numbers(Recorder* recorder) {
    Tensors brought(in_.size());
    for (size_t i = 0; i < in_.size(); ++i)
      brought[i] = is_number(in_[i]) ? number_on_device(in_[i], recorder) : in_[i];
    made_ = std::move(brought);
    in_ = made_;
  }

  Inputs in_;
  Tensors made_;
};

void compute(const Op& op, Inputs in, const Attributes& attributes, Device device, std::span<const Tensor> out) {
  Recorder* recorder = Recorder::current();
  if (!recorder) Recorder::check_thread(in);
  const Operands operands(op, in, attributes, device, recorder);
  const Kernel kernel = kernel_for(op, device);
  if (recorder && !recorder->in_kernel()) recorder->step(op, kernel, operands.inputs(), attributes, out);
  const Recorder::InKernel running(recorder);
  kernel({operands.inputs(), out, attributes});
}

Tensor output(const Layout& layout, Device device) {
  if (layout.device == device) return Tensor::empty(layout);
  Layout moved = layout;
  moved.device = device;
  return Tensor::empty(moved);
}

// With a rule of its own the operation is one node of the history, else its parts are.
void run_parts(const Op& op, Inputs in, const Attributes& attributes, const Layouts& layouts, std::span<Tensor> out) {
  const NoGrad guard(recording && !op.vjp);
  const Tensors made = op.made_of(in, attributes);
  require<GraphError>(made.size() == out.size(), "{}: its parts give {} results; needs {}", op.name, made.size(),
                      out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    require(made[i].shape() == layouts[i].shape && made[i].dtype() == layouts[i].dtype,
            "{}: its parts give {} {}; needs {} {}", op.name, made[i].dtype(), made[i].shape(), layouts[i].dtype,
            layouts[i].shape);
    out[i] = made[i];
  }
}

void run(const Op& op, Inputs in, const Attributes& attributes, Device device, const Layouts& layouts,
         std::span<Tensor> out) {
  const bool tracing = detail::is_tracing();
  if (any_abstract(in)) {
    require<GraphError>(tracing, "{}: an input of shape {} is left of a trace and has no values; needs one that has",
                        op.name, in[0].shape());
    return run_abstractly(op, in, attributes, layouts, out);
  }
  if (op.made_of) {
    run_parts(op, in, attributes, layouts, out);
    if (!op.vjp) return;
  } else if (op.view) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = Tensor::on(&in[0].buffer(), layouts[i]);
  } else {
    if (op.assigns) assign(op, in, device, out);
    else
      for (size_t i = 0; i < out.size(); ++i) out[i] = output(layouts[i], device);
    compute(op, in, attributes, device, out);
  }
  if (recording && op.vjp && any_needs_grad(in)) record(op, in, attributes, out);
  if (tracing) detail::add_constant(op, in, attributes, out);
}

}  // namespace

uint64_t version_sum(const Op& op, Inputs in) {
  uint64_t sum = 0;
  for (const Tensor& t : in)
    if (op.linearity != Linearity::sum || !is_floating(t.dtype())) sum += t.buffer().version();
  return sum;
}

void retain(Node* node) { node->references.fetch_add(1, std::memory_order_relaxed); }

// Iterative: a chain of a million nodes must not be a million stack frames. Nodes that die while another is being
// destroyed queue up.
void release(Node* node) {
  if (!drop_reference(node->references)) return;
  thread_local Node* dead = nullptr;
  thread_local bool destroying = false;
  node->next_dead = dead;
  dead = node;
  if (destroying) return;
  destroying = true;
  while (dead) {
    Node* last = dead;
    dead = last->next_dead;
    last->~Node();
    free_small(last, sizeof(Node));
  }
  destroying = false;
}

Tensor variable(const Tensor& value) {
  static const Op variable_op{
      .name = "variable", .shape = nullptr, .vjp = [](const VjpArguments& a) -> Tensors { return a.g; }};
  Tensor out = value.detach();
  Node* node = new_node(variable_op, value.needs_grad() ? Inputs(value) : Inputs(), {});
  out.set_node(node, 0);
  release(node);
  return out;
}

Tensor apply(const Op& op, Inputs in, const Attributes& attributes) {
  const Device device = common_device(op, in);
  const Layouts layouts = op.shape(op, in, attributes);
  Tensor out;
  run(op, in, attributes, op.chooses_device ? layouts[0].device : device, layouts, {&out, 1});
  return out;
}

Tensors apply_all(const Op& op, Inputs in, const Attributes& attributes) {
  const Device device = common_device(op, in);
  const Layouts layouts = op.shape(op, in, attributes);
  Tensors out(layouts.size());
  run(op, in, attributes, op.chooses_device ? layouts[0].device : device, layouts, {out.begin(), out.size()});
  return out;
}

VjpArguments::VjpArguments(const Node& node, Inputs gradients, Inputs outputs, std::span<const bool> needed)
    : in(node.inputs),
      attributes(node.attributes),
      g(gradients[0]),
      gradients(gradients),
      node_(node),
      outputs_(outputs),
      needed_(needed) {}

void VjpArguments::check_output(const Tensor& output) const {
  require<GraphError>(output.buffer().version() == 0,
                      "grad: an output of '{}' was overwritten after it was recorded; needs the values of then",
                      node_.op->name);
}

Tensor VjpArguments::out(size_t i) const {
  if (outputs_[i].defined()) {
    check_output(outputs_[i]);
    return outputs_[i];
  }
  return apply_all(*node_.op, in, attributes)[i];
}

const Tensor& VjpArguments::saved(size_t i) const {
  check_output(node_.saved[i]);
  return node_.saved[i];
}

bool is_recording() { return recording; }
NoGrad::NoGrad(bool record) : before_(recording) { recording = record; }
NoGrad::~NoGrad() { recording = before_; }

}  // namespace mollify
