// `mollify train`.
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

// Returns the exit status: 0, or 130 after an interrupt. Throws Diverged when the loss is no number any more.
struct Diverged : Error { using Error::Error; };
int train_command(const TrainCommand& command);

}  // namespace mollify::experiments
