// Worst errors that scans find, for a file with a line for each: MOLLIFY_ACCURACY_TABLE=FILE appends those of a run.
#pragma once

#include <mollify/engine/error.h>
#include <mollify/engine/tensor.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace mollify {

class AccuracyTable {
 public:
  ~AccuracyTable() {
    const char* path = std::getenv("MOLLIFY_ACCURACY_TABLE");
    if (!path || lines_.empty()) return;
    std::ofstream out(path, std::ios::app);
    for (const std::string& line : lines_) out << line << '\n';
  }

  // An error in units that the scan defines, and where it was.
  void add(const std::string& function, const std::string& derivative, DType dtype, const std::string& range,
           double error, double at) {
    lines_.push_back(format("{}\t{}\t{}\t{}\t{}\t{}", function, derivative, dtype, range, error, at));
  }

 private:
  std::vector<std::string> lines_;
};

inline AccuracyTable& accuracy_table() {
  static AccuracyTable table;
  return table;
}

}  // namespace mollify
