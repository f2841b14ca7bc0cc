// A function of one input as bounds read it: its recorded operations, each linear or with a rule.
#pragma once

#include <mollify/nn/bounds/relaxations.h>
#include <mollify/nn/network.h>

#include <functional>
#include <map>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

class Graph {
 public:
  // f maps x [rows, input…] to [rows, …] for any number of rows, each row by itself. Throws ValueError naming an
  // operation that has no rule.
  using Function = std::function<Tensor(const Tensor&)>;
  Graph(Function f, const Shape& input, DType dtype, Device device = Device::cpu);
  // In evaluation mode; batch norm's statistics are in `state`. The network must outlive this.
  Graph(const Network& network, const Tensor& weights, const Tensor& state = {});
  Graph(const Network&& network, const Tensor& weights, const Tensor& state = {}) = delete;

  enum class Kind { input, linear, relaxed, max_pool };
  struct Node {
    Kind kind = Kind::input;
    std::vector<int> inputs;           // nodes, one for each of the operation's inputs; −1: it has a value
    Shape shape;                       // without the rows' axis
    const Relaxation* rule = nullptr;  // of a relaxed node
    bool separate = true;              // each number depends on one number of the graph's input, no two on the same one
    bool exact_box = true;             // interval arithmetic gives the least box when the input's set is a box
    bool bounded = false;              // an input of a node with a rule
    double terms = 1;                  // most products that one number of the result, or of a step back, sums
  };
  // Node 0 is the input, the others in the order of evaluation; the last is the output.
  const std::vector<Node>& nodes() const { return nodes_; }
  int output() const { return static_cast<int>(nodes_.size()) - 1; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  const TracedStep& step(int node, int64_t rows) const;  // of nodes but the input; traced once for each number of rows
  const Tensor& offset(int node) const {
    return offsets_[static_cast<size_t>(node)];
  }  // a linear node at zero inputs, [1, …]; empty: 0
  // Most roundings on the way of a term of the node's sums: its terms and those that made its constants. Reads values
  // of constants.
  double roundings(int node) const;
  Tensor operator()(const Tensor& x) const { return function_(x); }

 private:
  const Trace& traced(int64_t rows) const;
  void read();
  void read_linear(const TracedStep& step, Node& node);
  void find_roundings() const;

  Function function_;
  Shape input_;
  DType dtype_;
  Device device_;
  std::vector<Node> nodes_;
  std::vector<Tensor> offsets_;
  mutable std::map<int64_t, Trace> traces_;
  mutable std::vector<double> roundings_;  // of each node, once they were asked for
};

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
