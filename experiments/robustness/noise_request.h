// Votes under Gaussian noise, as the commands that draw them are told of them.
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct NoiseRequest {
  std::optional<double> noise;
  int64_t trials = 1000;
  double alpha = 0.001;
};
Options noise_options(NoiseRequest& request);

// Throws UsageError where --method needs the noise and there is none.
void require_noise(const NoiseRequest& request, const std::string& method);

// "votes of 1000 draws with noise 0.25 of pixels from 0 to 1, alpha 0.001"
std::string text_of(const NoiseRequest& request);

// H:MM:SS.ffffff, as logs in Cohen's columns have it.
std::string time_text(double seconds);

// Throws UsageError where several processes of mpirun run a command that does not share its images out.
void require_one_process(const std::string& option);

}  // namespace mollify::experiments
