// Pictures of lines and points: SVG documents of panels side by side.
#pragma once

#include <mollify/experiments/training/metrics.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace mollify::experiments {

struct Curve {
  std::string name;
  size_t series;  // which colour, dash and mark it has: the same for the same thing in every panel (svg::style)
  std::vector<double> x, y;            // x rising; points that are not finite are left out
  std::vector<double> deviation = {};  // a band of ± this around y, such as the deviation over seeds; empty: none
  bool points = false;                 // marks alone, x in any order, and bars in place of the band
  std::vector<double> low = {}, high = {};  // a band between these in place of ± deviation, such as quartiles
};

struct CurvePanel {
  std::string title, x_title, unit;  // unit follows the numbers of the y axis
  std::vector<Curve> curves;
  double low, high;                       // of the y axis; widened to tick marks
  double highest = INFINITY;              // where the y axis ends at the latest
  bool logarithmic = false;               // the y axis; numbers that are not above 0 are left out then
  bool logarithmic_x = false;             // the x axis likewise
  std::vector<std::string> x_names = {};  // names of x = 0, 1, …; empty: x are numbers
};

// The smallest and largest y of the curves, their bands included; 0 and 1 where there is none.
std::pair<double, double> range_of(const std::vector<Curve>& curves);

// Whether numbers from low to high are better seen by their magnitude: all above 0, and the largest 100 times the
// smallest.
bool spans_decades(double low, double high);

std::string curves_svg(const std::string& title, const std::vector<CurvePanel>& panels);

// A picture of a run: loss and accuracy by epoch. The losses' names tell apart what is trained on and what is
// evaluated.
struct LossNames {
  std::string train = "train", held_out = "test";
};
std::string curves_svg(const std::string& title, const std::vector<EpochMetrics>& epochs, const LossNames& names = {});

}  // namespace mollify::experiments
