#include <mollify/nn/weights_file.h>

#include <mollify/engine/file.h>
#include <mollify/nn/models.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>

namespace mollify::nn {
namespace {

using nlohmann::json;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is copied as it is in memory");

constexpr uint64_t kLongestHeader = 100'000'000;

constexpr struct {
  const char* name;
  DType dtype;
} kDTypes[] = {{"F32", DType::f32}, {"F64", DType::f64}, {"I32", DType::i32}, {"U8", DType::u8}};

const char* name_of(DType dtype) {
  for (const auto& entry : kDTypes)
    if (entry.dtype == dtype) return entry.name;
  return "?";
}

int64_t byte_count(const Tensor& t) { return t.size() * size_of(t.dtype()); }

struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t begin, end;
};

// One tensor's line of the header; `where` names file and tensor.
Entry parse_entry(const std::string& where, const std::string& name, const json& value) {
  require<FormatError>(value.is_object() && value.contains("dtype") && value.contains("shape") &&
                           value.contains("data_offsets") && value["dtype"].is_string() && value["shape"].is_array() &&
                           value["data_offsets"].is_array() && value["data_offsets"].size() == 2,
                       "{}: its entry is {}; needs dtype, shape and two data_offsets", where,
                       value.dump().substr(0, 200));
  Entry entry{name, DType::f32, {}, 0, 0};
  const std::string dtype = value["dtype"];
  const auto* known =
      std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const auto& e) { return dtype == e.name; });
  require<FormatError>(known != std::end(kDTypes), "{}: dtype {}; needs F32, F64, I32 or U8", where, dtype);
  entry.dtype = known->dtype;
  require<FormatError>(value["shape"].size() <= kMaxRank, "{}: {} axes; at most {} can be", where,
                       value["shape"].size(), kMaxRank);
  uint64_t bytes = static_cast<uint64_t>(size_of(entry.dtype));
  for (const json& extent : value["shape"]) {
    require<FormatError>(extent.is_number_unsigned() && extent.get<uint64_t>() <= uint64_t{1} << 46,
                         "{}: shape {}; needs whole numbers of at most 2^46", where, value["shape"].dump());
    entry.shape.push_back(static_cast<int64_t>(extent.get<uint64_t>()));
    require<FormatError>(!__builtin_mul_overflow(bytes, extent.get<uint64_t>(), &bytes),
                         "{}: shape {}; its size overflows", where, value["shape"].dump());
  }
  for (const json& offset : value["data_offsets"])
    require<FormatError>(offset.is_number_unsigned(), "{}: data_offsets {}; needs whole numbers", where,
                         value["data_offsets"].dump());
  entry.begin = value["data_offsets"][0];
  entry.end = value["data_offsets"][1];
  require<FormatError>(entry.begin <= entry.end && entry.end - entry.begin == bytes,
                       "{}: bytes {} to {}; shape {} of {} needs {}", where, entry.begin, entry.end, entry.shape,
                       entry.dtype, bytes);
  return entry;
}

// The JSON text as an object without repeated names (of which the parser would silently keep one).
json parse_header(const std::string& file, const std::string& text) {
  std::vector<std::set<std::string>> names;
  std::string repeated;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    require<FormatError>(depth <= 8, "{}: the header's JSON nests deeper than 8; needs a flat object", file);
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key && !names.back().insert(value.get<std::string>()).second)
      repeated = value.get<std::string>();
    return true;
  };
  try {
    json header = json::parse(text, watch);
    require<FormatError>(header.is_object(), "{}: the header at byte 8 is no JSON object", file);
    require<FormatError>(repeated.empty(), "{}: the header has '{}' twice", file, repeated);
    return header;
  } catch (const json::parse_error& error) {
    throw FormatError(format("{}: the header is no JSON at byte {}: {}", file, 8 + error.byte, error.what()));
  }
}

// Extents between commas.
std::string text_of(const Shape& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : ",") + std::to_string(extent);
  return text;
}

constexpr int64_t kMostNumbers = int64_t{1} << 31;  // in an input or output

Shape shape_of(const std::string& file, const char* key, const std::string& text) {
  Shape shape;
  bool good = !text.empty();
  int64_t size = 1;
  for (const char *at = text.data(), *end = at + text.size(); good && at <= end; ++at) {
    int64_t extent = 0;
    const auto [stop, error] = std::from_chars(at, end, extent);
    good = error == std::errc() && (stop == end || *stop == ',') && extent >= 1 && shape.rank() < kMaxRank &&
           extent <= kMostNumbers / size;
    if (!good) break;
    size *= extent;
    shape.push_back(extent);
    at = stop;
  }
  require<FormatError>(good, "{}: its metadata gives {} as '{}'; needs extents between commas, such as 28,28,1", file,
                       key, text.substr(0, 100));
  return shape;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const SafeTensors& content) {
  json header = json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  std::vector<std::pair<std::string, Tensor>> order;
  for (const auto& [name, tensor] : content.tensors) order.emplace_back(name, packed(tensor.detach()));
  // Wide numbers first, so that all data is aligned.
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return size_of(a.second.dtype()) > size_of(b.second.dtype()); });
  int64_t offset = 0;
  for (const auto& [name, tensor] : order) {
    const std::vector<int64_t> shape(tensor.shape().begin(), tensor.shape().end());
    header[name] = {
        {"dtype", name_of(tensor.dtype())}, {"shape", shape}, {"data_offsets", {offset, offset + byte_count(tensor)}}};
    offset += byte_count(tensor);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');

  const uint64_t length = text.size();
  std::vector<std::string_view> parts{{reinterpret_cast<const char*>(&length), 8}, text};
  for (const auto& [name, tensor] : order)
    parts.emplace_back(tensor.first_byte(), static_cast<size_t>(byte_count(tensor)));
  write_bytes("write_safetensors", path, parts);
}

