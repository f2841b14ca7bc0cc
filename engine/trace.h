// What a function does, without doing it: its operations as data, in order, for readers other than grad.
#pragma once

#include <mollify/engine/node.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify {

// One operation that depends on the traced input.
struct TracedStep {
  Tensors outputs;    // abstract: they have a layout and a node, and no values
  std::string label;  // of the innermost Label around the call

  const Node& node() const { return *outputs[0].node(); }
  const Op& op() const { return *node().op; }
  Inputs in() const { return node().inputs; }  // abstract where they depend on the input, else with values
};

// One operation on values alone, such as the √(variance + ε) of a normalisation.
struct Constant {
  const Op* op;
  Attributes attributes;
  Tensors in, out;
};

struct Trace {
  Tensor input, output;             // abstract, unless the output does not depend on the input
  std::vector<TracedStep> steps;    // those that lead to the output
  std::vector<Constant> constants;  // all that were computed, where they are kept
};

enum class Constants { dropped, kept };

// Runs f on a tensor that has the layout and no values. An operation that meets it runs its shape rule only, and so
// does all that follows; what depends on tensors with values alone is computed as always. Throws GraphError when a
// value is read.
Trace trace(const std::function<Tensor(const Tensor&)>& f, const Layout& x, Constants constants = Constants::dropped);

bool is_abstract(const Tensor& x);

// Rows of a gradient g of the step's output 0, pulled back to input i by the operation's own rule. `in` takes the place
// of the step's inputs, of which the rule of a linear operation reads the shapes and the other inputs' values.
Tensor pull_back(const TracedStep& step, Inputs in, size_t i, const Tensor& g);

// The same for k times the rows that a linear step was traced with: g and the result have k times its leading extent.
Tensor pull_back_rows(const TracedStep& step, size_t i, const Tensor& g);

// Names the operations of its scope in traces on this thread; the text must outlive it.
class Label {
 public:
  explicit Label(const std::string& text);
  ~Label();
  Label(const Label&) = delete;

 private:
  const std::string* before_;
};

// What a reader has found for each abstract tensor of a trace.
template <class Value>
class TraceValues {
 public:
  void set(const Tensor& abstract, Value value) { values_.insert_or_assign(key(abstract), std::move(value)); }
  const Value& operator[](const Tensor& abstract) const { return values_.at(key(abstract)); }
  bool contains(const Tensor& abstract) const { return values_.contains(key(abstract)); }

 private:
  static std::pair<const Node*, int> key(const Tensor& t) { return {t.node(), t.output_number()}; }
  std::map<std::pair<const Node*, int>, Value> values_;
};

namespace detail {

// For the funnel: whether this thread traces, and the record of one operation, on an abstract input or on values alone.
bool is_tracing();
void add_step(std::span<const Tensor> outputs);
void add_constant(const Op& op, Inputs in, const Attributes& attributes, std::span<const Tensor> outputs);

}  // namespace detail
}  // namespace mollify
#pragma GCC visibility pop
