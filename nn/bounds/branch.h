// What the stages of verification share. Inner header of nn/bounds/verify.cc, input_split.cc and relu_split.cc.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/nn/bounds/verify.h>

#include <algorithm>
#include <chrono>
#include <optional>

namespace mollify::nn::bounds {

// Rows a·y ≤ b of some unsafe sets of a case, as tensors. A set is out of reach where one of its rows has a lower bound
// above its b.
struct Targets {
  Tensor rows;                    // [1, K, output…]
  std::vector<double> limits;     // b, [K]
  std::vector<int64_t> set_ends;  // rows of set i: from set_ends[i − 1] (0 at first) to set_ends[i]
  int64_t count() const { return static_cast<int64_t>(limits.size()); }
};
Targets targets_of(const Graph& graph, std::span<const formats::Halfspaces* const> sets);

// The largest of lower − b over each set's rows, least over the sets: > 0 where all sets are out of reach. NaN counts
// as −∞.
double slack(const Targets& targets, const double* lower);

// The case under way, its time and tally, and the replay of what may be witnesses.
class Search {
 public:
  Search(const Graph& graph, const formats::Property& property, const VerifyOptions& options);

  const Graph& graph;
  const VerifyOptions& options;
  Outcome outcome;

  double seconds() const;
  bool out_of_time() const { return seconds() >= options.seconds || (options.stop && options.stop()); }
  void report(const std::string& stage, int64_t open, double worst) const;

  // Runs points [M, input…] through the network, after moving them into the case's box; true when one is a witness that
  // convinces everybody: then `outcome` has it.
  bool witness_among(const formats::Case& box, const Targets& targets, const Tensor& points, const std::string& stage);

 private:
  bool convinces(const Targets& targets, const std::vector<double>& x);
  bool holds_with_rounding(const Targets& targets, const std::vector<double>& x,
                           const std::vector<double>& output) const;
  Tensor values(const Targets& targets, const Tensor& flat) const;  // of the rows at points [M, inputs]: [M, K]

  const formats::Property& property_;
  const std::chrono::steady_clock::time_point start_;
};

Region region_of(const Graph& graph, const formats::Case& box);  // of one row

// Numbers of the host where the graph computes.
inline Tensor on_device_of(const Graph& graph, const std::vector<double>& values, const Shape& shape) {
  return to(Tensor::from(values, shape), graph.device());
}

// Domains still to be bounded, those with the least slack first: a witness is most likely there.
template <class Domain>
class Waiting {
 public:
  int64_t size() const { return static_cast<int64_t>(heap_.size()); }
  void push(Domain domain) {
    heap_.push_back(std::move(domain));
    std::push_heap(heap_.begin(), heap_.end(), less_urgent);
  }
  std::vector<Domain> take(int64_t most) {
    std::vector<Domain> taken;
    while (!heap_.empty() && static_cast<int64_t>(taken.size()) < most) {
      std::pop_heap(heap_.begin(), heap_.end(), less_urgent);
      taken.push_back(std::move(heap_.back()));
      heap_.pop_back();
    }
    return taken;
  }

 private:
  static bool less_urgent(const Domain& a, const Domain& b) { return a.slack > b.slack; }
  std::vector<Domain> heap_;
};

// unsat: no input of the box reaches a set; sat: outcome has the witness; unknown: outcome.stage says why.
Verdict split_inputs(Search& search, const formats::Case& box, const Targets& targets);
Verdict split_relus(Search& search, const formats::Case& box, const Targets& targets);

}  // namespace mollify::nn::bounds
