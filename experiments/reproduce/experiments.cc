#include <mollify/experiments/reproduce/experiments.h>

#include <mollify/experiments/reproduce/experiment.h>

namespace mollify::experiments {

std::vector<std::shared_ptr<Experiment>> all_experiments() {
  return {black_box(), functions(),   gls(),     graduated(),      gsmooth_heat_map(), gsmooth_svrg(),
          heat(),      noise_tails(), paradox(), sharpness_grid(), sparse_szo()};
}

Options Experiment::shared_options(const char* default_data) {
  Options all = {
      {{"scale", "Run", "tiny: seconds, to see it run; quick: minutes; paper: all of it", nullptr},
       &scale,
       one_of({"tiny", "quick", "paper"})},
      {{"data", "Run", "dataset", default_data}, &data, one_of(datasets())},
      {{"data-dir", "Run", "folder above the dataset's", "$MOLLIFY_DATA, then ./data", true}, &data_dir, Rule{}},
      {{"jobs", "Run", "cells at once, each on one thread; results do not depend on it",
        "$MOLLIFY_NUM_THREADS, else all processors; 1 on cuda", true},
       &jobs,
       thread_rule()},
      {{"checkpoint-minutes", "Run",
        "minutes between checkpoints of a cell, from which a run that was stopped goes on; 0: as many as there can be",
        nullptr, true},
       &checkpoint_minutes,
       at_least(0)},
      {{"out", "Run", "folder of the results", "runs/<experiment>-<data>-<scale>", true}, &out, Rule{}},
  };
  add(all, device_options(device_request, "Run"));
  return all;
}

Options Experiment::options_without_data() {
  Options all = shared_options();
  std::erase_if(all, [](const Option& option) {
    const std::string name = option.description.name;
    return name == "data" || name == "data-dir";
  });
  return all;
}

void Experiment::choose(int64_t& field, int64_t tiny, int64_t quick, int64_t paper) const {
  if (field == 0) field = is("tiny") ? tiny : is("quick") ? quick : paper;
}

void Experiment::resolve_shared() {
  if (data.empty()) data = is("tiny") ? "digits" : "mnist";
  if (out.empty()) out = format("runs/{}-{}-{}", name(), data, scale);
}

}  // namespace mollify::experiments
