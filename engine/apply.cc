#include <mollify/engine/trace.h>

#include <atomic>
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

Device common_device(const Op& op, Inputs in) {
  Device device = Device::cpu;
  for (size_t i = 0; i < in.size(); ++i) {
    require<GraphError>(in[i].defined(), "{}: input {} is empty; needs a tensor with values", op.name, i);
    if (i == 0) device = in[i].device();
    require<DeviceError>(in[i].device() == device, "{}: inputs on {} and {}; all must be on one device", op.name, device, in[i].device());
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
                                                 .version = version_sum(in),
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
void assign(const Op& op, Inputs in, std::span<Tensor> out) {
  require<GraphError>(!(recording && any_needs_grad(in)), "{}: an input has a history; overwriting is refused while recording (use no_grad or detach)",
                      op.name);
  for (size_t i = 0; i < out.size(); ++i) {
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
void run_abstractly(const Op& op, Inputs in, const Attributes& attributes, const Layouts& layouts, std::span<Tensor> out) {
  require<GraphError>(!op.assigns, "{}: an input has no values yet, as its function is traced; it cannot be overwritten", op.name);
  Node* node = new_node(op, in, attributes);
  node->outputs = out.size();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = Tensor::on(&Buffer::without_values(), layouts[i]);
    out[i].set_node(node, static_cast<int>(i));
  }
  release(node);
  detail::add_step(out);
}

void run(const Op& op, Inputs in, const Attributes& attributes, const Layouts& layouts, std::span<Tensor> out) {
  if (detail::is_tracing() && any_abstract(in)) return run_abstractly(op, in, attributes, layouts, out);
  if (op.view) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = Tensor::on(&in[0].buffer(), layouts[i]);
  } else {
    if (op.assigns) assign(op, in, out);
    else
      for (size_t i = 0; i < out.size(); ++i) out[i] = Tensor::empty(layouts[i]);
    kernel_for(op, layouts[0].device)({in, out, attributes});
  }
  if (recording && op.vjp && any_needs_grad(in)) record(op, in, attributes, out);
}

}  // namespace

uint64_t version_sum(Inputs in) {
  uint64_t sum = 0;
  for (const Tensor& t : in) sum += t.buffer().version();
  return sum;
}

void retain(Node* node) { node->references.fetch_add(1, std::memory_order_relaxed); }

// Iterative: a chain of a million nodes must not be a million stack frames. Nodes that die while another is being destroyed queue up.
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
  static const Op variable_op{.name = "variable", .shape = nullptr, .vjp = [](const VjpArguments& a) -> Tensors { return a.g; }};
  Tensor out = value.detach();
  Node* node = new_node(variable_op, value.needs_grad() ? Inputs(value) : Inputs(), {});
  out.set_node(node, 0);
  release(node);
  return out;
}

Tensor apply(const Op& op, Inputs in, const Attributes& attributes) {
  common_device(op, in);
  const Layouts layouts = op.shape(op, in, attributes);
  Tensor out;
  run(op, in, attributes, layouts, {&out, 1});
  return out;
}

Tensors apply_all(const Op& op, Inputs in, const Attributes& attributes) {
  common_device(op, in);
  const Layouts layouts = op.shape(op, in, attributes);
  Tensors out(layouts.size());
  run(op, in, attributes, layouts, {out.begin(), out.size()});
  return out;
}

Tensor VjpArguments::out(size_t i) const {
  if (outputs_[i].defined()) return outputs_[i];
  return apply_all(*node_.op, in, attributes)[i];
}

bool is_recording() { return recording; }
NoGrad::NoGrad(bool record) : before_(recording) { recording = record; }
NoGrad::~NoGrad() { recording = before_; }

}  // namespace mollify
