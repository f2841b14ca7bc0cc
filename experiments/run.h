// `mollify run`: a network's outputs for inputs from a file.
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct RunCommand {
  std::string network, input, output, dtype = "f32";
  int64_t batch = 256, threads = 0;
  DeviceRequest device;
};
int run_command(const RunCommand& command);

Options options_of(RunCommand& command);

}  // namespace mollify::experiments
