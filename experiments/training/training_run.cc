#include <mollify/experiments/training/training_run.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/gpu.h>
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/networks.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/noise_measure.h>
#include <mollify/experiments/training/training_step.h>
#include <mollify/nn/weights_file.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;

class Training {
 public:
  Training(const TrainSettings& settings, Task task, const fs::path& folder,
           const std::optional<Checkpoint>& checkpoint, const RunEvents& events);
  RunOutcome run();

 private:
  using End = RunOutcome::End;
  End train_epoch();
  End train_batches();
  void count(const std::vector<StepResult>& results);
  void count_all();
  bool evaluate_epoch();  // false: interrupted
  std::vector<std::pair<std::string, double>> term_means() const;
  std::optional<EpochMetrics::Course> course() const;
  void finish_epoch(const EpochMetrics& metrics, double evaluation_seconds);
  bool certifies() const { return *options_.epsilon_test > 0; }
  bool all_steps_done() const { return options_.steps > 0 && task_.optimizer->steps() >= options_.steps; }
  bool out_of_patience() const;
  bool stopped() const { return events_.stop && events_.stop(); }
  RunOutcome outcome(End end);
  void save();
  void save_now_and_then();
  void save_weights(const char* file) const;
  void require_finite(double number, const char* what, int64_t step) const;  // throws Diverged
  std::string about();
  std::string cost();
  std::string picture() const;

  const TrainSettings& settings_;
  const RunOptions& options_;
  const RunEvents& events_;
  const fs::path folder_;
  Task task_;
  const Device device_;
  Tensor weights_, state_;
  std::optional<TrainingStep> step_;
  Position position_;
  History history_;
  double last_loss_ = 0;
  Clock::time_point saved_ = Clock::now(), counted_ = Clock::now();  // up to when position_.seconds counts
};

Training::Training(const TrainSettings& settings, Task task, const fs::path& folder,
                   const std::optional<Checkpoint>& checkpoint, const RunEvents& events)
    : settings_(settings),
      options_(settings.run()),
      events_(events),
      folder_(folder),
      task_(std::move(task)),
      device_(task_.device) {
  if (checkpoint) {
    weights_ = to(checkpoint->weights, device_);
    state_ = to(checkpoint->state, device_);
    require<FormatError>(weights_.size() == task_.network.weight_count(), "{}: {} weights; the network {} has {}",
                         (folder_ / "checkpoint.safetensors").string(), weights_.size(), options_.model,
                         task_.network.weight_count());
    position_ = checkpoint->position;
    history_ = read_history(folder_, position_.epoch);
  } else {
    weights_ = to(task_.network.initial_weights(nn::initialization_named(options_.initialization),
                                                static_cast<uint64_t>(options_.seed)),
                  device_);
    state_ = to(task_.network.initial_state(), device_);
  }
  step_.emplace(settings_, task_, weights_, state_);
  if (const auto start = settings_.objective().start(); start && !checkpoint) {
    assign(weights_, to(start->weights, device_));
    assign(state_, to(start->state, device_));
  }
  if (checkpoint) step_->set_kept(moved(checkpoint->optimizer, device_));
}

void Training::require_finite(double number, const char* what, int64_t step) const {
  require<Diverged>(
      std::isfinite(number),
      "train: {} {} (epoch {}) is {}; try a lower --lr or --clip-norm with --overwrite; the checkpoint in {} "
      "stays as it was",
      what, step, position_.epoch + 1, number, options_.out);
}

void Training::count(const std::vector<StepResult>& results) {
  for (const StepResult& result : results) {
    require_finite(result.loss, "the loss of step", result.step);
    const int64_t pairs = task_.optimizer->source().evaluations().pairs;
    require<Diverged>(2 * result.left_out <= pairs,
                      "train: {} of the {} pairs of step {} (epoch {}) have losses that are not finite; try a lower "
                      "--lr or --probe-scale with --overwrite; the checkpoint in {} stays as it was",
                      result.left_out, pairs, result.step, position_.epoch + 1, options_.out);
    last_loss_ = result.loss;
    position_.left_out += result.left_out;
    position_.loss_sum += result.loss * static_cast<double>(result.images);
    position_.images += result.images;
    position_.correct += result.correct;
    position_.term_sums.resize(result.terms.size());
    for (size_t i = 0; i < result.terms.size(); ++i)
      position_.term_sums[i] += result.terms[i] * static_cast<double>(result.images);
  }
}

