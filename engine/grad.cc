#include <mollify/engine/grad.h>

#include <mollify/engine/ops.h>

#include <algorithm>

namespace mollify {
namespace {

// A node on the way from the outputs down, with what has reached it.
struct Visit {
  Node* node;         // retained
  Tensors outputs;    // as far as they are alive
  Tensors gradients;  // of each output
  bool reaches = false;
};

// The part of the record below some outputs, in order of creation. Nodes are let go one by one as the walk has used
// them.
class Walk {
 public:
  Walk(Inputs outputs, Inputs inputs) {
    uint64_t oldest = ~uint64_t{0};
    for (const Tensor& t : inputs) oldest = std::min(oldest, t.node()->number);
    for (const Tensor& t : outputs) discover(t);
    for (size_t next = 0; next < visits_.size(); ++next) {
      const Node* node = visits_[next].node;
      const bool input = visits_[next].reaches = is_input(node, inputs);
      const bool start = node->op->shape == nullptr;  // a variable
      // A variable younger than the inputs belongs to a gradient within the function, which has ended: nobody asks for
      // it any more.
      if (start) other_history_ |= input ? node->inputs.size() > 0 : node->number < oldest;
      if (start && input) continue;
      for (const Tensor& t : node->inputs) discover(t);
    }
    sort_and_index();
    for (size_t i = 0; i < visits_.size(); ++i)
      for (const Tensor& t : visits_[i].node->inputs)
        if (Visit* below = t.needs_grad() ? find(t.node()) : nullptr) visits_[i].reaches |= below->reaches;
  }
  ~Walk() {
    for (Visit& visit : visits_)
      if (visit.node) release(visit.node);
  }

  // Whether anything but the inputs themselves has a history here.
  bool has_other_history() const { return other_history_; }

  void add_gradient(const Tensor& of, const Tensor& gradient) {
    Visit* visit = of.needs_grad() ? find(of.node()) : nullptr;
    if (!visit || !visit->reaches) return;
    Tensor& sum = visit->gradients[static_cast<size_t>(of.output_number())];
    sum = sum.defined() ? sum + gradient : gradient;
  }

  // From the youngest node to the oldest; inputs keep their gradients.
  void run(Inputs inputs, bool create_graph) {
    NoGrad recording(create_graph);
    for (size_t i = visits_.size(); i-- > 0;) {
      Visit& visit = visits_[i];
      if (visit.reaches) apply_rule(visit, create_graph);
      if (!is_input(visit.node, inputs)) let_go(visit);
    }
  }

  // Zeros where nothing depends on an input.
  Tensors gradients(Inputs inputs) {
    Tensors found(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Visit* visit = find(inputs[i].node());
      if (visit) found[i] = visit->gradients[static_cast<size_t>(inputs[i].output_number())];
      if (!found[i].defined()) found[i] = zeros_like(inputs[i]);
    }
    return found;
  }

 private:
  static bool is_input(const Node* node, Inputs inputs) {
    for (const Tensor& t : inputs)
      if (t.node() == node) return true;
    return false;
  }

  static size_t hash(const Node* node) { return (reinterpret_cast<uintptr_t>(node) >> 6) * 0x9E3779B97F4A7C15u >> 20; }

  Visit* find(const Node* node) {
    for (size_t slot = hash(node);; ++slot) {
      const int32_t index = table_[slot & (table_.size() - 1)];
      if (index < 0) return nullptr;
      if (keys_[static_cast<size_t>(index)] == node) return &visits_[static_cast<size_t>(index)];
    }
  }

  void insert(const Node* node, int32_t index) {
    size_t slot = hash(node);
    while (table_[slot & (table_.size() - 1)] >= 0) ++slot;
    table_[slot & (table_.size() - 1)] = index;
  }

  void discover(const Tensor& t) {
    if (!t.needs_grad()) return;
    Visit* visit = find(t.node());
    if (!visit) {
      if (2 * visits_.size() >= table_.size()) {
        table_.assign(4 * table_.size(), -1);
        for (size_t i = 0; i < visits_.size(); ++i) insert(visits_[i].node, static_cast<int32_t>(i));
      }
      insert(t.node(), static_cast<int32_t>(visits_.size()));
      retain(t.node());
      keys_.push_back(t.node());
      visits_.push_back({t.node(), Tensors(t.node()->outputs), Tensors(t.node()->outputs)});
      visit = &visits_.back();
    }
    visit->outputs[static_cast<size_t>(t.output_number())] = t;
  }

  void sort_and_index() {
    std::sort(visits_.begin(), visits_.end(),
              [](const Visit& a, const Visit& b) { return a.node->number < b.node->number; });
    std::fill(table_.begin(), table_.end(), -1);
    for (size_t i = 0; i < visits_.size(); ++i) {
      keys_[i] = visits_[i].node;
      insert(visits_[i].node, static_cast<int32_t>(i));
    }
  }

