// `mollify sharpness`: how much a network's loss rises near saved weights, and the curvature there.
#pragma once

#include <mollify/experiments/weights_on_data.h>

namespace mollify::experiments {

struct SharpnessCommand {
  WeightsOnDataRequest request{.weights = "", .data = "", .data_dir = "", .images = 1024};
  std::string norm = "linf", out;
  double rho = 2e-4;
  int64_t batch = 128, steps = 20, restarts = 1, samples = 64;
  int64_t eigenvalues = 0, lanczos_steps = 100, trace = 0, density = 0, seed = 0, threads = 0;  // 0: not asked for
  bool adaptive = false, normalised_outputs = false, json = false;
  DeviceRequest device;
};
int sharpness_command(const SharpnessCommand& command);  // 0, or 130 after an interrupt

Options options_of(SharpnessCommand& command);

}  // namespace mollify::experiments
