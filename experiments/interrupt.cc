#include <mollify/experiments/interrupt.h>

#include <csignal>

namespace mollify::experiments {
namespace {

volatile std::sig_atomic_t asked = 0;

void ask(int) {
  asked = 1;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = ask;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return asked != 0; }

void stop_if_interrupted() { require<Interrupted>(!interrupted(), "interrupted"); }

}  // namespace mollify::experiments
