// `mollify certify`: how many images of a test set no perturbation of a radius can make wrong, by bounds or by votes.
#pragma once

#include <mollify/experiments/robustness/classifier.h>
#include <mollify/experiments/robustness/image_log.h>
#include <mollify/experiments/robustness/noise_request.h>

namespace mollify::experiments {

// What --method smoothing is told.
struct VoteRequest : NoiseRequest {
  VoteRequest() { trials = 10000; }
  int64_t selections = 100, top = 1;
  double radius = 0;
  std::string claim = "class";
  bool clean_class = false;
};

struct CertifyCommand {
  ClassifierRequest request;
  ImageLogRequest log;
  std::string epsilon, method = "complete";
  bool fast = false, json = false;
  int64_t alpha_steps = 20, attack_steps = 40, attack_restarts = 5, seed = 0, batch = 250, threads = 0;
  double timeout_per_image = 10;
  VoteRequest votes;
  DeviceRequest device;
};
int certify_command(const CertifyCommand& command);

Options options_of(CertifyCommand& command);

}  // namespace mollify::experiments
