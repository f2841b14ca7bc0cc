#include <mollify/smoothing/loss/sample_losses.h>

#include <mollify/nn/per_sample.h>

#include <algorithm>
#include <numeric>

namespace mollify::smoothing {
namespace {

Tensor normalised(const Tensor& outputs) { return outputs / sqrt(mean(square(outputs), -1, /*keep=*/true)); }

}  // namespace

SampleLosses losses_of(const nn::Network& network, const Tensor& state, int64_t count,
                       std::function<Tensors(std::span<const int32_t>)> take, const NetworkLosses& how) {
  const bool by_batch = how.batch_statistics && !network.statistics().empty();
  const auto losses = [how](const Tensor& outputs, const Tensor& labels) {
    return how.losses(how.normalised_outputs ? normalised(outputs) : outputs, labels);
  };
  SampleLosses all{.count = count, .take = std::move(take), .mean = {}, .gradients = {}};
  all.mean = [&network, state, losses, by_batch](const Tensor& weights, const Tensors& taken) {
    const nn::Mode mode = by_batch ? nn::Mode::train : nn::Mode::evaluate;
    return mean(losses(network(weights, state, taken[0], mode).output, taken[1]));
  };
  all.gradients = [&network, state, losses, by_batch](const Tensor& weights, const Tensors& taken) {
    require<ValueError>(!by_batch,
                        "gradients of single images: {} has batch norm with statistics of the batch; needs frozen ones",
                        network.name());
    const auto of_rows = [&](const Tensor& outputs) { return losses(outputs, taken[1]); };
    return nn::per_sample_gradients(network, weights, state, taken[0], of_rows).gradients;
  };
  return all;
}

void check(const char* operation, const SampleLosses& losses, const Tensor& weights) {
  constexpr int64_t kMost = int64_t{1} << 24;
  require<ValueError>(losses.count >= 1 && losses.count < kMost && losses.take && losses.mean,
                      "{}: losses of {} samples given; needs 1 to {}, and functions that take them and give their mean",
                      operation, losses.count, kMost - 1);
  require<TypeError>(is_floating(weights.dtype()) && weights.rank() == 1,
                     "{}: weights are {} of {}; needs a flat vector of f32 or f64", operation, weights.shape(),
                     weights.dtype());
}

Tensors with_first(const Tensor& first, const Tensors& rest) {
  Tensors all(rest.size() + 1);
  all[0] = first;
  std::copy(rest.begin(), rest.end(), all.begin() + 1);
  return all;
}

Tensors without_first(const Tensors& in) { return std::span<const Tensor>(in).subspan(1); }

std::vector<int32_t> samples_from(int64_t first, int64_t size, int64_t count) {
  std::vector<int32_t> which(static_cast<size_t>(std::min(size, count - first)));
  std::iota(which.begin(), which.end(), static_cast<int32_t>(first));
  return which;
}

}  // namespace mollify::smoothing
