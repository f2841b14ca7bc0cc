#include <mollify/experiments/train.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/device.h>
#include <mollify/experiments/checkpoint.h>
#include <mollify/experiments/curves.h>
#include <mollify/experiments/device.h>
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/metrics.h>
#include <mollify/experiments/objective.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training_step.h>
#include <mollify/nn/weights_file.h>

#include <cmath>
#include <cstdio>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFiles[] = {"config.json",     "metrics.jsonl",          "timings.jsonl",
                                  "curves.svg",      "checkpoint.safetensors", "model.safetensors",
                                  "best.safetensors"};

// Scalars stay: they are the host's.
std::map<std::string, Tensor> moved(std::map<std::string, Tensor> tensors, Device device) {
  for (auto& [name, tensor] : tensors)
    if (tensor.rank() > 0) tensor = to(tensor, device);
  return tensors;
}

class Training {
 public:
  Training(TrainOptions options, const std::optional<Checkpoint>& checkpoint);
  int run();

 private:
  enum class End { complete, interrupted, steps };
  End train_epoch();
  End train_batches();
  void count(const std::vector<StepResult>& results);
  void count_all();
  bool evaluate_epoch();  // false: interrupted
  void finish_epoch(const EpochMetrics& metrics, double evaluation_seconds);
  bool certifies() const { return *options_.epsilon_test > 0; }
  bool all_steps_done() const { return options_.steps > 0 && task_.optimizer->steps() >= options_.steps; }
  bool out_of_patience() const;
  void save();
  void save_now_and_then();
  void save_weights(const char* file) const;
  int stop_within_epoch(End end);
  void say_where() const;
  void require_finite(double number, const char* what, int64_t step) const;  // throws Diverged
  std::string objective_text() const;
  std::string picture() const;
  std::string title() const { return format("epoch {}/{}", position_.epoch + 1, options_.epochs); }

  const TrainOptions options_;
  const fs::path folder_;
  const Device device_;
  Task task_;
  Tensor weights_, state_;
  std::optional<TrainingStep> step_;
  Position position_;
  History history_;
  double last_loss_ = 0;
  Clock::time_point saved_ = Clock::now(), counted_ = Clock::now();  // up to when position_.seconds counts
};

Training::Training(TrainOptions options, const std::optional<Checkpoint>& checkpoint)
    : options_(std::move(options)),
      folder_(options_.out),
      device_(use_device("train", options_.device)),
      task_(make_task(options_)) {
  if (checkpoint) {
    weights_ = to(checkpoint->weights, device_);
    state_ = to(checkpoint->state, device_);
    require<FormatError>(weights_.size() == task_.network.weight_count(), "{}: {} weights; the network {} has {}",
                         (folder_ / "checkpoint.safetensors").string(), weights_.size(), options_.model,
                         task_.network.weight_count());
    task_.optimizer->set_state(moved(checkpoint->optimizer, device_));
    position_ = checkpoint->position;
    history_ = read_history(folder_, position_.epoch);
  } else {
    weights_ = to(task_.network.initial_weights(nn::initialization_named(options_.initialization),
                                                static_cast<uint64_t>(options_.seed)),
                  device_);
    state_ = to(task_.network.initial_state(), device_);
  }
  step_.emplace(options_, task_, weights_, state_);
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
    last_loss_ = result.loss;
    position_.loss_sum += result.loss * static_cast<double>(result.images);
    position_.images += result.images;
    position_.correct += result.correct;
  }
}

Training::End Training::train_batches() {
  datasets::Loader loader(
      task_.train,
      {.batch_size = options_.batch, .seed = static_cast<uint64_t>(options_.seed), .preparation = task_.training});
  loader.start_epoch(position_.epoch, position_.batch);
  Progress progress(title(), task_.train.size(), position_.images);
  while (const auto batch = loader.next()) {
    step_->launch(*batch, position_.epoch);
    ++position_.batch;
    count(step_->results(/*all=*/false));
    progress.update(position_.images, last_loss_);
    save_now_and_then();
    if (interrupted()) return End::interrupted;
    if (all_steps_done()) return position_.batch == task_.batches ? End::complete : End::steps;
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
    const auto result = evaluate(outputs, device_, dataset, task_.plain, task_.loss, kEvaluationBatch, interrupted);
    if (!result) return std::nullopt;
    require_finite(result->loss, "the evaluation's loss after step", task_.optimizer->steps());
    return Score{result->loss, result->accuracy()};
  };
  show_briefly(title() + "  evaluating");
  std::optional<Score> validation;
  const OutputsOf plain = outputs_of(task_.network, weights_, state_);
  if (options_.validation > 0 && !(validation = score(task_.validation, plain))) return false;
  const std::optional<Score> test = score(task_.test, plain);
  if (!test) return false;
  std::optional<Score> smoothed;
  if (options_.sigma > 0 && !(smoothed = score(task_.test, smoothed_outputs_of(task_.network, weights_, state_,
                                                                               sigma_of(options_, position_.epoch)))))
    return false;
  EpochMetrics::Ball ball;
  if (certifies()) {
    const auto share = certified_share(task_.network, weights_, task_.test, task_.plain, *options_.epsilon_test,
                                       certifying_method(options_.objective), options_.certify_limit, interrupted);
    if (!share) return false;
    ball.certified_accuracy = *share;
  }
  if (step_->objective()) ball.epsilon = step_->objective()->epsilon(task_.optimizer->steps() - 1);
  const double images = static_cast<double>(position_.images);
  finish_epoch({.epoch = position_.epoch + 1,
                .steps = task_.optimizer->steps(),
                .train = {position_.loss_sum / images, static_cast<double>(position_.correct) / images},
                .validation = validation,
                .test = *test,
                .smoothed_test = smoothed,
                .learning_rate = task_.learning_rate(task_.optimizer->steps() - 1),
                .ball = ball},
               seconds_since(start));
  return true;
}

