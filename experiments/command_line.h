// The command line as data: which subcommand, with what.
#pragma once

#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/landscape.h>
#include <mollify/experiments/noise.h>
#include <mollify/experiments/options.h>
#include <mollify/experiments/reproduce/reproduce.h>
#include <mollify/experiments/robustness/attack.h>
#include <mollify/experiments/robustness/bounds.h>
#include <mollify/experiments/robustness/certify.h>
#include <mollify/experiments/robustness/radii.h>
#include <mollify/experiments/robustness/verify.h>
#include <mollify/experiments/run.h>
#include <mollify/experiments/sharpness.h>
#include <mollify/experiments/training/settings.h>

#include <string>
#include <variant>

namespace mollify::experiments {

struct InfoCommand {};
struct ShowText {
  std::string text;
};  // help or version
using Command = std::variant<ShowText, TrainCommand, EvaluateCommand, InfoCommand, ReproduceCommand, RunCommand,
                             BoundsCommand, VerifyCommand, CertifyCommand, RadiiCommand, AttackCommand,
                             LandscapeCommand, NoiseCommand, SharpnessCommand>;

Command parse(int argc, const char* const* argv);  // throws UsageError

}  // namespace mollify::experiments
