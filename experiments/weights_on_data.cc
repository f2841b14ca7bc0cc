#include <mollify/experiments/weights_on_data.h>

#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/training/task.h>

namespace mollify::experiments {
namespace {

Tensor squared_errors(const Tensor& outputs, const Tensor& labels) {
  return sum(square(outputs - one_hot(labels, outputs.dim(-1), outputs.dtype())), -1);
}

}  // namespace

smoothing::SampleLosses losses_on(const datasets::Dataset& images, const datasets::Preparation& preparation,
                                  const nn::Network& network, const Tensor& state, const std::string& loss,
                                  smoothing::NetworkLosses how, std::function<void(int64_t)> on_take, Device device) {
  how.losses = loss == "squared_error" ? squared_errors : cross_entropy;
  const auto take = [&images, preparation, device, on_take = std::move(on_take)](std::span<const int32_t> which) {
    on_take(static_cast<int64_t>(which.size()));
    const datasets::Batch batch = datasets::make_batch(images, which, preparation);
    return Tensors{to(batch.images, device), to(batch.labels, device)};
  };
  return smoothing::losses_of(network, state, images.size(), take, how);
}

WeightsOnData::WeightsOnData(const char* command, const WeightsOnDataRequest& request, Device device)
    : WeightsOnData(command, request,
                    (require_given(request.weights, command, "--weights", "a file .safetensors of a run"),
                     nn::read_safetensors(request.weights)),
                    device) {}

WeightsOnData::WeightsOnData(const char* command, const WeightsOnDataRequest& request, const nn::SafeTensors& file,
                             Device device)
    : network_(nn::described_network(request.weights, file.metadata)),
      preparation_(preparation_of(request.weights, file.metadata)),
      data_(request.data.empty() ? said(file, "data") : request.data),
      loss_(said(file, "loss", "cross_entropy")) {
  require_data(command, request.weights, data_);
  require<FormatError>(loss_ == "cross_entropy" || loss_ == "squared_error",
                       "{}: its metadata names the loss '{}'; needs cross_entropy or squared_error", request.weights,
                       loss_);
  images_ = load_images(data_, request.data_dir, request.images, 1, format("mollify {}: --images", command),
                        image_extent(network_.input()))
                .train;
  require_fits(command, request.weights, network_, data_, images_);
  const nn::Loaded loaded = nn::load(request.weights, network_);
  weights_ = to(loaded.weights, device);
  state_ = to(loaded.state, device);
}

smoothing::SampleLosses WeightsOnData::losses(smoothing::NetworkLosses how,
                                              std::function<void(int64_t)> on_take) const {
  const auto before = [on_take = std::move(on_take)](int64_t images) {
    stop_if_interrupted();
    on_take(images);
  };
  return losses_on(images_, preparation_, network_, state_, loss_, std::move(how), before, weights_.device());
}

std::string WeightsOnData::about() const {
  return format("{} ({} weights), {} on {} training images of {}", network_.name(), weights_.size(), loss_,
                images_.size(), data_);
}

Options weights_on_data_options(WeightsOnDataRequest& r) {
  Options all;
  add(all,
      {{{"weights", "Data", "weights, such as a run's model.safetensors", ""}, &r.weights, {}},
       {{"data", "Data", "dataset", "the one that the weights were trained on"}, &r.data, one_of(data_names())},
       data_dir_option(r.data_dir, "Data"),
       {{"images", "Data", "the first N training images", nullptr}, &r.images, Rule{.low = 2, .high = 10'000'000}}});
  return all;
}

}  // namespace mollify::experiments
