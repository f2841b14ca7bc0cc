#include <mollify/experiments/reproduce/training.h>

#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/nn/losses.h>

#include <cmath>
#include <numeric>

namespace mollify::experiments {

Images prepare(const datasets::Dataset& dataset, const datasets::Preparation& preparation, Device device) {
  std::vector<int32_t> all(static_cast<size_t>(dataset.size()));
  std::iota(all.begin(), all.end(), 0);
  datasets::Batch batch = datasets::make_batch(dataset, all, preparation);
  return {to(batch.images, device), to(batch.labels, device)};
}

Images range(const Images& images, int64_t first, int64_t count) {
  return {slice(images.images, 0, first, first + count), slice(images.labels, 0, first, first + count)};
}

Images chosen(const Images& images, std::span<const int32_t> indices) {
  const Tensor numbers = to(Tensor::from(indices, {static_cast<int64_t>(indices.size())}), images.images.device());
  return {take(images.images, numbers), take(images.labels, numbers)};
}

Score score_of(const Model& model, const Tensor& weights, const Images& images) {
  const NoGrad guard;
  Score score;
  int64_t right = 0;
  for (int64_t first = 0; first < images.count(); first += kEvaluationBatch) {
    stop_if_interrupted();
    const Images batch = range(images, first, std::min(kEvaluationBatch, images.count() - first));
    const Tensor outputs = model(weights, batch.images);
    const double share = static_cast<double>(batch.count()) / static_cast<double>(images.count());
    score.loss += share * nn::mean_squared_error(outputs, batch.labels).item();
    right += std::llround(nn::accuracy(outputs, batch.labels) * static_cast<double>(batch.count()));
  }
  score.accuracy = static_cast<double>(right) / static_cast<double>(images.count());
  return score;
}

Tensor copy_of(const Tensor& values) {
  const Tensor copy = Tensor::empty(Layout::packed(values.shape(), values.dtype(), values.device()));
  assign(copy, values);
  return copy;
}

Tensor trained_weights(TrainSettings settings, Task task, const std::filesystem::path& folder, RunEvents events) {
  events.stop = interrupted;
  settings.run().out = folder.string();
  const std::filesystem::path file = folder / "checkpoint.safetensors";
  std::optional<Checkpoint> checkpoint;
  if (std::filesystem::exists(file)) checkpoint = read_checkpoint(file);
  try {
    const RunOutcome outcome = train(settings, std::move(task), folder, checkpoint, events);
    require<Interrupted>(outcome.end != RunOutcome::End::interrupted, "interrupted");
    return outcome.weights;
  } catch (const Diverged&) { return {}; }
}

}  // namespace mollify::experiments
