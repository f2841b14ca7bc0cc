// Networks that a command line names, and what the commands about them share.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/engine/ops.h>
#include <mollify/experiments/options.h>
#include <mollify/nn/network.h>
#include <mollify/nn/weights_file.h>

#include <filesystem>
#include <functional>
#include <optional>

namespace mollify::experiments {

// An ONNX file, or weights that mollify saved.
struct NamedNetwork {
  nn::Network network;
  Tensor weights, state;  // f32, on the device that computes
  // Of weights that mollify saved: what they were trained on, and how images were prepared then.
  std::string data = {};
  datasets::Preparation preparation = {};
  bool onnx = false;

  // Rows to outputs in evaluation mode, computed in `dtype`. This object must outlive the function.
  std::function<Tensor(const Tensor&)> function(DType dtype) const;
};

// What weights files say of the preparation of images, and back; throws FormatError, which starts with `file`.
std::map<std::string, std::string> metadata_of(const datasets::Preparation& preparation);
datasets::Preparation preparation_of(const std::string& file, const std::map<std::string, std::string>& metadata);

// What a weights file says under `key`, or `otherwise` where it does not.
std::string said(const nn::SafeTensors& file, const std::string& key, const std::string& otherwise = "");
// Throws UsageError, which starts with "mollify COMMAND", for a `data` that is empty.
void require_data(const char* command, const std::string& weights, const std::string& data);
// Likewise unless the network in the file `weights` takes the dataset's images and has an output for each class.
void require_fits(const char* command, const std::string& weights, const nn::Network& network, const std::string& data,
                  const datasets::Dataset& dataset);

// By the name's end: .onnx, .onnx.gz or .safetensors. Throws UsageError, which starts with `command`, for another one,
// FormatError for files that are not what they claim to be.
NamedNetwork read_network(const std::string& command, const std::filesystem::path& path, Device device);

// Height and width of the images that a network takes, of [H, W, C] or [C, H, W] where they are equal; else 0.
int64_t image_extent(const Shape& input);

// The array of a .npy file as rows of the network's input. A file of the input's own shape is one row.
struct Rows {
  Tensor values;         // [N, input…]
  bool has_axis = true;  // whether the file has the rows' axis
};
Rows read_rows(const std::filesystem::path& path, const nn::Network& network, DType dtype);  // throws FormatError

// f on at most `count` rows at a time.
Tensor in_parts(const std::function<Tensor(const Tensor&)>& f, const Tensor& rows, int64_t count);

// A radius: a number, or a quotient such as 8/255. Throws UsageError, which starts with `option`, also for an empty
// text.
double radius_of(const std::string& option, const std::string& text);

// "LOW,HIGH". Throws UsageError, which starts with `option`.
struct Range { double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity(); };
Range range_of(const std::string& option, const std::string& text);

Option network_option(std::string& file);  // NETWORK of the command line

// Throws UsageError "mollify COMMAND: WHAT: not given; needs NEED".
void require_given(const std::string& text, const char* command, const char* what, const char* need);

}  // namespace mollify::experiments
