// The command line as data: which subcommand, with what.
#pragma once

#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/options.h>
#include <mollify/experiments/reproduce/reproduce.h>

#include <string>
#include <variant>

namespace mollify::experiments {

struct InfoCommand {};
struct ShowText { std::string text; };  // help or version
using Command = std::variant<ShowText, TrainCommand, EvaluateCommand, InfoCommand, ReproduceCommand>;

Command parse(int argc, const char* const* argv);  // throws UsageError

}  // namespace mollify::experiments
