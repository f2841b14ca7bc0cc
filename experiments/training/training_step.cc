#include <mollify/experiments/training/training_step.h>

namespace mollify::experiments {

TrainingStep::TrainingStep(const TrainSettings& settings, const Task& task, const Tensor& weights, const Tensor& state)
    : settings_(settings), task_(task), weights_(weights), state_(state), number_(zeros({}, DType::i32)) {
  const Setting setting{task.network, task.plain,       task.timetable,
                        task.loss,    weights.device(), static_cast<uint64_t>(settings.run().seed)};
  settings.objective().prepare(setting);
  if (settings.smoothing().active()) settings.smoothing().prepare(setting);
}

std::string TrainingStep::uncaptured() const {
  return settings_.run().capture ? settings_.objective().uncaptured() : "steps run as they are, without capture";
}

bool TrainingStep::captures() const { return settings_.run().capture && settings_.objective().can_be_captured(); }

// The loss's gradient, the update, and new statistics of batch norm. Returns the loss and the number of images
// classified rightly.
Tensors TrainingStep::operations(const Tensors& in) {
  Tensor outputs, new_state;
  const auto loss = [&](const Tensor& weights) {
    const Objective::Result result = settings_.smoothing().active()
                                         ? settings_.smoothing()(weights, state_, in)
                                         : settings_.objective()(weights, state_, in, number_);
    outputs = result.outputs;
    new_state = result.state;
    return result.loss;
  };
  const Tensor value = task_.optimizer->update(weights_, loss);
  if (!task_.network.statistics().empty()) assign(state_, new_state);
  return {cast(value, DType::f64), sum(cast(equal(argmax(outputs), in[1]), DType::f64))};
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
