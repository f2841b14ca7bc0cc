#include <mollify/experiments/training_step.h>

#include <cmath>

namespace mollify::experiments {
namespace {

std::optional<smoothing::SmoothedNetwork> smoothed_network(const TrainOptions& options, const nn::Network& network) {
  if (options.sigma == 0) return std::nullopt;
  require<UsageError>(
      network.statistics().empty(),
      "mollify train: --sigma: {} given with {}, whose batch norm cannot be smoothed while its statistics move; "
      "needs a model without",
      options.sigma, options.model);
  const auto form = options.penalty_form == "split" ? smoothing::Form::split : smoothing::Form::joint;
  return smooth(network, smoothing::Sigma::paper(options.sigma),
                smoothing::PenaltyWeights::uniform(options.penalty, form));
}

}  // namespace

double sigma_of(const TrainOptions& options, int64_t epoch) {
  return options.sigma * std::pow(options.sigma_decay, static_cast<double>(epoch));
}

TrainingStep::TrainingStep(const TrainOptions& options, const Task& task, const Tensor& weights, const Tensor& state)
    : options_(options),
      task_(task),
      weights_(weights),
      state_(state),
      number_(zeros({}, DType::i32)),
      deviation_(zeros({}, weights.dtype())),
      smoothed_(smoothed_network(options, task.network)) {
  if (smoothed_) sigma_ = smoothing::Sigma::stddev(deviation_);
  if (options.objective != "natural")
    objective_.emplace(options, task.network, task.plain, task.batches, task.loss, weights.device());
}

std::string TrainingStep::uncaptured() const {
  if (!options_.capture) return "steps run as they are, without capture";
  if (objective_ && objective_->finds_stable_neurons())
    return "steps of bounds run as they are, without capture: less work than for all neurons";
  return Objective::attacks(options_.objective) ? "attacks run as they are, without capture" : "";
}

bool TrainingStep::captures() const {
  return options_.capture && !(objective_ && objective_->phase().walked && objective_->finds_stable_neurons());
}

// The loss's gradient, the update, and new statistics of batch norm. Returns the loss and the number of images
// classified rightly.
Tensors TrainingStep::operations(const Tensors& in) {
  const Tensor &images = in[0], &labels = in[1];
  Tensor outputs, new_state;
  const auto loss = [&](const Tensor& weights) {
    if (smoothed_) {
      const auto result = (*smoothed_)(weights, state_, images, *sigma_);
      outputs = result.output.detach();
      return smoothed_squared_error(result, labels);
    }
    if (objective_) {
      const Objective::Result result = (*objective_)(weights, state_, in);
      outputs = result.outputs;
      new_state = result.state;
      return result.loss;
    }
    const RandomKey key{.seed = static_cast<uint64_t>(options_.seed)};
    const nn::Network::Result result = task_.network(weights, state_, images, nn::Mode::train, key, number_);
    outputs = result.output.detach();
    new_state = result.state.detach();
    return task_.loss(result.output, labels);
  };
  const Tensor value = task_.optimizer->update(weights_, loss);
  if (!task_.network.statistics().empty()) assign(state_, new_state);
  return {cast(value, DType::f64), sum(cast(equal(argmax(outputs), labels), DType::f64))};
}

void TrainingStep::launch(const datasets::Batch& batch, int64_t epoch) {
  const int64_t before = task_.optimizer->steps();
  const Device device = weights_.device();
  assign(number_, Tensor::scalar(static_cast<double>(before), DType::i32));
  if (sigma_) {
    assign(deviation_, Tensor::scalar(smoothing::Sigma::paper(sigma_of(options_, epoch)).stddev(), deviation_.dtype()));
  }
  if (objective_) objective_->advance(before);
  task_.optimizer->advance(weights_.dtype());
  Tensors in = {to(batch.images, device), to(batch.labels, device)};
  if (objective_) in = objective_->inputs(weights_, state_, in[0], in[1]);
  const bool captures = this->captures();
  if (captures && (!captured_ || (objective_ && !(phase_ == objective_->phase())))) {
    captured_ = capture([this](const Tensors& inputs) { return operations(inputs); });
    if (objective_) phase_ = objective_->phase();
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
