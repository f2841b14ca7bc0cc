#include <mollify/experiments/train.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/info.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training/training_run.h>

#include <cstdio>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOut = "mollify train: --out";
constexpr const char* kRounds = "rounds.json";

// What a run shows: a line or two at its start, a bar within epochs, a line after each.
class Display {
 public:
  Display(const TrainSettings& settings, int64_t images) : run_(settings.run()), images_(images) {}

  RunEvents events() {
    return {.started = [](const std::string& lines) { print(lines); },
            .progress =
                [this](int64_t epoch, int64_t images, double loss) {
                  if (!progress_) progress_.emplace(title(epoch), images_, images);
                  progress_->update(images, loss);
                },
            .evaluating =
                [this](int64_t epoch) {
                  progress_.reset();
                  show_briefly(title(epoch) + "  evaluating");
                },
            .epoch =
                [this](const EpochMetrics& metrics, const EpochTimings& timings) {
                  show_briefly("");
                  print(line(metrics, timings));
                },
            .stop = interrupted};
  }
  void end() { progress_.reset(); }

 private:
  static void print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
  std::string title(int64_t epoch) const { return format("epoch {}/{}", epoch + 1, run_.epochs); }

  std::string line(const EpochMetrics& metrics, const EpochTimings& timings) const {
    const auto score = [](const char* name, const Score& s) {
      char text[80];
      std::snprintf(text, sizeof text, "  %s %.4f %6.2f %%", name, s.loss, 100 * s.accuracy);
      return std::string(text);
    };
    char text[80];
    std::string out = title(metrics.epoch - 1) + score("train", metrics.train);
    if (metrics.validation) out += score("validation", *metrics.validation);
    out += score("test", metrics.test);
    if (metrics.smoothed_test) out += score("smoothed test", *metrics.smoothed_test);
    if (metrics.noisy_test) out += score("noisy test", *metrics.noisy_test);
    if (metrics.ball.certified_accuracy) {
      std::snprintf(text, sizeof text, " certified %6.2f %%", 100 * *metrics.ball.certified_accuracy);
      out += text;
    }
    std::snprintf(text, sizeof text, "  %.1f s  %.0f images/s\n", timings.training_seconds, timings.images_per_second);
    return out + text;
  }

  const RunOptions& run_;
  const int64_t images_;
  std::optional<Progress> progress_;
};

void say_where(const fs::path& folder) {
  std::string files;
  for (const char* file : run_files())
    if (fs::exists(folder / file)) files += (files.empty() ? "" : ", ") + std::string(file);
  std::printf("saved in %s: %s\n", folder.c_str(), files.c_str());
}

// Of a process beside the first: it shows and writes nothing, and ends when the others do.
RunEvents silent_events() { return {.writes = false}; }

