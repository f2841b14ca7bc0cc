// `mollify attack`: how many images a gradient attack leaves classified rightly.
#pragma once

#include <mollify/experiments/robustness/classifier.h>

namespace mollify::experiments {

struct AttackCommand {
  ClassifierRequest request;
  std::string epsilon, norm = "linf", objective = "margin", out;
  int64_t steps = 40, restarts = 5, seed = 0, batch = 250, threads = 0;
  double step_size = 0;
  bool json = false;
  DeviceRequest device;
};
int attack_command(const AttackCommand& command);

Options options_of(AttackCommand& command);

}  // namespace mollify::experiments
