#include <mollify/experiments/networks.h>

#include <mollify/nn/formats/npy.h>
#include <mollify/nn/formats/onnx.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace mollify::experiments {
namespace {

bool ends_in(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string joined(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) text += format("{}{}", text.empty() ? "" : ",", static_cast<double>(value));
  return text;
}

// Numbers between commas; empty where the metadata has none.
std::vector<float> numbers_in(const std::string& file, const std::map<std::string, std::string>& metadata,
                              const char* key) {
  const auto found = metadata.find(key);
  std::vector<float> values;
  if (found == metadata.end() || found->second.empty()) return values;
  std::istringstream text(found->second);
  for (std::string part; std::getline(text, part, ',');) {
    const std::optional<double> value = number_of(part);
    require<FormatError>(value.has_value(), "{}: its metadata gives {} as '{}'; needs numbers between commas", file,
                         key, found->second.substr(0, 100));
    values.push_back(static_cast<float>(*value));
  }
  return values;
}

NamedNetwork read_weights(const std::filesystem::path& path) {
  const auto metadata = nn::read_safetensors(path).metadata;
  nn::Network network = nn::described_network(path.string(), metadata);
  nn::Loaded loaded = nn::load(path, network);
  const auto data = metadata.find("data");
  return {std::move(network), loaded.weights, loaded.state, data == metadata.end() ? "" : data->second,
          preparation_of(path.string(), metadata)};
}

NamedNetwork read_onnx_network(const std::filesystem::path& path) {
  nn::formats::OnnxModel model = nn::formats::read_onnx(path);
  return {std::move(model.network), model.weights, Tensor(), "", {}, true};
}

}  // namespace

std::map<std::string, std::string> metadata_of(const datasets::Preparation& preparation) {
  if (preparation.mean.empty() && preparation.deviation.empty()) return {};
  return {{"mean", joined(preparation.mean)}, {"deviation", joined(preparation.deviation)}};
}

datasets::Preparation preparation_of(const std::string& file, const std::map<std::string, std::string>& metadata) {
  datasets::Preparation preparation;
  preparation.mean = numbers_in(file, metadata, "mean");
  preparation.deviation = numbers_in(file, metadata, "deviation");
  return preparation;
}

std::function<Tensor(const Tensor&)> NamedNetwork::function(DType dtype) const {
  const Tensor own_weights = cast(weights, dtype), own_state = state.defined() ? cast(state, dtype) : state;
  return [this, own_weights, own_state](const Tensor& x) {
    return network(own_weights, own_state, x, nn::Mode::evaluate).output;
  };
}

NamedNetwork read_network(const std::string& command, const std::filesystem::path& path, Device device) {
  const std::string name = path.string();
  const bool own = ends_in(name, ".safetensors");
  require<UsageError>(own || ends_in(name, ".onnx") || ends_in(name, ".onnx.gz"),
                      "{}: {} given as the network; needs a file .onnx, .onnx.gz or .safetensors", command, name);
  NamedNetwork named = own ? read_weights(path) : read_onnx_network(path);
  named.weights = to(named.weights, device);
  if (named.state.defined()) named.state = to(named.state, device);
  return named;
}

std::string said(const nn::SafeTensors& file, const std::string& key, const std::string& otherwise) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? otherwise : found->second;
}

void require_data(const char* command, const std::string& weights, const std::string& data) {
  require<UsageError>(!data.empty(), "mollify {}: --data: not given, and {} does not name its data", command, weights);
}

void require_fits(const char* command, const std::string& weights, const nn::Network& network, const std::string& data,
                  const datasets::Dataset& dataset) {
  const Shape shape{dataset.height, dataset.width, dataset.channels};
  require<UsageError>(network.input() == shape && network.output() == Shape{dataset.classes},
                      "mollify {}: --data: {} given, images of {} and {} classes; {} is a network of {} to {}", command,
                      data, shape, dataset.classes, weights, network.input(), network.output());
}

int64_t image_extent(const Shape& input) {
  if (input.rank() != 3) return 0;
  return input[0] == input[1] ? input[0] : input[1] == input[2] ? input[1] : 0;
}

Rows read_rows(const std::filesystem::path& path, const nn::Network& network, DType dtype) {
  const Tensor values = cast(nn::formats::read_npy(path), dtype);
  const Shape& one = network.input();
  Shape rows = values.shape();
  if (rows.rank() == one.rank()) rows.insert(0, 1);
  Shape expected = one;
  expected.insert(0, rows.rank() > 0 ? rows[0] : 0);
  require<FormatError>(rows == expected && rows[0] > 0,
                       "{}: an array of shape {}; the network needs {}, or any number of rows of it", path.string(),
                       values.shape(), one);
  return {reshape(values, rows), values.rank() > one.rank()};
}

Tensor in_parts(const std::function<Tensor(const Tensor&)>& f, const Tensor& rows, int64_t count) {
  std::vector<Tensor> parts;
  const int64_t total = rows.shape()[0];
  for (int64_t first = 0; first < total; first += count)
    parts.push_back(f(slice(rows, 0, first, std::min(total, first + count))));
  return parts.size() == 1 ? parts[0] : concat(parts);
}

double radius_of(const std::string& option, const std::string& text) {
  const std::optional<double> radius = number_of(text);
  require<UsageError>(radius && *radius >= 0, "{}: {} given; needs a number from 0 on, or a quotient such as 8/255",
                      option, text.empty() ? "nothing" : text);
  return *radius;
}

Range range_of(const std::string& option, const std::string& text) {
  Range range;
  if (text.empty()) return range;
  const size_t comma = std::min(text.find(','), text.size());
  const std::optional<double> low = number_of(text.substr(0, comma)),
                              high = number_of(text.substr(std::min(comma + 1, text.size())));
  require<UsageError>(low && high && *low <= *high,
                      "{}: {} given; needs two numbers LOW,HIGH, the first not above the second", option, text);
  return {*low, *high};
}

Option network_option(std::string& file) {
  return {{"network", "Arguments", "network: .onnx, .onnx.gz, or .safetensors of a run", "", false, true}, &file, {}};
}

void require_given(const std::string& text, const char* command, const char* what, const char* need) {
  require<UsageError>(!text.empty(), "mollify {}: {}: not given; needs {}", command, what, need);
}

}  // namespace mollify::experiments
