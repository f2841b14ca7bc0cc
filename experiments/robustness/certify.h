// `mollify certify`: how many images of a test set no perturbation of a radius can make wrong, by bounds or by votes.
#pragma once

#include <mollify/experiments/robustness/classifier.h>

namespace mollify::experiments {

// What --method smoothing is told.
struct VoteRequest {
  std::optional<double> noise;
  int64_t selections = 100, trials = 10000, top = 1;
  double alpha = 0.001, radius = 0;
  std::string claim = "class";
  bool clean_class = false;
};

struct CertifyCommand {
  ClassifierRequest request;
  std::string epsilon, method = "complete", out;
  bool fast = false, json = false;
  int64_t skip = 1, alpha_steps = 20, attack_steps = 40, attack_restarts = 5, seed = 0, batch = 250, threads = 0;
  double timeout_per_image = 10;
  VoteRequest votes;
  DeviceRequest device;
};
int certify_command(const CertifyCommand& command);

// Says where it was interrupted; the exit status.
int interrupted_certify(const CertifyCommand& command, int64_t done, int64_t images);

Options options_of(CertifyCommand& command);

}  // namespace mollify::experiments
