// Cells of an experiment, several at once, each on one thread; what is finished survives a kill, and so does what an
// unfinished cell wrote to its folder.
#pragma once

#include <mollify/experiments/reproduce/results.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments {

// A function of its key, the experiment's settings and the cells that it needs: neither of other cells nor of what was
// run before. It asks stop_if_interrupted() now and then.
struct Cell {
  std::string key;  // unique in its grid; names its folder
  // `folder` is the cell's own. A cell that was stopped is run again and finds there what it wrote.
  std::function<Results(const std::filesystem::path& folder)> run;
  std::vector<std::string> needs = {};  // keys of cells that have results before this one starts
  bool keeps_folder = false;            // when it has results, for cells that need it; else the folder is removed
};

// Keeps one line per finished cell in folder/cells.jsonl, and the cells' folders in folder/cells. A last line that a
// kill cut off is dropped.
class Grid {
 public:
  // Reads what is there. Throws FormatError for a file that is something else.
  Grid(const std::filesystem::path& folder, int jobs);

  // Results of the cells, in their order: those on file, and the others, which `jobs` threads run; processes under
  // mpirun share them out, and all must call this. What a cell throws is recorded and does not stop the others, but for
  // those that need it; it is tried again in the next run. Throws ValueError for a cell that needs one that is neither
  // among the cells nor on file, and Interrupted after an interrupt, with the unfinished cells not recorded.
  std::vector<Results> run(const std::string& title, const std::vector<Cell>& cells);

  // A cell's: for those that need it.
  std::filesystem::path folder_of(const std::string& key) const { return folder_ / "cells" / key; }

  // "key: what it threw" of the cells that failed.
  const std::vector<std::string>& failures() const { return failures_; }
  double seconds() const { return seconds_; }  // of all finished cells together, on one thread each

 private:
  class Round;
  void read();
  void record(const Cell& cell, const Results& results, double seconds);

  std::filesystem::path folder_, file_;
  int jobs_;
  std::map<std::string, Results> finished_;
  std::vector<std::string> failures_;
  double seconds_ = 0;
};

}  // namespace mollify::experiments