  void apply_rule(Visit& visit, bool create_graph) {
    const Node& node = *visit.node;
    bool any_gradient = false;
    for (const Tensor& g : visit.gradients) any_gradient |= g.defined();
    if (!any_gradient) return;
    require<GraphError>(version_sum(*node.op, node.inputs) == node.version,
                        "grad: an input of '{}' was overwritten after it was recorded; needs the values of then",
                        node.op->name);
    const size_t count = node.inputs.size();
    bool few[16], any_needed = false;
    std::unique_ptr<bool[]> many(count > 16 ? new bool[count] : nullptr);
    bool* needed = many ? many.get() : few;
    for (size_t i = 0; i < count; ++i) {
      Visit* below = node.inputs[i].needs_grad() ? find(node.inputs[i].node()) : nullptr;
      any_needed |= needed[i] = below && below->reaches;
    }
    if (!any_needed) return;
    const auto rule = !create_graph && node.op->vjp_fast ? node.op->vjp_fast : node.op->vjp;
    const Tensors gradients = rule(VjpArguments(node, visit.gradients, visit.outputs, {needed, count}));
    // None at all: nothing flows. A rule may leave out the last ones that nobody asked for.
    for (size_t i = gradients.size(); i < count && gradients.size() > 0; ++i)
      require<GraphError>(!needed[i], "grad: the rule of '{}' gives {} gradients; needs one for input {} as well",
                          node.op->name, gradients.size(), i);
    for (size_t i = 0; i < std::min(count, gradients.size());
         ++i)                                   // a rule may speak of optional inputs that are not there
      if (needed[i] && gradients[i].defined())  // a number of the CPU may have met tensors on a GPU
        add_gradient(node.inputs[i], to(sum_to(gradients[i], node.inputs[i].shape()), node.inputs[i].device()));
  }

  // Frees what only the record kept alive, so that the memory serves the gradients still to come.
  static void let_go(Visit& visit) {
    visit.outputs = {};
    visit.gradients = {};
    release(std::exchange(visit.node, nullptr));
  }

  std::vector<Visit> visits_;
  std::vector<const Node*> keys_;                             // node of each visit, also after it was let go
  std::vector<int32_t> table_ = std::vector<int32_t>(64, -1);  // open addressing: hash → visit
  bool other_history_ = false;
};

void check_seed(const char* operation, const Tensor& output, const Tensor& seed) {
  require(output.shape() == seed.shape(), "{}: the output is {}, its seed {}; they must be equal", operation,
          output.shape(), seed.shape());
  require<TypeError>(output.dtype() == seed.dtype(), "{}: the output is {}, its seed {}; they must be equal", operation,
                     output.dtype(), seed.dtype());
}

}  // namespace

Tensors vjp_of(Inputs outputs, Inputs seeds, Inputs inputs, bool create_graph) {
  require(outputs.size() == seeds.size(), "vjp_of: {} outputs and {} seeds given; needs one seed for each",
          outputs.size(), seeds.size());
  for (const Tensor& t : inputs)
    require<GraphError>(t.needs_grad(), "vjp_of: an input of shape {} has no history; make it a variable first",
                        t.shape());
  Walk walk(outputs, inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    check_seed("vjp_of", outputs[i], seeds[i]);
    walk.add_gradient(outputs[i], seeds[i]);
  }
  walk.run(inputs, create_graph);
  return walk.gradients(inputs);
}

detail::Value detail::pull_back(Tensor value, Inputs variables, const Tensor* seed, bool outer_recording) {
  if (seed) check_seed("grad", value, *seed);
  else require(value.size() == 1, "grad: the function's value is {}; needs a single number", value.shape());
  Walk walk({value}, variables);
  walk.add_gradient(value, seed ? *seed : ones_like(value));
  const bool create_graph = outer_recording && (walk.has_other_history() || (seed && seed->needs_grad()));
  if (!create_graph) value = value.detach();  // the walk is now the record's only owner
  walk.run(variables, create_graph);
  return {std::move(value), walk.gradients(variables)};
}

Tensor detail::zeros_of(const Tensor& y) { return zeros_like(y); }

Tensor detail::jacobian(const Shape& y, const Tensor& x, const std::function<Tensor(const Tensor& seed)>& pulled) {
  const Tensor seeds = eye(y.size(), x.dtype(), x.device());
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < y.size(); ++i) rows.push_back(pulled(reshape(seeds[i], y)));
  Shape shape = y;
  for (const int64_t extent : x.shape()) shape.push_back(extent);
  return rows.empty() ? zeros(shape, x.dtype(), x.device()) : reshape(stack(std::span<const Tensor>(rows)), shape);
}

}  // namespace mollify
