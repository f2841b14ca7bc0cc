// `mollify certify`: how many images of a test set no perturbation of a radius can make wrong.
#pragma once

#include <mollify/experiments/robustness/classifier.h>

namespace mollify::experiments {

struct CertifyCommand {
  ClassifierRequest request;
  std::string epsilon, method = "complete", out;
  bool fast = false, json = false;
  int64_t alpha_steps = 20, attack_steps = 40, attack_restarts = 5, seed = 0, batch = 250, threads = 0;
  double timeout_per_image = 10;
  DeviceRequest device;
};
int certify_command(const CertifyCommand& command);

Options options_of(CertifyCommand& command);

}  // namespace mollify::experiments
