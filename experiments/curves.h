// Pictures of lines: SVG documents of panels side by side.
#pragma once

#include <mollify/experiments/metrics.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace mollify::experiments {

struct Curve {
  std::string name, color;
  std::vector<double> x, y;  // x rising; points that are not finite are left out
};

struct CurvePanel {
  std::string title, x_title, unit;  // unit follows the numbers of the y axis
  std::vector<Curve> curves;
  double low, high;                  // of the y axis; widened to tick marks
  double highest = INFINITY;         // where the y axis ends at the latest
  bool legend_on_top = true;
};

// The smallest and largest y of the curves; 0 and 1 where there is none.
std::pair<double, double> range_of(const std::vector<Curve>& curves);

std::string curves_svg(const std::string& title, const std::vector<CurvePanel>& panels);

// A picture of a run: loss and accuracy by epoch.
std::string curves_svg(const std::string& title, const std::vector<EpochMetrics>& epochs);

}  // namespace mollify::experiments
