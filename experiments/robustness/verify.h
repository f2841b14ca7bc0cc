// `mollify verify`: does a network meet a property, for one pair of files or a list of them?
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct VerifyCommand {
  std::string network, property;
  std::optional<double> timeout;  // 60, or as the list says
  std::string csv, out;
  int64_t jobs = 1, threads = 0;
  DeviceRequest device;
};
// Exit status: 0 for every verdict; 130 after an interrupt. Of a list: 1 where a verdict contradicts the list, else 2
// where files could not be used.
int verify_command(const VerifyCommand& command);

Options options_of(VerifyCommand& command);

}  // namespace mollify::experiments
