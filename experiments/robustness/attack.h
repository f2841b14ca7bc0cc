// `mollify attack`: how many images attacks leave classified rightly, and how far the others had to be moved.
#pragma once

#include <mollify/experiments/robustness/classifier.h>
#include <mollify/experiments/robustness/image_log.h>

namespace mollify::experiments {

struct AttackCommand {
  ClassifierRequest request;
  ImageLogRequest log;
  std::string attack = "pgd", epsilon, norm = "linf", objective, average = "probabilities";
  int64_t steps = 0, restarts = 0, targets = 0, queries = 0, levels = 0;  // 0: each attack's own
  int64_t top = 1, target = -1, draws = 20, seed = 0, batch = 250, threads = 0;
  std::optional<double> noise;
  double step_size = 0;
  bool json = false;
  DeviceRequest device;
};
int attack_command(const AttackCommand& command);

Options options_of(AttackCommand& command);

}  // namespace mollify::experiments
