#include <mollify/nn/formats/onnx.h>

#include <mollify/engine/file.h>
#include <mollify/engine/trace.h>
#include <mollify/nn/formats/onnx_operators.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace mollify::nn::formats {
namespace detail {
namespace {

constexpr int64_t kLongestFile = std::numeric_limits<int>::max();
constexpr int64_t kLargestValue = int64_t{1} << 26;  // numbers of a row

// A value has a number: 0 is the input; kAbsent stands for an optional input that is not given.
constexpr int kAbsent = -1;

struct Instruction {
  std::string label;
  std::vector<int> inputs, outputs;
  std::vector<int> last_uses;  // values that nothing reads later
  Run run;
};

struct Weight {
  Piece piece;  // its offset is set when it is declared
  Form form;    // constant or filter
  int value;    // its number
};

struct Program final : Layer {
  const char* kind() const override { return "onnx"; }
  Shape declare(Declaration& declaration, const Shape&) override {
    for (const Weight& weight : weights) {
      const Piece& p = weight.piece;
      declaration.weight(p.name, p.shape, p.role, p.fan_in, p.fan_out, p.initial);
    }
    return output_shape;
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    Values values(static_cast<size_t>(value_count));
    values[0] = {x, input_form};
    for (size_t i = 0; i < weights.size(); ++i)
      values[static_cast<size_t>(weights[i].value)] = {pass.weights[i], weights[i].form};
    const Tensor one = Tensor::scalar(1, x.dtype());
    for (const Instruction& instruction : instructions) {
      execute(instruction, values, one);
      for (const int value : instruction.last_uses) values[static_cast<size_t>(value)] = {};
    }
    const Label label(output_label);
    return in_file_order(values[static_cast<size_t>(output)]).tensor;
  }

  static void execute(const Instruction& instruction, Values& values, const Tensor& one) {
    const Label label(instruction.label);
    Values in;
    for (const int value : instruction.inputs)
      in.push_back(value == kAbsent ? Value() : values[static_cast<size_t>(value)]);
    Values out = instruction.run(in, one);
    for (size_t i = 0; i < std::min(out.size(), instruction.outputs.size()); ++i)
      if (instruction.outputs[i] != kAbsent) values[static_cast<size_t>(instruction.outputs[i])] = std::move(out[i]);
  }

  void find_last_uses() {
    std::vector<bool> used(static_cast<size_t>(value_count));
    used[static_cast<size_t>(output)] = true;
    for (auto instruction = instructions.rbegin(); instruction != instructions.rend(); ++instruction)
      for (const auto* list : {&instruction->inputs, &instruction->outputs})
        for (const int value : *list)
          if (value != kAbsent && !used[static_cast<size_t>(value)]) {
            used[static_cast<size_t>(value)] = true;
            instruction->last_uses.push_back(value);
          }
  }

  std::vector<Weight> weights;
  std::vector<Instruction> instructions;
  int value_count = 1, output = 0;
  std::string output_label;
  Form input_form = Form::stacked;
  Shape output_shape;  // of a row
};

// Tensors without values: only shape rules run on what depends on them.
Tensor abstract(const Shape& shape) {
  return variable(Tensor::on(&Buffer::without_values(), Layout::packed(shape, DType::f32)));
}

// Turns a graph into a program. Runs within a trace, each operator once, on tensors without values: shapes are found
// and checked, and no memory is taken, whatever the file claims.
class Linker {
 public:
  Linker(const std::string& where, Graph& graph)
      : where_(where), graph_(graph), program_(std::make_unique<Program>()) {}

  Tensor link(const Tensor& x, Form form) {
    program_->input_form = form;
    values_.push_back({x, form});
    numbers_[graph_.input.name] = 0;
    find_needed_nodes();
    find_filters();
    for (size_t i = 0; i < graph_.nodes.size(); ++i)
      if (needed_[i]) add(graph_.nodes[i]);
    const auto found = numbers_.find(graph_.output.name);
    require<FormatError>(found != numbers_.end() && !values_[static_cast<size_t>(found->second)].is_constant(),
                         "{}: output {} does not depend on the input; needs one that does", where_,
                         excerpt(graph_.output.name));
    const Value out = in_file_order(values_[static_cast<size_t>(found->second)]);
    output_ = file_shape(out);
    check_declared_output();
    program_->output = found->second;
    program_->output_label = "output '" + graph_.output.name + "'";
    program_->value_count = static_cast<int>(values_.size());
    program_->output_shape = Shape(out.tensor.shape().begin() + 1, static_cast<size_t>(out.tensor.rank() - 1));
    program_->find_last_uses();
    return out.tensor;
  }