// What all processes of a run share: they end together, and their weights stay the same.
RunEvents shared_events(RunEvents events) {
  const Processes& processes = Processes::all();
  if (!processes.exchange()) return events;
  events.stop = [&processes] { return processes.any(interrupted()); };
  events.trained = [&processes](int64_t epoch, const Tensor& weights, const Tensor&, const Positions*) {
    const std::vector<float> values = weights.to_vector<float>();
    processes.require_same(format("mollify train: the weights after epoch {}", epoch + 1),
                           {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  };
  return events;
}

int tell_end(const RunOutcome& outcome, const RunOptions& run, int64_t batches) {
  const Position& at = outcome.position;
  const std::string where = format("epoch {}, batch {} of {}", at.epoch + 1, at.batch, batches);
  switch (outcome.end) {
    case RunOutcome::End::interrupted:
      std::fprintf(stderr, "mollify train: interrupted after %s; to go on: mollify train --resume --out %s\n",
                   where.c_str(), run.out.c_str());
      return 130;
    case RunOutcome::End::steps:
      std::printf(
          "stopped after step %lld (%s): loss of the last batch %.4f, mean of the epoch so far %.4f, %.0f images/s\n",
          static_cast<long long>(outcome.steps), where.c_str(), outcome.last_loss,
          at.loss_sum / static_cast<double>(at.images), static_cast<double>(at.images) / at.seconds);
      break;
    case RunOutcome::End::complete:
      if (outcome.out_of_patience)
        std::printf(
            "stopped early: the lowest validation loss is epoch %lld's, %.4f; its weights are "
            "best.safetensors\n",
            static_cast<long long>(at.best_epoch), *at.best_validation_loss);
  }
  say_where(run.out);
  return 0;
}

fs::path checkpoint_of(const fs::path& folder) { return folder / "checkpoint.safetensors"; }

// Makes the run's folder, or finds its checkpoint.
std::optional<Checkpoint> open_folder(const TrainCommand& command, const fs::path& folder) {
  const fs::path file = checkpoint_of(folder);
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

// Processes divide perturbed weights, and must come to the same bits.
void require_processes(const TrainSettings& settings) {
  const Processes& processes = Processes::all();
  const RunOptions& run = settings.run();
  require<UsageError>(!processes.exchange() || settings.estimator().divides_work(),
                      "mollify train: --gradient: {} given with {} processes; needs szo, pgpe or rgs, whose work "
                      "they divide",
                      run.gradient, processes.count());
  require<UsageError>(!processes.exchange() || run.device.device == "cpu",
                      "mollify train: --device: {} given with {} processes; needs cpu", run.device.device,
                      processes.count());
  processes.require_same("mollify train: the instructions that processors have", simd_target());
}

// The settings' run in their folder, from the checkpoint if there is one. The folder is locked by the caller, or not
// there yet.
struct Ended {
  int status;
  bool complete;
};
Ended run_in_folder(const TrainCommand& command, const TrainSettings& settings, const fs::path& folder,
                    const std::optional<Checkpoint>& checkpoint, std::optional<FolderLock>& lock) {
  const Processes& processes = Processes::all();
  const RunOptions& run = settings.run();
  use_threads(run.threads);
  catch_interrupts();
  require_processes(settings);
  Task task =
      make_task(settings, processes.exchange());  // reads the data: what is missing shows before the folder is made
  processes.wait();                               // all have read what there was
  if (processes.is_first()) {
    make_folder(kOut, folder);
    if (!lock) {  // another run may have made it in the meantime
      lock.emplace(kOut, folder);
      open_folder(command, folder);
    }
    std::error_code ignored;
    for (const char* file : run_files())
      if (!checkpoint) fs::remove(folder / file, ignored);
  }
  if (processes.is_first() && checkpoint && checkpoint->position.epoch >= run.epochs)
    std::printf("nothing is left to do: the run has its %lld epochs\n", static_cast<long long>(run.epochs));

  Display display(settings, task.train.size());
  const Timetable timetable = task.timetable;
  const RunOutcome outcome = train(settings, std::move(task), folder, checkpoint,
                                   shared_events(processes.is_first() ? display.events() : silent_events()));
  display.end();
  const bool complete = outcome.position.epoch >= run.epochs || outcome.out_of_patience;
  if (!processes.is_first()) return {outcome.end == RunOutcome::End::interrupted ? 130 : 0, complete};
  return {tell_end(outcome, run, timetable.steps(outcome.position.epoch)), complete};
}

// Runs in folders round-1, round-2, …, each after the last one's network. rounds.json keeps what was asked for.
int train_rounds(const TrainCommand& command, const TrainSettings& settings, const fs::path& folder) {
  const Processes& processes = Processes::all();
  std::optional<FolderLock> lock;
  if (processes.is_first()) {
    require<UsageError>(command.resume || command.overwrite || !fs::exists(folder / kRounds),
                        "mollify train: --out: {} holds a run; needs --resume, --overwrite or another folder",
                        folder.string());
    make_folder(kOut, folder);
    lock.emplace(kOut, folder);
    write_text(folder / kRounds, settings.to_json() + "\n");
  }
  processes.wait();
  std::string last;
  for (int64_t round = 1; round <= settings.objective().rounds(); ++round) {
    const fs::path own = folder / format("round-{}", round);
    TrainSettings of_round = TrainSettings::from_json((folder / kRounds).string(), settings.to_json());
    for (const auto& [name, text] : settings.objective().round_options(last))
      set(*find(of_round.options(), name), text);
    of_round.run().out = own.string();
    std::optional<FolderLock> own_lock;
    if (processes.is_first() && fs::exists(own)) own_lock.emplace(kOut, own);
    std::optional<Checkpoint> checkpoint;
    const bool goes_on = command.resume && fs::exists(checkpoint_of(own));
    if (goes_on) checkpoint = read_checkpoint(checkpoint_of(own));
    last = (own / "model.safetensors").string();
    if (processes.is_first())
      std::printf("round %lld of %lld\n", static_cast<long long>(round),
                  static_cast<long long>(settings.objective().rounds()));
    const TrainCommand of_own{command.given, goes_on, command.overwrite};
    const Ended ended = run_in_folder(of_own, of_round, own, checkpoint, own_lock);
    if (!ended.complete) return ended.status;
  }
  if (processes.is_first()) fs::copy_file(last, folder / "model.safetensors", fs::copy_options::overwrite_existing);
  return 0;
}

}  // namespace

int train_command(const TrainCommand& command) {
  const Processes& processes = Processes::all();
  require<UsageError>(!(command.resume && command.overwrite),
                      "mollify train: --resume and --overwrite given; needs one of them at most");
  const auto out = command.given.find("out");
  std::optional<TrainSettings> settings;
  if (!command.resume || out == command.given.end()) {
    settings.emplace(command.given);
    settings->resolve();
  }
  const fs::path folder = settings ? settings->run().out : out->second;
  if (command.resume && fs::exists(folder / kRounds)) {
    const std::string file = (folder / kRounds).string();
    settings.emplace(resumed(TrainSettings::from_json(file, read_text(file)), command, folder.string()));
    return train_rounds(command, *settings, folder);
  }
  if (settings && settings->objective().rounds() > 1) return train_rounds(command, *settings, folder);
  std::optional<FolderLock> lock;
  if (processes.is_first() && fs::exists(folder)) lock.emplace(kOut, folder);
  std::optional<Checkpoint> checkpoint;
  if (processes.is_first() || command.resume) checkpoint = open_folder(command, folder);
  if (checkpoint) {
    const std::string file = checkpoint_of(folder).string();
    settings.emplace(resumed(TrainSettings::from_json(file, checkpoint->options), command, folder.string()));
  }
  return run_in_folder(command, *settings, folder, checkpoint, lock).status;
}

}  // namespace mollify::experiments
