// Independent cells of an experiment, several at once, each on one thread; what is finished survives a kill.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments {

// What a cell found. Numbers may be NaN or infinite; both are NaN once read from a file.
struct Results {
  std::map<std::string, double> numbers = {};
  std::map<std::string, std::vector<double>> series = {};

  double at(const std::string& name) const;  // NaN where there is no such number
  const std::vector<double>& series_at(const std::string& name) const;  // empty likewise
};

// A function of its key and the experiment's settings alone: neither of other cells nor of what was run before.
// It asks stop_if_interrupted() now and then.
struct Cell {
  std::string key;  // unique in its folder
  std::function<Results()> run;
};

// Keeps one line per finished cell in folder/cells.jsonl. A last line that a kill cut off is dropped.
class Grid {
 public:
  // Reads what is there. Throws FormatError for a file that is something else.
  Grid(const std::filesystem::path& folder, int jobs);

  // Results of the cells, in their order: those on file, and the others, which `jobs` threads run. What a cell throws
  // is recorded and does not stop the others; it is tried again in the next run. Throws Interrupted after an interrupt,
  // with the unfinished cells not recorded.
  std::vector<Results> run(const std::string& title, const std::vector<Cell>& cells);

  // "key: what it threw" of the cells that failed.
  const std::vector<std::string>& failures() const { return failures_; }
  double seconds() const { return seconds_; }  // of all finished cells together, on one thread each

 private:
  void read();
  void record(const std::string& key, const Results& results, double seconds);

  std::filesystem::path file_;
  int jobs_;
  std::map<std::string, Results> finished_;
  std::vector<std::string> failures_;
  double seconds_ = 0;
};

}  // namespace mollify::experiments
