#include <mollify/experiments/training/training_step.h>

#include <mollify/experiments/training/accumulate.h>

namespace mollify::experiments {

TrainingStep::TrainingStep(const TrainSettings& settings, const Task& task, const Tensor& weights, const Tensor& state)
    : settings_(settings),
      task_(task),
      weights_(weights),
      state_(state),
      number_(zeros({}, DType::i32)),
      trained_(weights) {
  const Setting setting{task.network, task.plain,       task.timetable,
                        task.loss,    weights.device(), static_cast<uint64_t>(settings.run().seed)};
  require<UsageError>(settings.run().rows == 0 || task.network.statistics().empty(),
                      "mollify train: --rows: {} given with {}, whose batch norm has statistics of the whole batch; "
                      "needs a model without",
                      settings.run().rows, task.network.name());
  require<UsageError>(!is_schedule_free(settings.run()) || task.network.statistics().empty(),
                      "mollify train: --optimizer: {} given with {}, whose batch norm would have statistics of other "
                      "weights than are evaluated; needs a model without",
                      settings.run().optimizer, task.network.name());
  settings.objective().prepare(setting);
  if (!settings.mask().exists()) return;
  settings.mask().active(task.network, settings.run().epochs);  // throws where none would be left
  set_active(settings.mask().first(task.network, weights.device()));
  if (settings.mask().rewinds()) round_start_ = weights_ + 0.0;
}

void TrainingStep::set_active(Positions active) {
  active_.emplace(std::move(active));
  trained_ = take(weights_, active_->indices());
  captured_.reset();
}

Tensor TrainingStep::evaluation_weights() const {
  const Tensor weights = task_.optimizer->evaluation_weights(trained_);
  return active_ ? put(weights_, *active_, weights) : weights;
}

std::map<std::string, Tensor> TrainingStep::kept() const {
  std::map<std::string, Tensor> kept = task_.optimizer->state();
  if (active_) kept["mask.active"] = active_->indices();
  if (round_start_.defined()) kept["mask.round_start"] = round_start_;
  return kept;
}

void TrainingStep::set_kept(const std::map<std::string, Tensor>& kept) {
  task_.optimizer->set_state(kept);
  if (!active_) return;
  const auto part = [&](const char* name) {
    const auto found = kept.find(name);
    require<ValueError>(found != kept.end(), "training: the checkpoint has no '{}'; needs one for --mask", name);
    return found->second;
  };
  const std::vector<int32_t> places = to(part("mask.active"), Device::cpu).to_vector<int32_t>();
  set_active(Positions({places.begin(), places.end()}, weights_.size(), weights_.device()));
  if (settings_.mask().rewinds()) round_start_ = to(part("mask.round_start"), weights_.device());
}

void TrainingStep::start_epoch(int64_t epoch, const Mask::Accuracy& held_out_accuracy) {
  const Mask& mask = settings_.mask();
  if (!mask.shrinks_at(epoch)) return;
  const Positions before = *active_;
  Positions next = mask.next(before, weights_, epoch, static_cast<uint64_t>(settings_.run().seed), held_out_accuracy);
  std::map<std::string, Tensor> state = task_.optimizer->state();
  for (auto& [name, values] : state)
    if (values.shape() == Shape{before.count()}) values = optim::moved_values(values, before, next);
  // What is masked from now on is 0, what it was when the round began, or what it is.
  const Tensor kept = take(weights_, next.indices());
  if (mask.prunes()) assign(weights_, put(zeros_like(weights_), next, kept));
  if (mask.rewinds()) assign(weights_, put(round_start_, next, kept));
  set_active(std::move(next));
  task_.optimizer->set_state(state);
  if (mask.rewinds()) assign(round_start_, weights_);
}

double TrainingStep::loss_of(const datasets::Batch& batch) {
  const NoGrad quiet;
  settings_.objective().advance(task_.optimizer->steps());
  return loss(weights_, inputs(batch), number_).loss.item();
}

std::string TrainingStep::uncaptured() const {
  return settings_.run().capture ? settings_.objective().uncaptured() : "steps run as they are, without capture";
}

bool TrainingStep::captures() const { return settings_.run().capture && settings_.objective().can_be_captured(); }

Objective::Result TrainingStep::loss(const Tensor& weights, const Tensors& in, const Tensor& number) const {
  return settings_.objective()(weights, state_, in, number);
}

// The loss's gradient, the update, and new statistics of batch norm, which are those of the evaluation at the weights
// themselves. Returns the loss, the number of images classified rightly, the objective's terms, and the number of pairs
// that were left out.
Tensors TrainingStep::operations(const Tensors& in) {
  const int64_t images = in[0].dim(0), rows = settings_.run().rows > 0 ? settings_.run().rows : images;
  const int64_t parts = (images + rows - 1) / rows;
  std::vector<Tensor> outputs;
  Tensor new_state;
  std::vector<Tensor> terms;
  // Random numbers of a part are its own.
  const auto of_part = [&](const Tensor& weights, const Tensors& part, int64_t number) {
    const Objective::Result result = loss(weights, part, parts == 1 ? number_ : number_ * parts + number);
    if (static_cast<int64_t>(outputs.size()) < parts) {  // the first evaluation
      outputs.push_back(result.outputs);
      new_state = result.state;
      const double share = static_cast<double>(part[0].dim(0)) / static_cast<double>(images);
      for (size_t i = 0; i < result.terms.size(); ++i) {
        const Tensor term = cast(result.terms[i], DType::f64) * share;
        if (i < terms.size())
          terms[i] = terms[i] + term;
        else
          terms.push_back(term);
      }
    }
    return result.loss;
  };
  const Tensor value = task_.optimizer->update(trained_, [&](const Tensor& trained) {
    const Tensor weights = active_ ? put(weights_, *active_, trained) : trained;
    return parts == 1 ? of_part(weights, in, 0) : mean_over_parts(weights, in, rows, of_part);
  });
  if (active_) assign(weights_, put(weights_, *active_, trained_));
  if (!task_.network.statistics().empty()) assign(state_, new_state);
  const Tensor all = parts == 1 ? outputs[0] : concat(std::span<const Tensor>(outputs), 0);
  const Tensor loss = cast(value, DType::f64), correct = sum(cast(equal(argmax(all), in[1]), DType::f64));
  const Tensor left_out = task_.optimizer->source().left_out();
  std::vector<Tensor> found{loss, correct};
  found.insert(found.end(), terms.begin(), terms.end());
  if (left_out.defined()) found.push_back(left_out + 0.0);
  return std::span<const Tensor>(found);
}

// Of the step under way.
Tensors TrainingStep::inputs(const datasets::Batch& batch) {
  const Device device = weights_.device();
  const Tensor indices = Tensor::from(batch.indices, {batch.size()});
  return settings_.objective().inputs(weights_, state_,
                                      {to(batch.images, device), to(batch.labels, device), to(indices, device)});
}

void TrainingStep::launch(const datasets::Batch& batch) {
  const int64_t before = task_.optimizer->steps();
  Objective& objective = settings_.objective();
  assign(number_, static_cast<double>(before));
  objective.advance(before);
  task_.optimizer->advance(weights_.dtype());
  const Tensors in = inputs(batch);
  const bool captures = this->captures();
  if (captures && (!captured_ || phase_ != objective.phase())) {
    captured_ = capture([this](const Tensors& batch_inputs) { return operations(batch_inputs); });
    phase_ = objective.phase();
  }
  const Tensors found = captures ? (*captured_)(in) : operations(in);
  Launched launched{before + 1, batch.size(), Fetch(found[0]), Fetch(found[1]), {}, {}};
  const size_t terms_end = found.size() - (task_.optimizer->source().left_out().defined() ? 1 : 0);
  for (size_t i = 2; i < terms_end; ++i) launched.terms.emplace_back(found[i]);
  if (terms_end < found.size()) launched.left_out.emplace(found[terms_end]);
  launched_.push_back(std::move(launched));
}

std::vector<StepResult> TrainingStep::results(bool all) {
  std::vector<StepResult> out;
  for (; launched_.size() > (all ? 0 : 1); launched_.pop_front()) {
    const Launched& step = launched_.front();
    out.push_back({step.step, step.images, static_cast<int64_t>(step.correct.item()), step.loss.item(),
                   step.left_out ? static_cast<int64_t>(step.left_out->item()) : 0});
    for (const Fetch& term : step.terms) out.back().terms.push_back(term.item());
  }
  return out;
}

}  // namespace mollify::experiments