Training::End Training::train_batches() {
  datasets::Loader loader(task_.train, {.batch_size = task_.timetable.batch(position_.epoch),
                                        .seed = static_cast<uint64_t>(options_.seed),
                                        .preparation = task_.training});
  if (position_.batch == 0)
    step_->start_epoch(position_.epoch, [this](const Tensor& weights) {
      return evaluate(outputs_of(task_.network, weights, state_), device_, task_.validation, task_.plain, task_.loss)
          ->accuracy();
    });
  loader.start_epoch(position_.epoch, position_.batch);
  while (const auto batch = loader.next()) {
    step_->launch(*batch);
    ++position_.batch;
    count(step_->results(/*all=*/false));
    if (events_.progress) events_.progress(position_.epoch, position_.images, last_loss_);
    save_now_and_then();
    if (stopped()) return End::interrupted;
    if (all_steps_done()) return position_.batch == task_.timetable.steps(position_.epoch) ? End::complete : End::steps;
  }
  return End::complete;
}

Training::End Training::train_epoch() {
  counted_ = Clock::now();
  const End end = train_batches();
  count_all();
  return end;
}

// Results are fetched one step behind: a checkpoint has those of all its steps.
void Training::count_all() {
  count(step_->results(/*all=*/true));
  position_.seconds += seconds_since(counted_);
  counted_ = Clock::now();
}

void Training::save_now_and_then() {
  if (seconds_since(saved_) < 60 * options_.checkpoint_minutes) return;
  count_all();
  save();
}

bool Training::evaluate_epoch() {
  const auto start = Clock::now();
  const auto score = [&](const datasets::Dataset& dataset, const OutputsOf& outputs) -> std::optional<Score> {
    const auto result = evaluate(outputs, device_, dataset, task_.plain, task_.loss, 0, events_.stop);
    if (!result) return std::nullopt;
    require_finite(result->loss, "the evaluation's loss after step", task_.optimizer->steps());
    return Score{result->loss, result->accuracy()};
  };
  if (events_.evaluating) events_.evaluating(position_.epoch);
  std::optional<Score> validation;
  const Tensor weights = step_->evaluation_weights();
  const OutputsOf plain = outputs_of(task_.network, weights, state_);
  if (options_.validation > 0 && !(validation = score(task_.validation, plain))) return false;
  const std::optional<Score> test = score(task_.test, plain);
  if (!test) return false;
  std::optional<Score> smoothed;
  if (const OutputsOf outputs = settings_.objective().smoothed_outputs(weights, state_, position_.epoch))
    if (!(smoothed = score(task_.test, outputs))) return false;
  std::optional<Score> noisy;
  if (settings_.objective().noise()) {
    const auto outputs = [&](const Tensor& images, const Tensor& numbers) {
      return plain(settings_.objective().under_noise(images, numbers), numbers);
    };
    if (!(noisy = score(task_.test, outputs))) return false;
  }
  EpochMetrics::Ball ball;
  if (certifies()) {
    const auto share = certified_share(task_.network, weights, task_.test, task_.plain, *options_.epsilon_test,
                                       settings_.objective().certifying(), options_.certify_limit, events_.stop);
    if (!share) return false;
    ball.certified_accuracy = *share;
  }
  ball.epsilon = settings_.objective().radius(task_.optimizer->steps() - 1);
  std::optional<EpochMetrics::GradientNoise> noise;
  if (options_.noise_batches > 0 &&
      !(noise = gradient_noise(options_, task_, weights, state_, position_.epoch, events_.stop)))
    return false;
  const double images = static_cast<double>(position_.images);
  finish_epoch({.epoch = position_.epoch + 1,
                .steps = task_.optimizer->steps(),
                .train = {position_.loss_sum / images, static_cast<double>(position_.correct) / images},
                .validation = validation,
                .test = *test,
                .smoothed_test = smoothed,
                .learning_rate = task_.timetable.learning_rate(task_.optimizer->steps() - 1),
                .ball = ball,
                .noisy_test = noisy,
                .terms = term_means(),
                .course = course(),
                .gradient_noise = noise,
                .active_weights = settings_.mask().exists() ? std::optional(step_->active()) : std::nullopt,
                .pairs_left_out = task_.optimizer->source().evaluations().pairs > 0 ? std::optional(position_.left_out)
                                                                                    : std::nullopt},
               seconds_since(start));
  return true;
}

