#include <mollify/experiments/reproduce/reproduce.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training/metrics.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

std::string place(const Experiment& experiment) { return format("mollify reproduce {}", experiment.name()); }

// Options of the run that goes on: those in its settings, with what may change taken from the command.
void restore(const ReproduceCommand& command, const Options& options) {
  Experiment& experiment = *command.experiment;
  const std::string folder = experiment.out, file = (fs::path(folder) / "settings.json").string();
  require<UsageError>(fs::exists(file), "{}: --resume: {} does not exist; needs a run that was started",
                      place(experiment), file);
  const ordered_json stored = ordered_json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
  require<FormatError>(stored.is_object() && stored.contains("experiment"),
                       "{}: names no experiment; needs settings that mollify reproduce wrote", file);
  require<UsageError>(stored["experiment"] == experiment.name(), "{}: --resume: the run in {} is of {}",
                      place(experiment), folder, stored["experiment"].dump());
  options_from_json(options, file, merged_options(options, stored, command.given, place(experiment), folder));
  experiment.out = folder;
}

void clear_folder(const Experiment& experiment) {
  std::error_code error;
  std::vector<std::string> files = experiment.files();
  files.insert(files.end(), {"settings.json", "cells.jsonl"});
  files.insert(files.end(), Report::files().begin(), Report::files().end());
  for (const std::string& file : files) fs::remove(fs::path(experiment.out) / file, error);
  fs::remove_all(fs::path(experiment.out) / "cells", error);
}

// Where a process beside the first one writes what the first one writes, too; gone with this.
struct ScratchFolder {
  ScratchFolder() { fs::create_directories(path); }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  const fs::path path = fs::temp_directory_path() / format("mollify-{}", getpid());
};

// What there is to wait for, where the experiment knows it.
void print_estimate(const Experiment& experiment, double done, int64_t jobs) {
  const double all = experiment.estimated_seconds();
  if (!std::isfinite(all)) return;
  const double left = std::max(0.0, all - done) / static_cast<double>(jobs);
  std::printf("estimated: %.0f s of one processor for all cells; with %lld at once %.0f s are left\n", all,
              static_cast<long long>(jobs), left);
  std::fflush(stdout);
}

}  // namespace

int reproduce_command(const ReproduceCommand& command) {
  Experiment& experiment = *command.experiment;
  const std::string at = place(experiment);
  require<UsageError>(!(command.resume && command.overwrite),
                      "{}: --resume and --overwrite given; needs one of them at most", at);
  const Options options = experiment.options();
  if (command.resume) {
    if (experiment.out.empty()) experiment.resolve();
    restore(command, options);
  } else {
    experiment.resolve();
    require<UsageError>(command.overwrite || !fs::exists(fs::path(experiment.out) / "settings.json"),
                        "{}: --out: {} holds a run; needs --resume, --overwrite or another folder", at, experiment.out);
  }
  experiment.device = use_device("reproduce " + std::string(experiment.name()), experiment.device_request);
  const bool one_at_a_time = experiment.device == Device::cuda;
  require<UsageError>(!one_at_a_time || experiment.jobs <= 1, "{}: --jobs: {} given with --device cuda; needs 1", at,
                      experiment.jobs);
  catch_interrupts();
  experiment.load();  // before the folder is made: what is missing shows first
  const Processes& processes = Processes::all();
  processes.wait();  // all have read what there was
  std::optional<FolderLock> lock;
  if (processes.is_first()) {
    make_folder(at + ": --out", experiment.out);
    lock.emplace(at + ": --out", experiment.out);
    if (!command.resume) clear_folder(experiment);
    ordered_json settings = {{"experiment", experiment.name()}};
    settings.update(options_to_json(options));
    write_text(fs::path(experiment.out) / "settings.json", settings.dump(2) + "\n");
  }
  processes.wait();  // the folder is as the first one left it

  const int jobs = one_at_a_time ? 1 : experiment.jobs > 0 ? static_cast<int>(experiment.jobs) : num_threads();
  Grid grid(experiment.out, jobs);
  const auto start = Clock::now();
  try {
    if (processes.is_first()) print_estimate(experiment, grid.seconds(), jobs * processes.count());
    std::optional<ScratchFolder> scratch;
    if (!processes.is_first()) scratch.emplace();
    const Report report = experiment.run(grid, scratch ? scratch->path : fs::path(experiment.out));
    if (processes.is_first()) {
      report.write(experiment.out);
      std::printf("%s", report.text().c_str());
    }
  } catch (const Interrupted& stop) {
    if (processes.is_first())
      std::fprintf(stderr, "%s: %s; to go on: %s --resume --out %s\n", at.c_str(), stop.what(), at.c_str(),
                   experiment.out.c_str());
    return 130;
  }
  if (processes.is_first())
    std::printf("\n%.0f s now; all cells together %.0f s of one processor; in %s\n", seconds_since(start),
                grid.seconds(), experiment.out.c_str());
  if (grid.failures().empty()) return 0;
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %zu cells failed, the first is %s\n", at.c_str(), grid.failures().size(),
               grid.failures()[0].c_str());
  return 1;
}

}  // namespace mollify::experiments
