#include <mollify/nn/formats/onnx_file.h>

#ifdef MOLLIFY_ONNX

#include <mollify/engine/file.h>

#include <onnx/onnx_pb.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

namespace mollify::nn::formats::detail {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw data is copied as it is in memory");

constexpr int64_t kLargestSize = int64_t{1} << 40;  // of a tensor, before its data is looked at

// Whether the text is UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xC2 && lead <= 0xDF   ? 1
                     : (lead & 0xF0) == 0xE0        ? 2
                     : lead >= 0xF0 && lead <= 0xF4 ? 3
                                                    : 0;
    if (more == 0 || i + static_cast<size_t>(more) > text.size()) return false;
    uint32_t code = lead & (0x3F >> more);
    for (int k = 0; k < more; ++k) {
      const auto next = static_cast<uint8_t>(text[i++]);
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3F);
    }
    if ((more == 2 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) ||
        (more == 3 && (code < 0x10000 || code > 0x10FFFF)))
      return false;
  }
  return true;
}

class GraphReader {
 public:
  explicit GraphReader(const std::string& where) : where_(where) {}

  Graph read(const ::onnx::ModelProto& model) {
    require<FormatError>(model.has_graph(), "{}: there is no graph; needs an ONNX model", where_);
    const ::onnx::GraphProto& graph = model.graph();
    require<FormatError>(graph.sparse_initializer_size() == 0, "{}: sparse initializers; needs dense ones", where_);
    Graph out;
    for (const ::onnx::TensorProto& tensor : graph.initializer()) {
      const std::string what = "initializer " + excerpt(tensor.name());
      check_name(what, tensor.name());
      require<FormatError>(!tensor.name().empty(), "{}: an initializer has no name; needs one", where_);
      require<FormatError>(out.initializers.emplace(tensor.name(), array(what, tensor)).second,
                           "{}: {} is there twice; needs names that differ", where_, what);
    }
    for (const ::onnx::NodeProto& node : graph.node()) out.nodes.push_back(this->node(node));
    std::vector<GraphPort> inputs;
    for (const ::onnx::ValueInfoProto& info : graph.input())
      if (!out.initializers.contains(info.name()))
        inputs.push_back(port("input", info));  // older files list initializers among inputs
    require<FormatError>(inputs.size() == 1, "{}: {} inputs; needs one", where_, inputs.size());
    require<FormatError>(graph.output_size() == 1, "{}: {} outputs; needs one", where_, graph.output_size());
    require<FormatError>(inputs[0].shaped, "{}: input {} has no shape; needs one", where_, excerpt(inputs[0].name));
    out.input = std::move(inputs[0]);
    out.output = port("output", graph.output(0));
    return out;
  }

 private:
  void check_name(const std::string& what, const std::string& name) const {
    require<FormatError>(is_utf8(name), "{}: {}: the name is not UTF-8", where_, what);
  }

  GraphPort port(const std::string& kind, const ::onnx::ValueInfoProto& info) const {
    const std::string what = kind + " " + excerpt(info.name());
    check_name(what, info.name());
    require<FormatError>(info.type().has_tensor_type(), "{}: {} is no tensor; needs a dense one", where_, what);
    const ::onnx::TypeProto_Tensor& type = info.type().tensor_type();
    require<FormatError>(
        type.elem_type() == ::onnx::TensorProto::FLOAT || type.elem_type() == ::onnx::TensorProto::DOUBLE,
        "{}: {} has number type {}; needs FLOAT or DOUBLE", where_, what, type_name(type.elem_type()));
    GraphPort out{info.name(), type.has_shape(), {}};
    for (const auto& extent : type.shape().dim())
      out.extents.push_back(extent.has_dim_value() ? extent.dim_value() : -1);
    require<FormatError>(out.extents.size() <= kMaxRank, "{}: {} has {} axes; needs at most {}", where_, what,
                         out.extents.size(), kMaxRank);
    return out;
  }

  static std::string type_name(int type) {
    return ::onnx::TensorProto_DataType_IsValid(type)
               ? ::onnx::TensorProto_DataType_Name(static_cast<::onnx::TensorProto_DataType>(type))
               : std::to_string(type);
  }

  GraphNode node(const ::onnx::NodeProto& node) const {
    GraphNode out;
    out.type = node.op_type();
    const std::string& name = node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
    out.label = format("node '{}' ({})", name, out.type);
    const std::string quoted = excerpt(out.type);
    const std::string& what = out.place = format("node {} ({})", excerpt(name), quoted.substr(1, quoted.size() - 2));
    for (const std::string& text : {out.type, name}) check_name(what, text);
    require<FormatError>(node.domain().empty() || node.domain() == "ai.onnx",
                         "{}: {}: operators of domain {}; needs those of ONNX itself", where_, what,
                         excerpt(node.domain()));
    for (const std::string& input : node.input()) {
      check_name(what + ", input " + excerpt(input), input);
      out.inputs.push_back(input);
    }
    for (const std::string& output : node.output()) {
      check_name(what + ", output " + excerpt(output), output);
      out.outputs.push_back(output);
    }
    for (const ::onnx::AttributeProto& attribute : node.attribute()) {
      const std::string place = what + ", attribute " + excerpt(attribute.name());
      check_name(place, attribute.name());
      require<FormatError>(out.attributes.emplace(attribute.name(), value(place, attribute)).second,
                           "{}: {} is there twice; needs names that differ", where_, place);
    }
    return out;
  }