std::optional<EpochMetrics::Course> Training::course() const {
  if (!settings_.degree().exists()) return std::nullopt;
  const int64_t batch = task_.timetable.batch(position_.epoch);
  const double rate = task_.timetable.learning_rate(task_.optimizer->steps() - 1);
  return EpochMetrics::Course{batch, (position_.epoch + 1) * task_.train.size(),
                              optim::sgd_degree(rate, batch, /*deviation=*/1)};
}

std::vector<std::pair<std::string, double>> Training::term_means() const {
  const std::vector<std::string> names = settings_.objective().terms();
  std::vector<std::pair<std::string, double>> means;
  for (size_t i = 0; i < position_.term_sums.size(); ++i)
    means.emplace_back(names[i], position_.term_sums[i] / static_cast<double>(position_.images));
  return means;
}

void Training::finish_epoch(const EpochMetrics& metrics, double evaluation_seconds) {
  const double rate = static_cast<double>(position_.images) / position_.seconds;
  history_.metrics.push_back(metrics);
  history_.timings.push_back(
      {metrics.epoch, position_.seconds, evaluation_seconds, rate, memory_statistics(device_).peak_bytes});
  if (events_.epoch) events_.epoch(history_.metrics.back(), history_.timings.back());
  if (events_.trained) events_.trained(position_.epoch, step_->evaluation_weights(), state_, step_->mask());

  const bool best = metrics.validation &&
                    (!position_.best_validation_loss || metrics.validation->loss < *position_.best_validation_loss);
  position_ = {.epoch = position_.epoch + 1,
               .best_validation_loss = position_.best_validation_loss,
               .best_epoch = position_.best_epoch};
  if (best) {
    position_.best_validation_loss = metrics.validation->loss;
    position_.best_epoch = metrics.epoch;
    save_weights("best.safetensors");
  }
  if (events_.writes) {
    write_history(folder_, history_);
    write_text(folder_ / "curves.svg", picture());
  }
  save();
}

std::string Training::picture() const {
  std::string heading =
      format("{} on {}, {}, seed {}", options_.model, options_.data, options_.optimizer, options_.seed);
  if (!settings_.objective().radius(0)) return curves_svg(heading, history_.metrics);
  heading += format(": {}", settings_.objective().about());
  if (certifies()) heading += format(", certified at {}", *options_.epsilon_test);
  return curves_svg(heading, history_.metrics,
                    {format("train: {} loss, as the radius grows", options_.objective), "test: natural loss"});
}

bool Training::out_of_patience() const {
  return options_.patience > 0 && position_.batch == 0 && position_.epoch - position_.best_epoch >= options_.patience;
}

void Training::save_weights(const char* file) const {
  if (!events_.writes) return;
  std::map<std::string, std::string> about = metadata_of(task_.plain);
  about.insert({{"data", options_.data},
                {"loss", options_.loss},
                {"epoch", std::to_string(position_.epoch)},
                {"objective", settings_.objective().name()}});
  if (const auto radius = settings_.objective().radius(task_.optimizer->steps()))
    about["radius"] = format("{}", *radius);
  if (const auto noise = settings_.objective().noise()) about["noise"] = format("{}", *noise);
  about.merge(settings_.objective().metadata(std::max<int64_t>(0, position_.epoch - 1)));  // of the last epoch
  nn::save(folder_ / file, task_.network, to(step_->evaluation_weights(), Device::cpu), to(state_, Device::cpu), about);
}

// The last step may have spoilt weights whose loss nobody has seen yet: those never replace a good checkpoint.
void Training::save() {
  require_finite(sum(weights_).item(), "the weights' sum after step", task_.optimizer->steps());
  save_weights("model.safetensors");
  if (!events_.writes) return;
  write_checkpoint(folder_ / "checkpoint.safetensors",
                   {to(weights_, Device::cpu), to(state_, Device::cpu), moved(step_->kept(), Device::cpu), position_,
                    options_.model, options_.data, settings_.to_json()});
  saved_ = Clock::now();
}

