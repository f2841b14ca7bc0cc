// `mollify noise`: the noise of a network's minibatch gradients at saved weights.
#pragma once

#include <mollify/experiments/critical_batch.h>
#include <mollify/experiments/weights_on_data.h>

#include <optional>

namespace mollify::experiments {

struct NoiseCommand {
  WeightsOnDataRequest request;
  int64_t batch = 16, large_batch = 256, batches = 64, draws = 1000, seed = 0, threads = 0;
  std::optional<double> learning_rate;
  double momentum = 0;
  CriticalBatchRequest critical_batch;
  bool single = false, tails = false, batch_statistics = false, json = false;
  std::string out;
  DeviceRequest device;
};
int noise_command(const NoiseCommand& command);  // 0, or 130 after an interrupt

Options options_of(NoiseCommand& command);

}  // namespace mollify::experiments