  Attribute value(const std::string& what, const ::onnx::AttributeProto& attribute) const {
    switch (attribute.type()) {
      case ::onnx::AttributeProto::INT: return int64_t{attribute.i()};
      case ::onnx::AttributeProto::FLOAT: return double{attribute.f()};
      case ::onnx::AttributeProto::STRING: return attribute.s();
      case ::onnx::AttributeProto::INTS: return std::vector<int64_t>(attribute.ints().begin(), attribute.ints().end());
      case ::onnx::AttributeProto::FLOATS:
        return std::vector<double>(attribute.floats().begin(), attribute.floats().end());
      case ::onnx::AttributeProto::TENSOR: return array(what, attribute.t());
      default:
        throw FormatError(format("{}: {} has type {}; needs integers, numbers, a string or a tensor", where_, what,
                                 static_cast<int>(attribute.type())));
    }
  }

  template <class T>
  void copy(const std::string& what, const ::onnx::TensorProto& tensor, int64_t size, const auto& field,
            auto& out) const {
    const bool raw = tensor.has_raw_data();
    const uint64_t given = raw ? tensor.raw_data().size() / sizeof(T) : static_cast<uint64_t>(field.size());
    require<FormatError>(given == static_cast<uint64_t>(size) && (!raw || tensor.raw_data().size() % sizeof(T) == 0),
                         "{}: {} has {} {}; its shape needs {}", where_, what, raw ? tensor.raw_data().size() : given,
                         raw ? "bytes" : "values", raw ? size * static_cast<int64_t>(sizeof(T)) : size);
    using Number = typename std::remove_reference_t<decltype(out)>::value_type;
    out.resize(static_cast<size_t>(size));
    for (size_t i = 0; i < out.size(); ++i) {
      T number{};
      if (raw) std::memcpy(&number, tensor.raw_data().data() + i * sizeof(T), sizeof(T));
      else number = static_cast<T>(field.Get(static_cast<int>(i)));
      if constexpr (std::is_same_v<T, double>)
        require<FormatError>(std::isinf(number) || !(std::abs(number) > std::numeric_limits<float>::max()),
                             "{}: {}: the value {}; needs the range of f32", where_, what, number);
      out[i] = static_cast<Number>(number);
    }
  }

  Array array(const std::string& what, const ::onnx::TensorProto& tensor) const {
    require<FormatError>(tensor.data_location() != ::onnx::TensorProto::EXTERNAL && tensor.external_data_size() == 0,
                         "{}: {} has its data in another file; needs it in this one (onnx.save without external data)",
                         where_, what);
    require<FormatError>(!tensor.has_segment(), "{}: {} comes in segments; needs one piece", where_, what);
    require<FormatError>(tensor.dims_size() <= kMaxRank, "{}: {} has {} axes; needs at most {}", where_, what,
                         tensor.dims_size(), kMaxRank);
    Array out;
    int64_t size = 1;
    for (const int64_t extent : tensor.dims()) {
      require<FormatError>(extent >= 0 && !__builtin_mul_overflow(size, extent, &size) && size <= kLargestSize,
                           "{}: {} has an axis of {}; needs at least 0 and at most 2^40 numbers in all", where_, what,
                           extent);
      out.shape.push_back(extent);
    }
    out.floating =
        tensor.data_type() == ::onnx::TensorProto::FLOAT || tensor.data_type() == ::onnx::TensorProto::DOUBLE;
    switch (tensor.data_type()) {
      case ::onnx::TensorProto::FLOAT: copy<float>(what, tensor, size, tensor.float_data(), out.numbers); break;
      case ::onnx::TensorProto::DOUBLE: copy<double>(what, tensor, size, tensor.double_data(), out.numbers); break;
      case ::onnx::TensorProto::INT64: copy<int64_t>(what, tensor, size, tensor.int64_data(), out.integers); break;
      case ::onnx::TensorProto::INT32: copy<int32_t>(what, tensor, size, tensor.int32_data(), out.integers); break;
      case ::onnx::TensorProto::BOOL: copy<uint8_t>(what, tensor, size, tensor.int32_data(), out.integers); break;
      default:
        throw FormatError(format("{}: {} has number type {}; needs FLOAT, DOUBLE, INT64, INT32 or BOOL", where_, what,
                                 type_name(tensor.data_type())));
    }
    return out;
  }

  const std::string& where_;
};

}  // namespace

Graph parse_graph(const std::string& where, std::span<const uint8_t> bytes) {
  require<FormatError>(bytes.size() <= std::numeric_limits<int>::max(), "{}: {} bytes; needs less than 2 GiB", where,
                       bytes.size());
  ::onnx::ModelProto model;
  require<FormatError>(model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())),
                       "{}: the bytes are no protobuf message; needs a whole ONNX file", where);
  return GraphReader(where).read(model);
}

}  // namespace mollify::nn::formats::detail

#else

namespace mollify::nn::formats::detail {

Graph parse_graph(const std::string&, std::span<const uint8_t>) {
  throw Error("onnx: this build reads no ONNX files; needs libonnx-dev when it is built");
}

}  // namespace mollify::nn::formats::detail

#endif
