// All that a run needs to go on to the same numbers, in one safetensors file.
#pragma once

#include <mollify/engine/tensor.h>
#include <mollify/nn/weights_file.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mollify::experiments {

// Where a run stands: `batch` batches of epoch `epoch` (from 0) are done. After the last batch the epoch's evaluation
// is still due.
struct Position {
  int64_t epoch = 0, batch = 0;
  double loss_sum = 0;  // of the epoch so far: Σ batch size · batch loss
  int64_t images = 0, correct = 0, left_out = 0;
  std::vector<double> term_sums = {};  // of the objective's terms, as loss_sum
  double seconds = 0;
  std::optional<double> best_validation_loss;
  int64_t best_epoch = 0;  // from 1; 0: none yet
};

struct Checkpoint {
  Tensor weights, state;                    // flat
  std::map<std::string, Tensor> optimizer;  // TrainingStep::kept()
  Position position;
  std::string model, data, options;  // options as JSON
};

// On the device, but for scalars, which are the host's.
std::map<std::string, Tensor> moved(std::map<std::string, Tensor> tensors, Device device);
// An optimizer's state among the tensors of a file, under names of its own: put there, and taken out.
void put_optimizer(const std::map<std::string, Tensor>& state, nn::SafeTensors& content);
std::map<std::string, Tensor> take_optimizer(nn::SafeTensors& content);

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
Checkpoint read_checkpoint(const std::filesystem::path& path);  // throws FormatError naming the file

}  // namespace mollify::experiments
