// Where a command computes: --device, --precision, --products and --threads.
#pragma once

#include <mollify/engine/precision.h>
#include <mollify/engine/tensor.h>
#include <mollify/experiments/options.h>

#include <string>

namespace mollify::experiments {

// The device asked for, with the precision of its products and who computes them set. Throws UsageError, which starts
// with "mollify COMMAND", where there is no such device, and for what it does not have.
Device use_device(const std::string& command, const DeviceRequest& request);
// The same where bounds are to hold in real arithmetic unless `fast`: they count on fp32.
Device use_device_for_bounds(const std::string& command, const DeviceRequest& request, bool fast);

void use_threads(int64_t count);  // 0: as many as there were

// Products in fp32 while this lives: certificates count on them.
class FullPrecision {
 public:
  FullPrecision();
  ~FullPrecision();
  FullPrecision(const FullPrecision&) = delete;

 private:
  Precision before_;
};

}  // namespace mollify::experiments
