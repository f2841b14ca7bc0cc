#include <mollify/experiments/networks.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/nn/formats/npy.h>
#include <mollify/nn/formats/onnx.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

constexpr struct { const char* data; int64_t extent, channels, classes; } kImages[] = {
    {"digits", 28, 1, 10}, {"mnist", 28, 1, 10}, {"cifar10", 32, 3, 10}, {"cifar100", 32, 3, 100}};

bool ends_in(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

NamedNetwork read_weights(const std::filesystem::path& path) {
  const auto metadata = nn::read_safetensors(path).metadata;
  const auto said = [&](const char* key) {
    const auto found = metadata.find(key);
    require<FormatError>(found != metadata.end(), "{}: its metadata has no '{}'; needs weights that mollify saved",
                         path.string(), key);
    return found->second;
  };
  const std::string model = said("model"), data = said("data");
  const auto images =
      std::find_if(std::begin(kImages), std::end(kImages), [&](const auto& known) { return known.data == data; });
  const std::vector<std::string> models = nn::model_names();
  require<FormatError>(images != std::end(kImages) && std::find(models.begin(), models.end(), model) != models.end(),
                       "{}: of model '{}' on '{}'; this version knows no such pair", path.string(), model, data);
  nn::Network network = nn::make(model, {images->extent, images->extent, images->channels}, images->classes);
  nn::Loaded loaded = nn::load(path, network);
  return {std::move(network), loaded.weights, loaded.state, data};
}

NamedNetwork read_onnx_network(const std::filesystem::path& path) {
  nn::formats::OnnxModel model = nn::formats::read_onnx(path);
  return {std::move(model.network), model.weights, Tensor(), "", true};
}

}  // namespace

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

void require_given(const std::string& text, const char* command, const char* what, const char* need) {
  require<UsageError>(!text.empty(), "mollify {}: {}: not given; needs {}", command, what, need);
}

void use_threads(int64_t count) {
  if (count > 0) set_num_threads(static_cast<int>(count));
}

}  // namespace mollify::experiments
