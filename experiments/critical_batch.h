// `mollify noise --critical-batch`: the batch with which SGD from saved weights takes the fewest samples, and the bound
// on C² that is published of it.
#pragma once

#include <mollify/experiments/options.h>
#include <mollify/smoothing/critical_batch.h>
#include <mollify/smoothing/gradient_noise.h>

#include <filesystem>

namespace mollify::experiments {

struct CriticalBatchRequest {
  bool asked = false;
  std::string stop = "gradients", batches;  // between commas; empty: powers of two
  double epsilon = 0.5;
  int64_t most_steps = 1000, repeats = 1;
};
Options critical_batch_options(CriticalBatchRequest& request);

// Throws UsageError, which starts with "mollify noise: --OPTION".
smoothing::CriticalBatchSearch search_of(const CriticalBatchRequest& request, double learning_rate, int64_t images);
// Images whose gradients the search takes at most.
int64_t most_images(const smoothing::CriticalBatchSearch& how, int64_t images);

struct CriticalBatchFindings {
  smoothing::CriticalBatchSearch how;
  smoothing::CriticalBatch found;
  double c2 = NAN, c2_at_end = NAN;  // C² at the saved weights, and where the last run of b* ended
};
// SGD on batches as `noise` draws them, from `weights`. Without the C².
CriticalBatchFindings critical_batch_of(smoothing::GradientNoise& noise, const Tensor& weights,
                                        const smoothing::CriticalBatchSearch& how);

std::string text_of(const CriticalBatchFindings& findings);
nlohmann::ordered_json json_of(const CriticalBatchFindings& findings);
// critical_batch.csv and critical_batch.svg.
void write(const CriticalBatchFindings& findings, const std::string& title, const std::filesystem::path& folder);

}  // namespace mollify::experiments
