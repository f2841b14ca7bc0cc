#include <mollify/experiments/reproduce/gsmooth_network.h>

#include <mollify/nn/losses.h>

namespace mollify::experiments {

Images noisy(const datasets::Dataset& images, datasets::Preparation preparation, const Noise& noise, uint64_t seed,
             Device device) {
  preparation.noise = {.input_deviation = noise.inputs, .label_share = noise.labels, .seed = seed};
  return prepare(images, preparation, device);
}

GSmoothNetwork::GSmoothNetwork(const nn::Network& network, double sigma, const std::map<std::string, double>& penalties,
                               double share)
    : network_(network),
      smooths_(sigma > 0),
      smoothed_(
          smooth(network, smoothing::Sigma::paper(sigma), {.by_layer = penalties, .form = smoothing::Form::split})),
      share_(share) {}

Model GSmoothNetwork::plain() const {
  return [this](const Tensor& weights, const Tensor& images) { return network_(weights, images); };
}

Model GSmoothNetwork::trained() const {
  if (!smooths_) return plain();
  return [this](const Tensor& weights, const Tensor& images) { return smoothed_(weights, images).output; };
}

Tensor GSmoothNetwork::loss(const Tensor& weights, const smoothing::Sigma& sigma, const Images& batch) const {
  if (!smooths_) return nn::mean_squared_error(network_(weights, batch.images), batch.labels) * share_;
  return smoothed_squared_error(smoothed_(weights, {}, batch.images, sigma), batch.labels, share_);
}

}  // namespace mollify::experiments
