#include <mollify/experiments/training/training_step.h>

#include <mollify/experiments/training/accumulate.h>

namespace mollify::experiments {

TrainingStep::TrainingStep(const TrainSettings& settings, const Task& task, const Tensor& weights, const Tensor& state)
    : settings_(settings), task_(task), weights_(weights), state_(state), number_(zeros({}, DType::i32)) {
  const Setting setting{task.network, task.plain,       task.timetable,
                        task.loss,    weights.device(), static_cast<uint64_t>(settings.run().seed)};
  require<UsageError>(settings.run().rows == 0 || task.network.statistics().empty(),
                      "mollify train: --rows: {} given with {}, whose batch norm has statistics of the whole batch; "
                      "needs a model without",
                      settings.run().rows, task.network.name());
  settings.objective().prepare(setting);
  if (settings.smoothing().active()) settings.smoothing().prepare(setting);
}

std::string TrainingStep::uncaptured() const {
  return settings_.run().capture ? settings_.objective().uncaptured() : "steps run as they are, without capture";
}

bool TrainingStep::captures() const { return settings_.run().capture && settings_.objective().can_be_captured(); }

Objective::Result TrainingStep::loss(const Tensor& weights, const Tensors& in, const Tensor& number) const {
  return settings_.smoothing().active() ? settings_.smoothing()(weights, state_, in)
                                        : settings_.objective()(weights, state_, in, number);
}

// The loss's gradient, the update, and new statistics of batch norm. Returns the loss and the number of images
// classified rightly.
Tensors TrainingStep::operations(const Tensors& in) {
  const int64_t images = in[0].dim(0), rows = settings_.run().rows > 0 ? settings_.run().rows : images;
  const int64_t parts = (images + rows - 1) / rows;
  std::vector<Tensor> outputs;
  Tensor new_state;
  // Random numbers of a part are its own.
  const auto of_part = [&](const Tensor& weights, const Tensors& part, int64_t number) {
    const Objective::Result result = loss(weights, part, parts == 1 ? number_ : number_ * parts + number);
    outputs.push_back(result.outputs);
    new_state = result.state;
    return result.loss;
  };
  const Tensor value = task_.optimizer->update(weights_, [&](const Tensor& weights) {
    return parts == 1 ? of_part(weights, in, 0) : mean_over_parts(weights, in, rows, of_part);
  });
  if (!task_.network.statistics().empty()) assign(state_, new_state);
  const Tensor all = parts == 1 ? outputs[0] : concat(std::span<const Tensor>(outputs), 0);
  return {cast(value, DType::f64), sum(cast(equal(argmax(all), in[1]), DType::f64))};
}

void TrainingStep::launch(const datasets::Batch& batch, int64_t epoch) {
  const int64_t before = task_.optimizer->steps();
  const Device device = weights_.device();
  Objective& objective = settings_.objective();
  assign(number_, static_cast<double>(before));
  if (settings_.smoothing().active()) settings_.smoothing().advance(epoch);
  objective.advance(before);
  task_.optimizer->advance(weights_.dtype());
  const Tensor indices = Tensor::from(batch.indices, {batch.size()});
  const Tensors in =
      objective.inputs(weights_, state_, {to(batch.images, device), to(batch.labels, device), to(indices, device)});
  const bool captures = this->captures();
  if (captures && (!captured_ || phase_ != objective.phase())) {
    captured_ = capture([this](const Tensors& inputs) { return operations(inputs); });
    phase_ = objective.phase();
  }
  const Tensors found = captures ? (*captured_)(in) : operations(in);
  launched_.push_back({before + 1, batch.size(), Fetch(found[0]), Fetch(found[1])});
}

std::vector<StepResult> TrainingStep::results(bool all) {
  std::vector<StepResult> out;
  for (; launched_.size() > (all ? 0 : 1); launched_.pop_front()) {
    const Launched& step = launched_.front();
    out.push_back({step.step, step.images, static_cast<int64_t>(step.correct.item()), step.loss.item()});
  }
  return out;
}

}  // namespace mollify::experiments
