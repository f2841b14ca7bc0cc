// A network as a classifier of a dataset's images, with pixels from 0 to 1: what attacks and certificates speak of.
#pragma once

#include <mollify/datasets/dataset.h>
#include <mollify/experiments/networks.h>

namespace mollify::experiments {

struct ClassifierRequest {
  std::string weights, data, data_dir, split = "test";  // data empty: what the weights were trained on
  int64_t images = 0;                                   // the first of them; 0: all
  bool normalize = false;
};

class Classifier {
 public:
  // Throws UsageError, which starts with "mollify COMMAND", FormatError, datasets::MissingData, and ValueError for a
  // network that does not classify these images.
  Classifier(const char* command, const ClassifierRequest& request, Device device);

  // Pixels [N, H, W, C] to outputs [N, classes]. mollify's own networks normalise as their file says, ONNX networks if
  // asked to. ONNX networks get the order of axes that they have, [C, H, W] where both fit, and pixels in that order
  // where their input has none.
  std::function<Tensor(const Tensor&)> function(DType dtype) const;

  const datasets::Dataset& images() const { return images_; }
  const NamedNetwork& named() const { return named_; }
  Device device() const { return named_.weights.device(); }
  Shape image_shape() const { return {images_.height, images_.width, images_.channels}; }

  struct Batch { Tensor pixels, labels, rows; };  // f32 [N, H, W, C], i32 [N], images' numbers i32 [N]; on the device
  Batch batch(const std::vector<int32_t>& indices) const;

 private:
  NamedNetwork named_;
  std::string data_;
  bool normalize_;
  datasets::Dataset images_;
};

// The options that ask for a classifier.
Options classifier_options(ClassifierRequest& request);

}  // namespace mollify::experiments