SafeTensors read_safetensors(const std::filesystem::path& path) {
  const std::string file = path.string();
  std::ifstream in(path, std::ios::binary);
  require<FormatError>(in.good(), "{}: cannot be read ({})", file, std::strerror(errno));
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  require<FormatError>(!error, "{}: cannot be read ({})", file, error.message());
  uint64_t length = 0;
  require<FormatError>(size >= 8 && in.read(reinterpret_cast<char*>(&length), 8),
                       "{}: {} bytes; needs the 8 of the header's length at byte 0", file, size);
  require<FormatError>(length <= kLongestHeader && length <= size - 8,
                       "{}: a header of {} bytes at byte 0; the file has {} and a header at most {}", file, length,
                       size, kLongestHeader);
  std::string text(length, '\0');
  require<FormatError>(in.read(text.data(), static_cast<std::streamsize>(length)).good(),
                       "{}: the header at byte 8 cannot be read", file);

  SafeTensors content;
  std::vector<Entry> entries;
  const json header = parse_header(file, text);
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      require<FormatError>(value.is_object(), "{}: __metadata__ is no object", file);
      for (const auto& [key, word] : value.items()) {
        require<FormatError>(word.is_string(), "{}: __metadata__ '{}' is no string", file, key);
        content.metadata[key] = word;
      }
    } else {
      entries.push_back(parse_entry(file + ": tensor '" + name + "'", name, value));
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (const Entry& entry : entries) {
    require<FormatError>(entry.begin == position,
                         "{}: tensor '{}' starts at byte {} of the data; the one before ends at {}", file, entry.name,
                         entry.begin, position);
    position = entry.end;
  }
  require<FormatError>(position == size - 8 - length, "{}: {} bytes of data after byte {}; the header describes {}",
                       file, size - 8 - length, 8 + length, position);
  for (const Entry& entry : entries) {
    const Tensor tensor = Tensor::empty(Layout::packed(entry.shape, entry.dtype));
    require<FormatError>(tensor.size() == 0 || in.read(tensor.first_byte(), byte_count(tensor)).good(),
                         "{}: tensor '{}' at byte {} cannot be read", file, entry.name, 8 + length + entry.begin);
    content.tensors.emplace(entry.name, tensor);
  }
  return content;
}

namespace {

const std::string kStatePrefix = "state.";

void store(SafeTensors& content, const std::string& prefix, const std::vector<Piece>& pieces, const Tensor& flat) {
  for (const Piece& piece : pieces)
    content.tensors[prefix + piece.name] =
        reshape(slice(flat.detach(), 0, piece.offset, piece.offset + piece.shape.size()), piece.shape);
}

// Takes the pieces out of `content`.
Tensor extract(const std::string& file, SafeTensors& content, const std::string& prefix,
               const std::vector<Piece>& pieces) {
  Tensors parts(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto found = content.tensors.find(prefix + pieces[i].name);
    require<FormatError>(found != content.tensors.end(), "{}: there is no tensor '{}'; the network needs it", file,
                         prefix + pieces[i].name);
    require<FormatError>(found->second.shape() == pieces[i].shape && is_floating(found->second.dtype()),
                         "{}: tensor '{}' is {} of {}; the network needs {}", file, found->first, found->second.dtype(),
                         found->second.shape(), pieces[i].shape);
    parts[i] = mollify::flatten(found->second);
    content.tensors.erase(found);
  }
  return parts.size() ? concat(parts) : zeros({0});
}

}  // namespace

void save(const std::filesystem::path& path, const Network& network, const Tensor& weights, const Tensor& state,
          const std::map<std::string, std::string>& metadata) {
  SafeTensors content{.tensors = {}, .metadata = metadata};
  content.metadata["model"] = network.name();
  content.metadata["input"] = text_of(network.input());
  content.metadata["output"] = text_of(network.output());
  store(content, "", network.weights(), weights);
  if (!network.statistics().empty()) store(content, kStatePrefix, network.statistics(), state);
  write_safetensors(path, content);
}

Network described_network(const std::string& file, const std::map<std::string, std::string>& metadata) {
  const auto said = [&](const char* key) {
    const auto found = metadata.find(key);
    require<FormatError>(found != metadata.end(), "{}: its metadata has no '{}'; needs weights that mollify saved",
                         file, key);
    return found->second;
  };
  const std::string model = said("model");
  const std::vector<std::string> models = model_names();
  require<FormatError>(std::find(models.begin(), models.end(), model) != models.end(),
                       "{}: of model '{}'; this version has none of this name", file, model.substr(0, 100));
  const Shape input = shape_of(file, "input", said("input")), output = shape_of(file, "output", said("output"));
  require<FormatError>(output.rank() == 1, "{}: its metadata gives output as '{}'; needs one extent", file,
                       text_of(output));
  try {
    return make(model, input, output[0]);
  } catch (const Error& error) {
    throw FormatError(format("{}: its metadata describes no network: {}", file, error.what()));
  }
}

Loaded load(const std::filesystem::path& path, const Network& network) {
  SafeTensors content = read_safetensors(path);
  const std::string file = path.string();
  Loaded loaded{.weights = extract(file, content, "", network.weights()),
                .state = extract(file, content, kStatePrefix, network.statistics()),
                .metadata = content.metadata};
  require<FormatError>(content.tensors.empty(), "{}: tensor '{}' has no place in the network {}", file,
                       content.tensors.empty() ? "" : content.tensors.begin()->first, network.name());
  return loaded;
}

}  // namespace mollify::nn
