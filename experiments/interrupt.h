// Ctrl-C and SIGTERM as a request: the first asks the run to stop at the next step, the second ends the program at once.
#pragma once

namespace mollify::experiments {

void catch_interrupts();
bool interrupted();

}  // namespace mollify::experiments
