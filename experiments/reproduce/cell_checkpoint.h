// Where a loop of a cell stands, kept in the cell's folder, so that a cell that was stopped goes on from there. Cells
// that train as `mollify train` does have its checkpoints instead: see trained_weights.
#pragma once

#include <mollify/engine/tensor.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/results.h>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace mollify::experiments {

class CellCheckpoint {
 public:
  struct Standing {
    std::map<std::string, Tensor> tensors = {};
    std::map<std::string, Tensor> optimizer = {};  // its state()
    Results results = {};                          // what is not finite is NaN once read
  };

  // `minutes` between two checkpoints; 0: at every occasion.
  CellCheckpoint(std::filesystem::path folder, double minutes);

  // What was written last, but for scalars on the device. Throws FormatError naming the file.
  std::optional<Standing> read(Device device) const;
  // An occasion to write: asks for what is to be kept where it is time. Throws WriteError.
  void now_and_then(const std::function<Standing()>& standing);

 private:
  std::filesystem::path file_;
  double minutes_;
  Clock::time_point written_ = Clock::now();
};

}  // namespace mollify::experiments
