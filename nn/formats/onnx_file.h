// An ONNX file's graph as plain data: the only part that knows protobuf.
#pragma once

#include <mollify/engine/tensor.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace mollify::nn::formats::detail {

// A tensor of the file: f32 and f64 as numbers, integers and bools as integers.
struct Array {
  Shape shape;
  bool floating = false;
  std::vector<double> numbers;
  std::vector<int64_t> integers;
};

using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, Array>;

struct GraphNode {
  std::string type;
  std::string label;  // node 'NAME' (TYPE), whole
  std::string place;  // the same as errors quote it
  std::vector<std::string> inputs, outputs;  // empty names: not given
  std::map<std::string, Attribute> attributes;
};

struct GraphPort {
  std::string name;
  bool shaped = false;
  std::vector<int64_t> extents;  // −1: symbolic
};

struct Graph {
  std::vector<GraphNode> nodes;
  std::map<std::string, Array> initializers;
  GraphPort input, output;
};

// Throws FormatError that begins with `where`; Error in a build without ONNX.
Graph parse_graph(const std::string& where, std::span<const uint8_t> bytes);

}  // namespace mollify::nn::formats::detail