// What is trained, on what, for what, and how it is certified.
std::string Training::about() {
  std::string text = format(
      "{} ({} weights) on {}: {} training, {} validation, {} test images; {}, learning rate {}, batch {}, {} threads; "
      "in {}\n",
      options_.model, task_.network.weight_count(), options_.data, task_.train.size(), task_.validation.size(),
      task_.test.size(), options_.optimizer, *options_.learning_rate, options_.batch, num_threads(), options_.out);
  std::string objective = settings_.objective().about();
  if (certifies()) {
    const int64_t images =
        options_.certify_limit > 0 ? std::min(options_.certify_limit, task_.test.size()) : task_.test.size();
    objective += (objective.empty() ? "" : "; ") +
                 format("certified: the share of {} test images that {} proves for radius {}", images,
                        nn::bounds::to_string(settings_.objective().certifying()), *options_.epsilon_test);
  }
  if (!objective.empty()) text += objective + "\n";
  for (const std::string& line : {cost(), settings_.mask().about(task_.network), settings_.degree().about()})
    if (!line.empty()) text += line + "\n";
  if (device_ == Device::cuda) text += format("on {}, {}\n", cuda::description(), options_.device.precision);
  if (const std::string steps = step_->uncaptured(); !steps.empty()) text += steps + "\n";
  return text;
}

// What estimated gradients cost, by the time that an evaluation of the first batch takes.
std::string Training::cost() {
  const std::string gradient = settings_.estimator().about();
  if (gradient.empty()) return "";
  const optim::Evaluations a_step = task_.optimizer->source().evaluations();
  std::string text = gradient + "; a step: ";
  if (a_step.values > 0) text += format("{} evaluations of the loss", a_step.values);
  if (a_step.values > 0 && a_step.gradients > 0) text += ", ";
  if (a_step.gradients > 0) text += format("{} gradients", a_step.gradients);
  datasets::Loader loader(task_.train, {.batch_size = task_.timetable.batch(0), .preparation = task_.plain});
  loader.start_epoch(0, 0);
  const datasets::Batch batch = *loader.next();
  step_->loss_of(batch);
  const auto start = Clock::now();
  step_->loss_of(batch);
  constexpr double kOfGradient = 3;  // evaluations: a gradient is about two more
  const double a_batch =
      seconds_since(start) * (static_cast<double>(a_step.values) + kOfGradient * static_cast<double>(a_step.gradients));
  const int64_t steps = task_.timetable.first_step(options_.epochs) - task_.optimizer->steps();
  return text +
         format("; {} steps, about {} minutes or less", steps, std::ceil(a_batch * static_cast<double>(steps) / 60));
}

RunOutcome Training::outcome(End end) {
  if (end != End::complete) save();
  return {end, step_->evaluation_weights(), state_, position_, task_.optimizer->steps(), out_of_patience(), last_loss_};
}

RunOutcome Training::run() {
  if (events_.started) events_.started(about());
  if (task_.optimizer->steps() == 0) save();  // so that a run that ends in its first epoch, however it does, can go on
  if (events_.writes) write_text(folder_ / "config.json", settings_.to_json() + "\n");
  while (position_.epoch < options_.epochs && !all_steps_done() && !out_of_patience()) {
    const End end = train_epoch();
    if (end != End::complete) return outcome(end);
    if (!evaluate_epoch()) return outcome(End::interrupted);
    if (stopped() && position_.epoch < options_.epochs) return outcome(End::interrupted);
  }
  return outcome(End::complete);
}

}  // namespace

const std::vector<const char*>& run_files() {
  static const std::vector<const char*> files = {"config.json",     "metrics.jsonl",          "timings.jsonl",
                                                 "curves.svg",      "checkpoint.safetensors", "model.safetensors",
                                                 "best.safetensors"};
  return files;
}

RunOutcome train(const TrainSettings& settings, Task task, const fs::path& folder,
                 const std::optional<Checkpoint>& checkpoint, const RunEvents& events) {
  return Training(settings, std::move(task), folder, checkpoint, events).run();
}

}  // namespace mollify::experiments