  std::unique_ptr<Program> take() { return std::move(program_); }
  const Shape& output() const { return output_; }

  // The weights' values, laid out as the program declares them: f32 where that holds them all exactly.
  Tensor weights() const {
    std::vector<double> all;
    for (const Weight& weight : program_->weights) {
      const Array& array = graph_.initializers.at(weight.piece.name);
      const Tensor values = Tensor::from(array.numbers, array.shape);
      const std::vector<double> numbers =
          (weight.form == Form::filter ? permute(values, {0, 2, 3, 1}) : values).to_vector<double>();
      all.insert(all.end(), numbers.begin(), numbers.end());
    }
    const bool single =
        std::all_of(all.begin(), all.end(), [](double x) { return std::isnan(x) || static_cast<float>(x) == x; });
    const Tensor weights = Tensor::from(all, {static_cast<int64_t>(all.size())});
    return single ? cast(weights, DType::f32) : weights;
  }

 private:
  // Marks the nodes that lead to the output, and refuses names that are given to two tensors.
  void find_needed_nodes() {
    std::map<std::string, size_t> makers;
    for (size_t i = 0; i < graph_.nodes.size(); ++i)
      for (const std::string& output : graph_.nodes[i].outputs) {
        const bool fresh = output != graph_.input.name && !graph_.initializers.contains(output);
        require<FormatError>(output.empty() || (fresh && makers.emplace(output, i).second),
                             "{}: {}: output {} is there already; needs names that differ", where_,
                             graph_.nodes[i].place, excerpt(output));
      }
    needed_.assign(graph_.nodes.size(), false);
    std::vector<std::string> wanted{graph_.output.name};
    while (!wanted.empty()) {
      const auto maker = makers.find(wanted.back());
      wanted.pop_back();
      if (maker == makers.end() || needed_[maker->second]) continue;
      needed_[maker->second] = true;
      const GraphNode& node = graph_.nodes[maker->second];
      wanted.insert(wanted.end(), node.inputs.begin(), node.inputs.end());
    }
  }

  // Kernels that only convolutions read are stored channels last.
  void find_filters() {
    std::map<std::string, bool> only_kernels;
    for (size_t n = 0; n < graph_.nodes.size(); ++n)
      for (size_t i = 0; needed_[n] && i < graph_.nodes[n].inputs.size(); ++i) {
        const bool kernel = graph_.nodes[n].type == "Conv" && i == 1;
        const auto [place, added] = only_kernels.emplace(graph_.nodes[n].inputs[i], kernel);
        if (!added) place->second = place->second && kernel;
      }
    for (const auto& [name, only] : only_kernels)
      if (const auto found = graph_.initializers.find(name);
          only && found != graph_.initializers.end() && found->second.shape.rank() == 4)
        filters_.insert(name);
  }

  void add(const GraphNode& node) {
    try {
      if (node.type == "Constant") return add_constant(node);
      NodeReader reader = reader_of(node);
      if (std::optional<Array> integers = constant_integers(reader)) return define(node, std::move(*integers));
      Instruction instruction{
          .label = node.label, .inputs = {}, .outputs = {}, .last_uses = {}, .run = build_operator(reader)};
      for (size_t i = 0; i < node.inputs.size(); ++i)
        instruction.inputs.push_back(reader.is_operand(i) ? operand(node, i) : kAbsent);
      run(node, std::move(instruction));
    } catch (const Error& error) {
      throw FormatError(format("{}: {}: {}", where_, node.place, error.what()));
    }
  }

  NodeReader reader_of(const GraphNode& node) const {
    std::vector<const Array*> constants;
    std::vector<std::optional<Shape>> shapes;
    for (const std::string& name : node.inputs) {
      const auto array = graph_.initializers.find(name);
      const auto number = numbers_.find(name);
      require<FormatError>(
          name.empty() || array != graph_.initializers.end() || number != numbers_.end(),
          "input {} is not there; needs an initializer, the network's input or an output of a node before",
          excerpt(name));
      constants.push_back(array == graph_.initializers.end() ? nullptr : &array->second);
      shapes.emplace_back();
      if (array != graph_.initializers.end()) shapes.back() = array->second.shape;
      else if (number != numbers_.end()) shapes.back() = file_shape(values_[static_cast<size_t>(number->second)]);
    }
    return NodeReader(node, std::move(constants), std::move(shapes),
                      std::find(node.outputs.begin(), node.outputs.end(), graph_.output.name) != node.outputs.end());
  }

