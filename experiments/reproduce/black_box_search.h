// One search of the experiment black-box: a method on a test function from one start.
#pragma once

#include <mollify/experiments/reproduce/cell_checkpoint.h>
#include <mollify/smoothing/functions.h>

#include <vector>

namespace mollify::experiments::black_box_search {

struct Method {
  const char* name;
  enum class Optimizer { sgd, adam, clip_up } optimizer;  // sgd has exact gradients, the others populations
  bool learned = false, ranks = false;                    // s; losses count by their rank
};

// A test function of d numbers on the unit cube, which stands for its box, in units of its mean over the box: one
// setting of a method serves all.
class Problem {
 public:
  Problem(const smoothing::TestFunction& function, int64_t dimension);

  const char* name() const { return function_->name; }
  int64_t dimension() const { return dimension_; }
  double unit() const { return unit_; }
  Tensor operator()(const Tensor& u) const;  // […, d] → […]
  Tensor start(uint64_t seed) const;         // uniform in the cube

 private:
  const smoothing::TestFunction* function_;
  int64_t dimension_;
  double unit_ = 1;
};

struct Setting {
  int64_t budget, pairs, gradient_cost;  // evaluations; pairs of a population; evaluations that a gradient costs
  double target;                         // of the value, in the problem's units
};

// The numbers of evaluations, rising to the budget, after which the best value is kept.
std::vector<int64_t> counts(int64_t budget);

// Numbers: evaluations until the best value was below the target (NaN: never), and the best value of all. The series
// follows counts().
inline constexpr const char *kReached = "evaluations_to_target", *kBest = "best_value", *kBestSoFar = "best_so_far";

// Goes on from the checkpoint, and keeps it.
Results search(const Method& method, const Problem& problem, uint64_t seed, const Setting& setting,
               CellCheckpoint checkpoint);

}  // namespace mollify::experiments::black_box_search
