// Lists of networks and properties: `mollify verify --csv`.
#pragma once

#include <mollify/experiments/robustness/verify.h>

namespace mollify::experiments {

// Each instance is a process of this program, so that what one of them does to memory or to itself is its own affair.
int verify_list(const VerifyCommand& command);

}  // namespace mollify::experiments
