#include <mollify/experiments/training/degree.h>

#include <mollify/experiments/training/settings.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mollify::experiments {

Options Degree::options() {
  return {
      {{"degree", "Optimizer",
        "course of the smoothing by SGD's noise, rate over the batch's root, epoch by epoch: constant, falling in "
        "steps, as a power of what is left of the run, along a cosine, or by a factor each epoch",
        "none"},
       &course_,
       one_of({"constant", "step", "polynomial", "cosine", "exponential"})},
      {{"batch-share", "Optimizer",
        "how much of the smoothing's fall is the batch's growth: 0 none, the rate falls; 1 all of it; 0.585 both, as "
        "published",
        nullptr},
       &batch_share_,
       share()},
      {{"batch-max", "Optimizer", "largest batch; beyond it the rate alone falls", "the training images"},
       &largest_batch_,
       at_least(1)},
      {{"degree-factor", "Optimizer", "what the smoothing falls by", "0.7071 in steps, 0.9 by exponential"},
       &factor_,
       Rule{.low = 0, .high = 1, .above_low = true}},
      {{"degree-every", "Optimizer", "epochs between its steps", "a fifth of the epochs"}, &every_, at_least(1)},
      {{"degree-power", "Optimizer", "power of polynomial", nullptr}, &power_, above(0)}};
}

void Degree::resolve(RunOptions& run) {
  for (const auto& [option, given] : {std::pair{"batch-share", batch_share_ > 0},
                                      {"batch-max", largest_batch_ > 0},
                                      {"degree-factor", factor_.has_value()},
                                      {"degree-every", every_ > 0}})
    require<UsageError>(exists() || !given, "mollify train: --{}: given without --degree; needs a course", option);
  if (!exists()) return;
  require<UsageError>(run.schedule.empty(),
                      "mollify train: --degree: {} given with --schedule {}; needs one of them at most", course_,
                      run.schedule);
  require<UsageError>(run.warmup == 0, "mollify train: --degree: {} given with --warmup {}; needs none", course_,
                      run.warmup);
  require<UsageError>(run.optimizer.empty() || run.optimizer == "sgd",
                      "mollify train: --degree: {} given with --optimizer {}; needs sgd, whose noise it is about",
                      course_, run.optimizer);
  run.optimizer = "sgd";
  run.schedule = "constant";
  if (!run.momentum) run.momentum = 0;
  if (!run.weight_decay) run.weight_decay = 0;
}

std::vector<optim::GraduatedRound> Degree::epochs(const RunOptions& run, int64_t images) const {
  require<UsageError>(largest_batch_ <= images && run.batch <= images,
                      "mollify train: --{}: {} given; needs at most the {} training images",
                      run.batch <= images ? "batch-max" : "batch", std::max(largest_batch_, run.batch), images);
  const double factor = factor_.value_or(course_ == "exponential" ? 0.9 : std::numbers::sqrt2 / 2);
  const int64_t every = every_ > 0 ? every_ : std::max<int64_t>(1, run.epochs / 5);
  const optim::Schedule course = course_ == "step"          ? optim::step_decay(1, factor, every)
                                 : course_ == "polynomial"  ? optim::polynomial(1, run.epochs, power_)
                                 : course_ == "cosine"      ? optim::cosine(1, run.epochs)
                                 : course_ == "exponential" ? optim::step_decay(1, factor, 1)
                                                            : optim::constant(1);
  const optim::ImplicitGraduation how{.learning_rate = *run.learning_rate,
                                      .batch = run.batch,
                                      .batch_share = batch_share_,
                                      .largest_batch = largest_batch_ > 0 ? largest_batch_ : images};
  std::vector<optim::GraduatedRound> rounds;
  for (int64_t epoch = 0; epoch < run.epochs; ++epoch) rounds.push_back(graduated_round(course, epoch, how));
  return rounds;
}

std::string Degree::about() const {
  if (!exists()) return "";
  return format("SGD's smoothing follows the course {}, {} of its fall by larger batches", course_, batch_share_);
}

}  // namespace mollify::experiments
