#include <mollify/nn/bounds/graph.h>

#include <mollify/nn/bounds/constants.h>
#include <mollify/nn/reading.h>

#include <algorithm>

namespace mollify::nn::bounds {
namespace {

Shape without_rows(const Shape& shape) {
  Shape rest = shape;
  rest.erase(0);
  return rest;
}

// Operations that only move numbers.
bool moves(const TracedStep& step) {
  return is(step, "reshape") || is(step, "permute") || is(step, "slice") || is(step, "packed") || is(step, "negative");
}

// Most terms in a sum of the step or of its transpose.
double terms_of(const TracedStep& step, const Shape& in, const Shape& out) {
  if (moves(step) || is(step, "pad") || is(step, "concat")) return 1;
  if (is(step, "average_pool2d")) {
    const Pool2d& how = step.node().attributes.as<Pool2d>();
    return static_cast<double>(how.kernel_height * how.kernel_width);
  }
  if (kind_of(step) == StepKind::weighted) {
    const Shape weights = step.in()[1].shape();  // dense [O, I], matmul [I, O], convolution [O, KH, KW, C]
    return static_cast<double>(weights.size()) /
           static_cast<double>(std::max<int64_t>(1, std::min(weights[0], weights.back())));
  }
  if ((is(step, "multiply") || is(step, "divide") || is(step, "add") || is(step, "subtract")) && in == out) return 2;
  return static_cast<double>(in.size() + out.size());
}

bool one_to_one(const TracedStep& step, const Shape& in, const Shape& out) {
  if (moves(step)) return true;
  return in == out && (is(step, "add") || is(step, "subtract") || is(step, "multiply") || is(step, "divide"));
}

}  // namespace

Graph::Graph(Function f, const Shape& input, DType dtype, Device device)
    : function_(std::move(f)), input_(input), dtype_(dtype), device_(device) {
  read();
}

Graph::Graph(const Network& network, const Tensor& weights, const Tensor& state)
    : Graph([&network, weights, state](const Tensor& x) { return network(weights, state, x, Mode::evaluate).output; },
            network.input(), weights.dtype(), weights.device()) {}

const Trace& Graph::traced(int64_t rows) const {
  const auto known = traces_.find(rows);
  if (known != traces_.end()) return known->second;
  Shape shape = input_;
  shape.insert(0, rows);
  const Constants constants = rows == 1 ? Constants::kept : Constants::dropped;
  return traces_.emplace(rows, trace(function_, Layout::packed(shape, dtype_, device_), constants)).first->second;
}

const TracedStep& Graph::step(int node, int64_t rows) const {
  return traced(rows).steps[static_cast<size_t>(node) - 1];
}

double Graph::roundings(int node) const {
  if (roundings_.empty()) find_roundings();
  return roundings_[static_cast<size_t>(node)];
}

// The trace's constants have no other reader and are let go.
void Graph::find_roundings() const {
  Trace& one = traces_.at(1);
  const ConstantRoundings constants(one.constants);
  one.constants.clear();
  roundings_.push_back(nodes_[0].terms);
  for (const TracedStep& step : one.steps) {
    double most = 0;
    for (const Tensor& x : step.in())
      if (!is_abstract(x)) most = std::max(most, constants.of(x));
    roundings_.push_back(nodes_[roundings_.size()].terms + most);
  }
}

void Graph::read_linear(const TracedStep& step, Node& node) {
  int abstract = 0;
  const Node* from = nullptr;
  Tensors zeros(step.in().size());
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Tensor& x = step.in()[i];
    zeros[i] = node.inputs[i] < 0 ? x : mollify::zeros(x.shape(), x.dtype(), x.device());
    if (node.inputs[i] < 0) continue;
    ++abstract;
    from = &nodes_[static_cast<size_t>(node.inputs[i])];
    node.terms = std::max(node.terms, terms_of(step, from->shape, node.shape));
  }
  const bool same = one_to_one(step, from->shape, node.shape);
  node.separate = abstract == 1 && from->separate && same;
  node.exact_box = abstract == 1 && (same ? from->exact_box : from->separate);
  // Only operations with a constant among their inputs have an offset; a product's first two vanish at 0.
  const bool constant =
      step.op().linearity == Linearity::product ? step.in().size() > 2 : abstract < static_cast<int>(step.in().size());
  offsets_.push_back(constant || is(step, "pad") ? replay(step, zeros)[0] : Tensor());
}

void Graph::read() {
  const Trace& one = traced(1);
  require<ValueError>(is_abstract(one.output) && !one.steps.empty(),
                      "bounds: the function's output does not depend on its input; needs a network");
  require(one.output.rank() >= 1 && one.output.shape()[0] == 1 && traced(2).output.rank() == one.output.rank() &&
              traced(2).output.shape()[0] == 2,
          "bounds: one row gives {}, two rows {}; needs a function of rows", one.output.shape(),
          traced(2).output.shape());
  std::map<std::pair<const mollify::Node*, int>, int> numbers{{{one.input.node(), one.input.output_number()}, 0}};
  nodes_.emplace_back().shape = input_;
  offsets_.emplace_back();
  for (const TracedStep& step : one.steps) {
    Node node;
    node.shape = without_rows(step.outputs[0].shape());
    for (const Tensor& x : step.in()) {
      const auto known = is_abstract(x) ? numbers.find({x.node(), x.output_number()}) : numbers.end();
      require<ValueError>(!is_abstract(x) || known != numbers.end(),
                          "bounds: {} reads another than the first output of an operation; needs one with a rule",
                          place(step));
      node.inputs.push_back(is_abstract(x) ? known->second : -1);
    }
    const StepKind kind = kind_of(step);
    if (kind == StepKind::linear || kind == StepKind::weighted) {
      node.kind = Kind::linear;
      read_linear(step, node);
    } else {
      node.rule = kind == StepKind::nonlinear ? find_relaxation(step.op().name) : nullptr;
      require<ValueError>(node.rule || kind == StepKind::max_pool, "bounds: {} computes {}, which has no relaxation",
                          place(step), step.op().name);
      node.kind = node.rule ? Kind::relaxed : Kind::max_pool;
      Node& from = nodes_[static_cast<size_t>(node.inputs[0])];
      from.bounded = true;
      node.separate = node.rule && from.separate;
      node.exact_box = node.rule ? from.exact_box : from.separate;
      offsets_.emplace_back();
    }
    numbers[{step.outputs[0].node(), 0}] = static_cast<int>(nodes_.size());
    nodes_.push_back(std::move(node));
  }
}

}  // namespace mollify::nn::bounds