  void define(const GraphNode& node, Array array) {
    require<FormatError>(node.outputs.size() == 1, "{} outputs; needs one", node.outputs.size());
    graph_.initializers[node.outputs[0]] = std::move(array);
  }

  void add_constant(const GraphNode& node) {
    require<FormatError>(node.inputs.empty() && node.attributes.size() == 1,
                         "{} inputs and {} attributes; needs one value and no input", node.inputs.size(),
                         node.attributes.size());
    const auto& [name, value] = *node.attributes.begin();
    if (const auto* array = std::get_if<Array>(&value); array && name == "value") return define(node, *array);
    Array out;
    out.floating = name == "value_float" || name == "value_floats";
    if (const auto* number = std::get_if<double>(&value); number && name == "value_float")
      out.numbers = {static_cast<float>(*number)};
    else if (const auto* integer = std::get_if<int64_t>(&value); integer && name == "value_int")
      out.integers = {*integer};
    else if (const auto* list = std::get_if<std::vector<double>>(&value); list && name == "value_floats")
      out.numbers.assign(list->begin(), list->end());
    else if (const auto* all = std::get_if<std::vector<int64_t>>(&value); all && name == "value_ints")
      out.integers = *all;
    else throw FormatError(format("attribute {} gives the value; needs a tensor, integers or numbers", excerpt(name)));
    if (name.ends_with('s'))
      out.shape.push_back(static_cast<int64_t>(out.floating ? out.numbers.size() : out.integers.size()));
    define(node, std::move(out));
  }

  int number_of(const std::string& name, Value value) {
    values_.push_back(std::move(value));
    return numbers_[name] = static_cast<int>(values_.size()) - 1;
  }

  int operand(const GraphNode& node, size_t i) {
    const std::string& name = node.inputs[i];
    if (const auto known = numbers_.find(name); known != numbers_.end()) return known->second;
    const Array& array = graph_.initializers.at(name);
    require<FormatError>(array.floating && !array.numbers.empty(), "input {} ({}) has {}; needs floating numbers", i,
                         excerpt(name), array.floating ? "no numbers" : "integers");
    const Form form = filters_.contains(name) ? Form::filter : Form::constant;
    Piece piece = piece_of(node, i);
    if (form == Form::filter) piece.shape = {array.shape[0], array.shape[2], array.shape[3], array.shape[1]};
    const int number = number_of(name, {abstract(piece.shape), form});
    program_->weights.push_back({std::move(piece), form, number});
    return number;
  }

  // What a weight is for, by its first use.
  Piece piece_of(const GraphNode& node, size_t i) const {
    const Shape& shape = graph_.initializers.at(node.inputs[i]).shape;
    Piece piece{node.inputs[i], shape, Role::shift, 0, 0, 0, 0};
    const bool matrix = node.type == "Conv" || node.type == "Gemm" || node.type == "MatMul";
    if (node.type == "BatchNormalization") {
      piece.role = i == 1 ? Role::scale : i == 2 ? Role::shift : Role::statistic;
      piece.initial = i == 1 || i == 4 ? 1 : 0;
    } else if (node.type == "Mul" || node.type == "Div") {
      piece.role = Role::scale;
      piece.initial = 1;
    } else if (matrix && i < 2 && shape.rank() >= 1) {
      const auto integer = [&](const char* name, int64_t otherwise) {
        const auto found = node.attributes.find(name);
        return found == node.attributes.end() ? otherwise : std::get<int64_t>(found->second);
      };
      const bool rows_are_units = node.type == "Conv" || (node.type == "MatMul" && i == 0) || integer("transB", 0) != 0;
      const int64_t units = shape.rank() == 1 ? 1 : rows_are_units ? shape[0] : shape.back();
      piece.role = Role::weight;
      piece.fan_in = shape.size() / units;
      piece.fan_out = node.type == "Conv" && i == 1 ? units * shape[2] * shape[3] / integer("group", 1) : units;
    } else if (const auto weight =
                   matrix && i == 2 ? graph_.initializers.find(node.inputs[1]) : graph_.initializers.end();
               weight != graph_.initializers.end() && weight->second.shape.size() >= shape.size()) {
      piece.role = Role::bias;
      piece.fan_in = weight->second.shape.size() / shape.size();
      piece.fan_out = shape.size();
    }
    return piece;
  }

