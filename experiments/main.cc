// The program `mollify`. Exit status: 0; 1 where the work failed; 2 where the request cannot be met; 130 after an
// interrupt.
#include <mollify/datasets/load.h>
#include <mollify/engine/file.h>
#include <mollify/experiments/command_line.h>
#include <mollify/experiments/info.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/train.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

namespace mollify::experiments {
namespace {

struct Runner {
  int operator()(const ShowText& command) const {
    std::fputs(command.text.c_str(), stdout);
    return 0;
  }
  int operator()(const TrainCommand& command) const { return train_command(command); }
  int operator()(const EvaluateCommand& command) const { return evaluate_command(command); }
  int operator()(const InfoCommand&) const { return info_command(); }
  int operator()(const ReproduceCommand& command) const { return reproduce_command(command); }
  int operator()(const RunCommand& command) const { return run_command(command); }
  int operator()(const BoundsCommand& command) const { return bounds_command(command); }
  int operator()(const VerifyCommand& command) const { return verify_command(command); }
  int operator()(const CertifyCommand& command) const { return certify_command(command); }
  int operator()(const AttackCommand& command) const { return attack_command(command); }
  int operator()(const RadiiCommand& command) const { return radii_command(command); }
  int operator()(const LandscapeCommand& command) const { return landscape_command(command); }
  int operator()(const NoiseCommand& command) const { return noise_command(command); }
  int operator()(const SharpnessCommand& command) const { return sharpness_command(command); }
};

// `alike`: every process of a run meets the same fault, and the first one tells.
int fail(int status, const char* prefix, std::string text, bool alike = false) {
  Processes& processes = Processes::all();
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::fflush(stdout);
  if (!alike || processes.is_first()) std::fprintf(stderr, "%s%s\n", prefix, text.c_str());
  processes.leave(alike);
  return status;
}

int run(int argc, char** argv) {
  try {
    const int status = std::visit(Runner{}, parse(argc, argv));
    Processes::all().leave(/*together=*/true);
    return status;
  } catch (const UsageError& error) {
    return fail(2, "", error.what(), /*alike=*/true);
  } catch (const WriteError& error) {
    return fail(1, "mollify: ", error.what());
  } catch (const ValueError& error) {
    return fail(2, "mollify: ", error.what(), /*alike=*/true);
  } catch (const FormatError& error) {
    return fail(2, "mollify: ", error.what());
  } catch (const datasets::MissingData& error) {
    return fail(2, "mollify: ", error.what());
  } catch (const std::exception& error) {
    return fail(1, "mollify: ", error.what());
  }
}

}  // namespace
}  // namespace mollify::experiments

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of sizes is an error of its writer then
  return mollify::experiments::run(argc, argv);
}
