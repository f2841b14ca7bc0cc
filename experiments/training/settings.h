// What `mollify train` is asked to do: the run's own options, and those of the methods that it names.
#pragma once

#include <mollify/experiments/training/degree.h>
#include <mollify/experiments/training/estimators/estimator.h>
#include <mollify/experiments/training/mask.h>
#include <mollify/experiments/training/objectives/objective.h>

#include <map>
#include <memory>
#include <set>

namespace mollify::experiments {

struct RunOptions {
  std::string data = "digits", data_dir, model = "cnn", loss = "cross_entropy";
  // Set by resolve where not given, as the objective wants: what is empty, 0 epochs and batches.
  std::string initialization, optimizer, schedule, milestones;
  std::optional<double> learning_rate, momentum, weight_decay, clip_norm, step_factor, epsilon_test;
  bool nesterov = false;
  int64_t warmup = 0, step_every = 10, certify_limit = 0, noise_batches = 0;
  std::string objective = "natural", gradient = "exact";
  int64_t epochs = 0, batch = 0, rows = 0, steps = 0, seed = 0;
  double checkpoint_minutes = 2;
  int64_t image_size = 0, limit = 0, validation = 0, patience = 0;
  double input_noise = 0, label_noise = 0;
  std::string augment = "auto";
  DeviceRequest device;
  bool capture = true;
  int64_t threads = 0;
  std::string out;

  Options options();
};

bool is_schedule_free(const RunOptions& options);  // its optimizer evaluates other weights than it trains

// Epochs at whose end --schedule milestones falls; throws UsageError.
std::vector<int64_t> milestones(const RunOptions& options);

class TrainSettings {
 public:
  using Texts = std::map<std::string, std::string>;  // by the options' names, as on the command line

  // Defaults but for what is given, which follows the options' rules. Throws UsageError for an option of a method that
  // is not named.
  explicit TrainSettings(const Texts& given = {});

  RunOptions& run() { return *run_; }
  const RunOptions& run() const { return *run_; }
  Objective& objective() const { return *objective_; }
  Estimator& estimator() const { return *estimator_; }
  Mask& mask() const { return *mask_; }
  Degree& degree() const { return *degree_; }

  // Of the run and of the methods that it names; fields are these settings'.
  Options options() const;
  // Fills in what depends on other options and checks options against each other; throws UsageError.
  void resolve();

  std::string to_json() const;
  static TrainSettings from_json(const std::string& file, const std::string& text);  // throws FormatError naming it

 private:
  std::unique_ptr<RunOptions> run_;  // all on the heap: lists of options point into them
  std::unique_ptr<Objective> objective_;
  std::unique_ptr<Estimator> estimator_;
  std::unique_ptr<Mask> mask_;
  std::unique_ptr<Degree> degree_;
};

// The run's options and those of every method, each name once: for the command line. Fields are nobody's.
const Options& all_train_options();

// What `mollify train` was given.
struct TrainCommand {
  TrainSettings::Texts given;
  bool resume = false, overwrite = false;
};

// Settings of a run that goes on: the stored ones, with what may change taken from the command. Throws UsageError where
// the command contradicts the run.
TrainSettings resumed(TrainSettings stored, const TrainCommand& command, const std::string& folder);

}  // namespace mollify::experiments