  void run(const GraphNode& node, Instruction instruction) {
    Values in;
    for (const int number : instruction.inputs)
      in.push_back(number == kAbsent ? Value() : values_[static_cast<size_t>(number)]);
    const Label label(instruction.label);
    const Values out = instruction.run(in, one_);
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const bool made = i < out.size() && !node.outputs[i].empty();
      instruction.outputs.push_back(made ? number_of(node.outputs[i], out[i]) : kAbsent);
      if (!made) continue;
      const int64_t size = file_shape(out[i]).size();
      require<FormatError>(size >= 1 && size <= kLargestValue, "gives {}; needs 1 to 2^26 numbers", file_shape(out[i]));
    }
    program_->instructions.push_back(std::move(instruction));
  }

  void check_declared_output() const {
    const std::vector<int64_t>& declared = graph_.output.extents;
    if (!graph_.output.shaped) return;
    bool fits = static_cast<int>(declared.size()) == output_.rank();
    for (int axis = 0; fits && axis < output_.rank(); ++axis)
      fits = declared[static_cast<size_t>(axis)] == output_[axis] || declared[static_cast<size_t>(axis)] < 0;
    std::string text;
    for (const int64_t extent : declared)
      text += (text.empty() ? "" : ", ") + (extent < 0 ? std::string("any") : std::to_string(extent));
    require<FormatError>(fits, "{}: output {} is declared as [{}], and its operators give {}; needs the same", where_,
                         excerpt(graph_.output.name), text, output_);
  }

  const std::string& where_;
  Graph& graph_;  // gets the constants of its nodes among the initializers
  std::unique_ptr<Program> program_;
  std::vector<bool> needed_;
  std::set<std::string> filters_;
  std::map<std::string, int> numbers_;  // of values by name
  Values values_;
  Tensor one_ = abstract({});
  Shape output_;
};

// The input's shape for a batch of one.
Shape input_shape(const std::string& where, const GraphPort& port) {
  Shape shape;
  int64_t size = 1;
  for (size_t i = 0; i < port.extents.size(); ++i) {
    const int64_t extent = i == 0 && port.extents[i] < 0 ? 1 : port.extents[i];
    require<FormatError>(extent >= 1 && !__builtin_mul_overflow(size, extent, &size) && size <= kLargestValue,
                         "{}: input {}: axis {} is {}; needs a fixed extent, and at most 2^26 numbers a row", where,
                         excerpt(port.name), i, extent < 0 ? "symbolic" : std::to_string(extent));
    shape.push_back(extent);
  }
  return shape;
}

OnnxModel parse(const std::string& where, std::span<const uint8_t> bytes) {
  Graph graph = parse_graph(where, bytes);
  const Shape input = input_shape(where, graph.input);
  const bool batched = input.rank() >= 2 && input[0] == 1;
  Shape row = input;
  if (batched) row.erase(0);
  Shape rows = row;
  require<FormatError>(row.rank() < kMaxRank, "{}: input {} has {} axes; needs at most {}", where,
                       excerpt(graph.input.name), input.rank(), kMaxRank - 1);
  rows.insert(0, 1);
  Linker linker(where, graph);
  trace([&](const Tensor& x) { return linker.link(x, batched ? Form::folded : Form::stacked); },
        Layout::packed(rows, DType::f32));
  const Tensor weights = linker.weights();
  std::filesystem::path file(where);
  if (file.extension() == ".gz") file = file.stem();
  return {Network(file.stem().string(), row, linker.take()), weights, input, linker.output(), batched};
}

}  // namespace
}  // namespace detail

OnnxModel read_onnx(const std::filesystem::path& path) {
  return detail::parse(path.string(), read_bytes("read_onnx", path, detail::kLongestFile));
}

OnnxModel parse_onnx(const std::string& name, std::span<const uint8_t> bytes) { return detail::parse(name, bytes); }

}  // namespace mollify::nn::formats
