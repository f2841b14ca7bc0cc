// `mollify radii`: certified accuracy from logs of randomized smoothing, this program's or anyone's in Cohen's columns.
#pragma once

#include <mollify/experiments/options.h>

#include <string>
#include <vector>

namespace mollify::experiments {

struct RadiiCommand {
  std::vector<std::string> logs;
  std::string out;
  double step = 0;
  std::optional<double> alpha;
  double rho = 0.001;
  bool json = false;
};
int radii_command(const RadiiCommand& command);

Options options_of(RadiiCommand& command);

}  // namespace mollify::experiments
