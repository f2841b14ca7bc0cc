// `mollify landscape`: an objective's loss around trained weights, along a line and over a plane, before and after
// Gaussian smoothing.
#pragma once

#include <mollify/experiments/options.h>

#include <optional>
#include <string>

namespace mollify::experiments {

struct LandscapeCommand {
  std::string weights, data, data_dir, objective;  // data and objective empty: as the weights' file says
  std::optional<double> epsilon;                   // empty: likewise
  std::string directions = "random", out;
  double probe_scale = 0.01, extent = 0.1;
  int64_t batch = 64, points = 41, plane_points = 11, samples = 32, seed = 0, threads = 0;
  bool plane = false;
  DeviceRequest device;
};
int landscape_command(const LandscapeCommand& command);  // 0, or 130 after an interrupt

Options options_of(LandscapeCommand& command);

}  // namespace mollify::experiments
