// The operators of ONNX that the library reads: what a node asks for is checked once, and becomes a function of values.
#pragma once

#include <mollify/nn/formats/onnx_file.h>
#include <mollify/nn/formats/onnx_value.h>

#include <optional>
#include <set>
#include <string>

namespace mollify::nn::formats::detail {

// What building an operator may look at. Inputs and attributes that it reads as constants are no operands of its Run,
// which gets empty values in their places. Throws FormatError whose text lacks the node's name: the caller puts it in
// front.
class NodeReader {
 public:
  // constants[i] and shapes[i] of input i, null and empty where there are none
  NodeReader(const GraphNode& node, std::vector<const Array*> constants, std::vector<std::optional<Shape>> shapes,
             bool last)
      : node_(node),
        constants_(std::move(constants)),
        shapes_(std::move(shapes)),
        last_(last),
        operand_(node.inputs.size(), true) {}

  const std::string& type() const { return node_.type; }
  size_t inputs() const { return node_.inputs.size(); }
  size_t outputs() const { return node_.outputs.size(); }
  bool has_input(size_t i) const { return i < inputs() && !node_.inputs[i].empty(); }
  bool is_operand(size_t i) const { return has_input(i) && operand_[i]; }
  bool is_last() const { return last_; }
  const Array* constant(size_t i) const { return i < constants_.size() ? constants_[i] : nullptr; }
  const std::optional<Shape>& shape(size_t i) const { return shapes_[i]; }

  void require_inputs(size_t least, size_t most) const;  // the first `least` are there
  void ignore_input(size_t i);

  bool has_attribute(const std::string& name) const { return node_.attributes.contains(name); }
  int64_t integer(const std::string& name, int64_t otherwise);
  double number(const std::string& name, double otherwise);
  std::string text(const std::string& name, const std::string& otherwise);
  std::vector<int64_t> integers(const std::string& name, const std::vector<int64_t>& otherwise);
  const Array* array(const std::string& name);  // null when it is not there
  void ignore_attribute(const std::string& name) { read_.insert(name); }

  // From an attribute, or from a constant input as later versions of ONNX have it; empty when neither is there.
  std::optional<std::vector<int64_t>> integers_or_input(const std::string& name, size_t input);
  std::optional<double> number_or_input(const std::string& name, size_t input);

  void require_known_attributes() const;  // all that there are have been read

 private:
  template <class T>
  const T* attribute(const std::string& name, const char* kind);

  const GraphNode& node_;
  std::vector<const Array*> constants_;
  std::vector<std::optional<Shape>> shapes_;
  bool last_;
  std::vector<bool> operand_;
  std::set<std::string> read_;
};

// axis counts from the back when negative
int file_axis(int64_t axis, int rank);
std::vector<int> file_axes(const std::vector<int64_t>& axes, int rank);  // each at most once

Value reduced(const Value& x, const std::vector<int>& axes, bool keep, bool average);

struct Operator {
  const char* type;
  Run (*build)(NodeReader& node);
};
std::span<const Operator> arithmetic_operators();
std::span<const Operator> image_operators();
std::span<const Operator> shape_operators();

// Throws FormatError with the operators that there are.
Run build_operator(NodeReader& node);

// The node's output where it computes constant integers (shapes and parts of them) from such.
std::optional<Array> constant_integers(NodeReader& node);

}  // namespace mollify::nn::formats::detail
