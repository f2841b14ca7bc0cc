// `mollify bounds`: bounds of a network's outputs over balls around inputs from a file.
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct BoundsCommand {
  std::string network, input, epsilon, norm = "linf", clip, method = "crown";
  bool fast = false;
  int64_t steps = 20, batch = 16, threads = 0;
  DeviceRequest device;
};
int bounds_command(const BoundsCommand& command);

Options options_of(BoundsCommand& command);

}  // namespace mollify::experiments
