// `mollify reproduce`.
#pragma once

#include <mollify/experiments/reproduce/experiment.h>

#include <set>

namespace mollify::experiments {

struct ReproduceCommand {
  std::shared_ptr<Experiment> experiment;
  std::set<std::string> given;  // names of the options that stood on the command line
  bool resume = false, overwrite = false;
};

// Returns the exit status: 0; 1 where cells failed; 130 after an interrupt.
int reproduce_command(const ReproduceCommand& command);

}  // namespace mollify::experiments