void Training::finish_epoch(const EpochMetrics& metrics, double evaluation_seconds) {
  const double rate = static_cast<double>(position_.images) / position_.seconds;
  history_.metrics.push_back(metrics);
  history_.timings.push_back(
      {metrics.epoch, position_.seconds, evaluation_seconds, rate, memory_statistics(device_).peak_bytes});
  std::string held_out, certain;
  char text[64];
  if (metrics.validation) {
    std::snprintf(text, sizeof text, "  validation %.4f %6.2f %%", metrics.validation->loss,
                  100 * metrics.validation->accuracy);
    held_out = text;
  }
  if (metrics.ball.certified_accuracy) {
    std::snprintf(text, sizeof text, " certified %6.2f %%", 100 * *metrics.ball.certified_accuracy);
    certain = text;
  }
  if (metrics.smoothed_test) {
    std::snprintf(text, sizeof text, "  smoothed test %.4f %6.2f %%", metrics.smoothed_test->loss,
                  100 * metrics.smoothed_test->accuracy);
    certain = text + certain;
  }
  show_briefly("");
  std::printf("%s  train %.4f %6.2f %%%s  test %.4f %6.2f %%%s  %.1f s  %.0f images/s\n", title().c_str(),
              metrics.train.loss, 100 * metrics.train.accuracy, held_out.c_str(), metrics.test.loss,
              100 * metrics.test.accuracy, certain.c_str(), position_.seconds, rate);
  std::fflush(stdout);

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
  write_history(folder_, history_);
  write_text(folder_ / "curves.svg", picture());
  save();
}

std::string Training::picture() const {
  std::string heading =
      format("{} on {}, {}, seed {}", options_.model, options_.data, options_.optimizer, options_.seed);
  if (!step_->objective()) return curves_svg(heading, history_.metrics);
  heading += format(": {} at radius {}", options_.objective, options_.epsilon);
  if (certifies()) heading += format(", certified at {}", *options_.epsilon_test);
  return curves_svg(heading, history_.metrics,
                    {format("train: {} loss, as the radius grows", options_.objective), "test: natural loss"});
}

bool Training::out_of_patience() const {
  return options_.patience > 0 && position_.batch == 0 && position_.epoch - position_.best_epoch >= options_.patience;
}

void Training::save_weights(const char* file) const {
  std::map<std::string, std::string> about{
      {"data", options_.data}, {"loss", options_.loss}, {"epoch", std::to_string(position_.epoch)}};
  if (options_.sigma > 0)
    about["sigma"] = format("{}", sigma_of(options_, std::max<int64_t>(0, position_.epoch - 1)));  // of the last epoch
  nn::save(folder_ / file, task_.network, to(weights_, Device::cpu), to(state_, Device::cpu), about);
}

// The last step may have spoilt weights whose loss nobody has seen yet: those never replace a good checkpoint.
void Training::save() {
  require_finite(sum(weights_).item(), "the weights' sum after step", task_.optimizer->steps());
  save_weights("model.safetensors");
  write_checkpoint(folder_ / "checkpoint.safetensors",
                   {to(weights_, Device::cpu), to(state_, Device::cpu), moved(task_.optimizer->state(), Device::cpu),
                    position_, options_.model, options_.data, to_json(options_)});
  saved_ = Clock::now();
}

int Training::stop_within_epoch(End end) {
  save();
  const std::string where = format("epoch {}, batch {} of {}", position_.epoch + 1, position_.batch, task_.batches);
  if (end == End::interrupted) {
    std::fprintf(stderr, "mollify train: interrupted after %s; to go on: mollify train --resume --out %s\n",
                 where.c_str(), options_.out.c_str());
    return 130;
  }
  std::printf(
      "stopped after step %lld (%s): loss of the last batch %.4f, mean of the epoch so far %.4f, %.0f images/s\n",
      static_cast<long long>(task_.optimizer->steps()), where.c_str(), last_loss_,
      position_.loss_sum / static_cast<double>(position_.images),
      static_cast<double>(position_.images) / position_.seconds);
  say_where();
  return 0;
}

