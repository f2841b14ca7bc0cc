// A network's saved weights and the loss of its training images around them, for commands that measure one by the
// other.
#pragma once

#include <mollify/datasets/dataset.h>
#include <mollify/experiments/networks.h>
#include <mollify/experiments/options.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/loss/sample_losses.h>

namespace mollify::experiments {

// Losses, by their name for --loss, of a dataset's images on the device. `on_take` hears how many are taken each time
// and may throw. Network and dataset must outlive them.
smoothing::SampleLosses losses_on(const datasets::Dataset& images, const datasets::Preparation& preparation,
                                  const nn::Network& network, const Tensor& state, const std::string& loss,
                                  smoothing::NetworkLosses how, std::function<void(int64_t images)> on_take,
                                  Device device);

struct WeightsOnDataRequest {
  std::string weights, data, data_dir;  // data empty: what the weights were trained on
  int64_t images = 2000;                // the first training images
};
Options weights_on_data_options(WeightsOnDataRequest& request);

class WeightsOnData {
 public:
  // Throws UsageError, which starts with "mollify COMMAND", FormatError, datasets::MissingData.
  WeightsOnData(const char* command, const WeightsOnDataRequest& request, Device device);
  WeightsOnData(const WeightsOnData&) = delete;

  // The loss that the weights were trained with, of images without augmentation, in evaluation mode unless said
  // otherwise. Taking images throws Interrupted after an interrupt; `on_take` hears how many are taken. This object
  // must outlive the losses.
  smoothing::SampleLosses losses(smoothing::NetworkLosses how, std::function<void(int64_t images)> on_take) const;

  const nn::Network& network() const { return network_; }
  const Tensor& weights() const { return weights_; }
  int64_t images() const { return images_.size(); }
  const std::string& data() const { return data_; }
  const std::string& loss() const { return loss_; }
  std::string about() const;  // network, loss and images

 private:
  WeightsOnData(const char* command, const WeightsOnDataRequest& request, const nn::SafeTensors& file, Device device);

  const nn::Network network_;
  const datasets::Preparation preparation_;
  const std::string data_, loss_;
  Tensor weights_, state_;
  datasets::Dataset images_;
};

}  // namespace mollify::experiments
