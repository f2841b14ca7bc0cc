#include <mollify/experiments/robustness/classifier.h>

#include <mollify/datasets/loader.h>
#include <mollify/experiments/training/task.h>

namespace mollify::experiments {
namespace {

Tensor per_channel(const std::vector<float>& values, DType dtype, Device device) {
  return to(cast(Tensor::from(values, {static_cast<int64_t>(values.size())}), dtype), device);
}

}  // namespace

Classifier::Classifier(const char* command, const ClassifierRequest& request, Device device)
    : named_((require_given(request.weights, command, "--weights", "a file .safetensors, .onnx or .onnx.gz"),
              read_network(format("mollify {}: --weights", command), request.weights, device))),
      data_(request.data.empty() ? named_.data : request.data),
      normalize_(!named_.onnx || request.normalize) {
  require_data(command, request.weights, data_);
  const bool training = request.split == "train";
  datasets::Splits splits =
      load_images(data_, request.data_dir, training ? request.images : 1, training ? 1 : request.images,
                  format("mollify {}: --images", command), image_extent(named_.network.input()));
  images_ = std::move(training ? splits.train : splits.test);
  require<ValueError>(
      named_.network.output() == Shape{images_.classes} && named_.network.input().size() == images_.image_size(),
      "{}: a network of {} to {}; {} has images of {} and {} classes", request.weights, named_.network.input(),
      named_.network.output(), data_, image_shape(), images_.classes);
}

std::function<Tensor(const Tensor&)> Classifier::function(DType dtype) const {
  // An ONNX file does not say: where asked, it takes images as mollify's own networks do.
  const datasets::Preparation preparation = named_.onnx ? plain_preparation(data_) : named_.preparation;
  Tensor mean, deviation;
  if (normalize_ && !preparation.mean.empty()) {
    mean = per_channel(preparation.mean, dtype, device());
    deviation = per_channel(preparation.deviation, dtype, device());
  }
  const Shape input = named_.network.input(), channels_first{images_.channels, images_.height, images_.width};
  const bool move = images_.channels > 1 && (input == channels_first || !(input == image_shape()));
  return [f = named_.function(dtype), input, mean, deviation, move](const Tensor& pixels) {
    Tensor x = mean.defined() ? (pixels - mean) / deviation : pixels;
    if (move) x = permute(x, {0, 3, 1, 2});
    Shape shape = input;
    shape.insert(0, pixels.shape()[0]);
    return f(x.shape() == shape ? x : reshape(x, shape));
  };
}

Classifier::Batch Classifier::batch(const std::vector<int32_t>& indices) const {
  datasets::Batch made = datasets::make_batch(images_, indices);
  const Tensor rows = Tensor::from(indices, {static_cast<int64_t>(indices.size())});
  return {to(made.images, device()), to(made.labels, device()), to(rows, device())};
}

Options classifier_options(ClassifierRequest& r) {
  Options all;
  add(all, {{{"weights", "Data", "network: .safetensors of a run, .onnx or .onnx.gz", ""}, &r.weights, {}},
            {{"data", "Data", "dataset", "the one that the weights were trained on"}, &r.data, one_of(data_names())},
            data_dir_option(r.data_dir, "Data"),
            {{"split", "Data", "which images", nullptr}, &r.split, one_of({"test", "train"})},
            {{"images", "Data", "only the first N images", "all", true}, &r.images, Rule{.low = 1, .high = 60000}},
            {{"normalize", "Data",
              "an ONNX network takes CIFAR and folders with channels of mean 0 and deviation 1, as mollify's own do; "
              "else pixels from 0 to 1",
              nullptr},
             &r.normalize,
             {}}});
  return all;
}

}  // namespace mollify::experiments