void Training::say_where() const {
  std::string files;
  for (const char* file : kFiles)
    if (fs::exists(folder_ / file)) files += (files.empty() ? "" : ", ") + std::string(file);
  std::printf("saved in %s: %s\n", options_.out.c_str(), files.c_str());
}

// What is trained for and how it is certified, where that is not the natural loss alone: a line, or nothing.
std::string Training::objective_text() const {
  std::string text;
  if (step_->objective()) {
    text = format("objective {}, radius {}", options_.objective, options_.epsilon);
    text += format(" after epoch {}", options_.epsilon_start + options_.epsilon_epochs);
  }
  if (!certifies()) return text.empty() ? "" : text + "\n";
  const int64_t images =
      options_.certify_limit > 0 ? std::min(options_.certify_limit, task_.test.size()) : task_.test.size();
  return text + (text.empty() ? "" : "; ") +
         format("certified: the share of {} test images that {} proves for radius {}\n", images,
                nn::bounds::to_string(certifying_method(options_.objective)), *options_.epsilon_test);
}

int Training::run() {
  std::puts(format("{} ({} weights) on {}: {} training, {} validation, {} test images; {}, learning rate {}, batch {}, "
                   "{} threads; in {}",
                   options_.model, task_.network.weight_count(), options_.data, task_.train.size(),
                   task_.validation.size(), task_.test.size(), options_.optimizer, *options_.learning_rate,
                   options_.batch, num_threads(), options_.out)
                .c_str());
  std::printf("%s", objective_text().c_str());
  if (device_ == Device::cuda) std::puts(format("on {}, {}", cuda::description(), options_.device.precision).c_str());
  if (const std::string text = step_->uncaptured(); !text.empty()) std::puts(text.c_str());
  if (position_.epoch >= options_.epochs)
    std::printf("nothing is left to do: the run has its %lld epochs\n", static_cast<long long>(options_.epochs));
  std::fflush(stdout);
  if (task_.optimizer->steps() == 0) save();  // so that a run that ends in its first epoch, however it does, can go on
  write_text(folder_ / "config.json", to_json(options_) + "\n");
  while (position_.epoch < options_.epochs && !all_steps_done() && !out_of_patience()) {
    const End end = train_epoch();
    if (end != End::complete) return stop_within_epoch(end);
    if (!evaluate_epoch()) return stop_within_epoch(End::interrupted);
    if (interrupted() && position_.epoch < options_.epochs) return stop_within_epoch(End::interrupted);
  }
  if (out_of_patience())
    std::printf("stopped early: the lowest validation loss is epoch %lld's, %.4f; its weights are best.safetensors\n",
                static_cast<long long>(position_.best_epoch), *position_.best_validation_loss);
  say_where();
  return 0;
}

// Makes the run's folder, or finds its checkpoint.
std::optional<Checkpoint> open_folder(const TrainCommand& command, const fs::path& folder) {
  const fs::path file = folder / "checkpoint.safetensors";
  if (command.resume) {
    require<UsageError>(fs::exists(file),
                        "mollify train: --resume: {} does not exist; needs a run that wrote a checkpoint",
                        file.string());
    return read_checkpoint(file);
  }
  require<UsageError>(command.overwrite || !fs::exists(folder / "config.json"),
                      "mollify train: --out: {} holds a run; needs --resume, --overwrite or another folder",
                      folder.string());
  return std::nullopt;
}

}  // namespace

int train_command(const TrainCommand& command) {
  require<UsageError>(!(command.resume && command.overwrite),
                      "mollify train: --resume and --overwrite given; needs one of them at most");
  TrainCommand resolved = command;
  resolve(resolved.options);
  const fs::path folder = resolved.options.out;
  const char* const option = "mollify train: --out";
  std::optional<FolderLock> lock;
  if (fs::exists(folder)) lock.emplace(option, folder);
  const std::optional<Checkpoint> checkpoint = open_folder(resolved, folder);
  TrainOptions options = resolved.options;
  if (checkpoint)
    options = resumed(options_from_json((folder / "checkpoint.safetensors").string(), checkpoint->options), resolved);
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  catch_interrupts();
  Training training(options, checkpoint);  // reads the data: what is missing shows before the folder is made
  make_folder(option, folder);
  if (!lock) {  // another process may have made it in the meantime
    lock.emplace(option, folder);
    open_folder(resolved, folder);
  }
  std::error_code ignored;
  for (const char* file : kFiles)
    if (!checkpoint) fs::remove(folder / file, ignored);
  return training.run();
}

}  // namespace mollify::experiments
