// What `mollify reproduce` can run. An experiment is one file, and one line in experiments.cc.
#pragma once

#include <mollify/engine/tensor.h>
#include <mollify/experiments/options.h>
#include <mollify/experiments/reproduce/grid.h>
#include <mollify/experiments/reproduce/report.h>

#include <cmath>
#include <memory>

namespace mollify::experiments {

class Experiment {
 public:
  virtual ~Experiment() = default;
  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;  // one line
  virtual Options options() = 0;
  virtual std::vector<std::string> datasets() const { return {"mnist", "digits", "cifar10"}; }

  virtual void resolve() = 0;  // fills in what depends on other options; throws UsageError
  virtual void load() = 0;     // reads the data
  // Runs the cells and writes pictures and CSV files to the folder. Throws Interrupted.
  virtual Report run(Grid& grid, const std::filesystem::path& folder) = 0;
  virtual std::vector<std::string> files() const = 0;  // that run writes
  // Of one processor for all cells, roughly, told before the first one starts; NaN where nobody has measured it.
  virtual double estimated_seconds() const { return std::nan(""); }

  // Shared options.
  std::string scale = "quick", data, data_dir, out;
  int64_t jobs = 0;
  double checkpoint_minutes = 2;  // between those of a cell
  DeviceRequest device_request;
  Device device = Device::cpu;  // where cells compute: set before load

 protected:
  // default_data is for the help; whoever chooses another dataset does so before resolve_shared.
  Options shared_options(const char* default_data = "digits at tiny, else mnist");
  Options options_without_data();  // the same of experiments that read none
  void resolve_shared();           // data and out
  void choose(int64_t& field, int64_t tiny, int64_t quick, int64_t paper) const;  // by scale, where not given: 0
  bool is(const char* scale_name) const { return scale == scale_name; }
};

std::vector<std::shared_ptr<Experiment>> all_experiments();

}  // namespace mollify::experiments
