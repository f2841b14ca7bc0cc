// Skeletons of handwritten digits: what a pen draws, before the hand shakes.
#pragma once

#include <span>
#include <vector>

namespace mollify::datasets {

// x to the right, y downwards; a digit fills about the unit square.
struct Point {
  double x, y;
};

// A pen's path through its points: straight pieces, or a Catmull–Rom curve.
struct Stroke {
  bool curved;
  std::vector<Point> points;
};

// One way of writing a digit, chosen with a probability proportional to its weight.
struct Skeleton {
  double weight;
  std::vector<Stroke> strokes;
};

std::span<const Skeleton> skeletons_of(int digit);  // 0 … 9

}  // namespace mollify::datasets
