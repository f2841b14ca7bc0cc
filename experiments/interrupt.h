// Ctrl-C and SIGTERM as a request: the first asks the run to stop at the next step, the second ends the program at
// once.
#pragma once

#include <mollify/engine/error.h>

namespace mollify::experiments {

void catch_interrupts();
bool interrupted();

struct Interrupted : Error { using Error::Error; };
void stop_if_interrupted();  // throws Interrupted

}  // namespace mollify::experiments
