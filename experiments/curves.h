// A picture of a run: loss and accuracy by epoch.
#pragma once

#include <mollify/experiments/metrics.h>

#include <string>
#include <vector>

namespace mollify::experiments {

// An SVG document of two panels side by side.
std::string curves_svg(const std::string& title, const std::vector<EpochMetrics>& epochs);

}  // namespace mollify::experiments
