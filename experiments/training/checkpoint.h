// All that a run needs to go on to the same numbers, in one safetensors file.
#pragma once

#include <mollify/engine/tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace mollify::experiments {

// Where a run stands: `batch` batches of epoch `epoch` (from 0) are done. After the last batch the epoch's evaluation
// is still due.
struct Position {
  int64_t epoch = 0, batch = 0;
  double loss_sum = 0;  // of the epoch so far: Σ batch size · batch loss
  int64_t images = 0, correct = 0;
  double seconds = 0;
  std::optional<double> best_validation_loss;
  int64_t best_epoch = 0;  // from 1; 0: none yet
};

struct Checkpoint {
  Tensor weights, state;                    // flat
  std::map<std::string, Tensor> optimizer;  // optim::Optimizer::state()
  Position position;
  std::string model, data, options;  // options as JSON
};

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
Checkpoint read_checkpoint(const std::filesystem::path& path);  // throws FormatError naming the file

}  // namespace mollify::experiments
