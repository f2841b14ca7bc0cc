// `mollify train`.
#pragma once

#include <mollify/experiments/training/settings.h>

namespace mollify::experiments {

// Returns the exit status: 0, or 130 after an interrupt. Throws Diverged when the loss is no number any more.
int train_command(const TrainCommand& command);

}  // namespace mollify::experiments
