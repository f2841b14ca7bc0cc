// Branch and bound over the inputs: CROWN bounds of boxes, halved where the rows say that it helps most.
#include <mollify/nn/bounds/branch.h>

#include <mollify/engine/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mollify::nn::bounds {
namespace {

struct Domain {
  std::vector<double> lower, upper;
  double slack;  // of the bounds of what it was split from
};

// Batches of a size that keeps the widest rows of one in a few megabytes.
int64_t batch_size(const Graph& graph, const VerifyOptions& options) {
  if (options.batch > 0) return options.batch;
  int64_t widest = 1;
  for (const Graph::Node& node : graph.nodes()) widest = std::max(widest, node.shape.size());
  return std::clamp<int64_t>((int64_t{1} << 22) / (widest * widest), 8, 1024);
}

Box stacked(const Graph& graph, const std::vector<Domain>& domains) {
  const Shape& input = graph.nodes()[0].shape;
  const auto count = static_cast<int64_t>(domains.size()), inputs = input.size();
  std::vector<double> lower, upper;
  lower.reserve(static_cast<size_t>(count * inputs));
  upper.reserve(static_cast<size_t>(count * inputs));
  for (const Domain& domain : domains) {
    lower.insert(lower.end(), domain.lower.begin(), domain.lower.end());
    upper.insert(upper.end(), domain.upper.begin(), domain.upper.end());
  }
  Shape shape = input;
  shape.insert(0, count);
  return {on_device_of(graph, lower, shape), on_device_of(graph, upper, shape)};
}

class InputSplit {
 public:
  InputSplit(Search& search, const formats::Case& box, const Targets& targets)
      : search_(search), box_(box), targets_(targets) {
    waiting_.push({box.lower, box.upper, -std::numeric_limits<double>::infinity()});
  }

  Verdict run() {
    const int64_t batch = batch_size(search_.graph, search_.options);
    const int64_t bytes = static_cast<int64_t>(box_.lower.size()) * 16 + 128;
    while (waiting_.size() > 0) {
      if (search_.out_of_time()) return undecided("out of time");
      if (waiting_.size() * bytes > search_.options.memory) return undecided("out of memory for domains");
      std::vector<Domain> domains = waiting_.take(batch);
      if (bound(domains)) return Verdict::sat;
      if (stuck_) return undecided("boxes of single numbers are left");
      search_.report("input splits", waiting_.size(), search_.outcome.worst);
    }
    search_.outcome.stage = "input splits";
    return Verdict::unsat;
  }

 private:
  Verdict undecided(const char* why) {
    search_.outcome.stage = why;
    return Verdict::unknown;
  }

  // Splits the domains that their bounds do not settle; true when a corner that the rows point to is a witness.
  bool bound(const std::vector<Domain>& domains) {
    const auto count = static_cast<int64_t>(domains.size()), rows = targets_.count();
    const Box box = stacked(search_.graph, domains);
    const Bounds bounds(search_.graph, {.box = box},
                        {.method = Method::crown, .intersect = true, .roundoff = unit_roundoff(DType::f64)});
    RowsSeen seen;
    const std::vector<double> lower = bounds.lower(targets_.rows, &seen).to_vector<double>();
    search_.outcome.domains += count;
    const int64_t inputs = static_cast<int64_t>(box_.lower.size());
    const Tensor at_input = reshape(expand(seen[0], with(seen[0].shape(), count)), {count, rows, inputs});
    const std::vector<double> slopes = at_input.to_vector<double>();
    std::vector<double> corners;
    double worst = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < count; ++i) {
      const double slack_here = slack(targets_, lower.data() + i * rows);
      if (slack_here > 0) continue;
      worst = std::min(worst, slack_here);
      const Domain& domain = domains[static_cast<size_t>(i)];
      add_corners(domain, slopes.data() + i * rows * inputs, corners);
      split(domain, slopes.data() + i * rows * inputs, slack_here);
    }
    search_.outcome.worst = worst;
    Shape shape = search_.graph.nodes()[0].shape;
    shape.insert(0, static_cast<int64_t>(corners.size()) / inputs);
    return search_.witness_among(box_, targets_, on_device_of(search_.graph, corners, shape), "input splits");
  }

  static Shape with(Shape shape, int64_t samples) {
    shape[0] = samples;
    return shape;
  }

  // For each row the corner where its linear bound is least, and the middle.
  void add_corners(const Domain& domain, const double* slopes, std::vector<double>& corners) const {
    const size_t inputs = domain.lower.size();
    for (int64_t k = 0; k < targets_.count(); ++k)
      for (size_t j = 0; j < inputs; ++j)
        corners.push_back(slopes[static_cast<size_t>(k) * inputs + j] >= 0 ? domain.lower[j] : domain.upper[j]);
    for (size_t j = 0; j < inputs; ++j) corners.push_back(domain.lower[j] + (domain.upper[j] - domain.lower[j]) / 2);
  }

  // Halves the input whose width moves the rows' bounds most, weighed by the share of the whole box that is left and
  // with a little of all inputs' effect added: lines with slope 0 hide what an input does.
  void split(const Domain& domain, const double* slopes, double slack_here) {
    const size_t inputs = domain.lower.size();
    std::vector<double> effects(inputs, 0);
    for (size_t j = 0; j < inputs; ++j)
      for (int64_t k = 0; k < targets_.count(); ++k)
        effects[j] += std::abs(slopes[static_cast<size_t>(k) * inputs + j]) * (domain.upper[j] - domain.lower[j]);
    const double hidden = 0.002 * std::accumulate(effects.begin(), effects.end(), 1e-12);
    size_t widest = inputs;
    double most = -1;
    for (size_t j = 0; j < inputs; ++j) {
      const double width = domain.upper[j] - domain.lower[j], middle = domain.lower[j] + width / 2;
      if (!(middle > domain.lower[j] && middle < domain.upper[j])) continue;
      const double effect = (effects[j] + hidden) * (width / (box_.upper[j] - box_.lower[j]));
      if (!(effect > most)) continue;
      most = effect;
      widest = j;
    }
    if (widest == inputs) {
      stuck_ = true;
      return;
    }
    Domain below = domain, above = domain;
    below.upper[widest] = above.lower[widest] =
        domain.lower[widest] + (domain.upper[widest] - domain.lower[widest]) / 2;
    below.slack = above.slack = slack_here;
    waiting_.push(std::move(below));
    waiting_.push(std::move(above));
  }

  Search& search_;
  const formats::Case& box_;
  const Targets& targets_;
  Waiting<Domain> waiting_;
  bool stuck_ = false;
};

}  // namespace

Verdict split_inputs(Search& search, const formats::Case& box, const Targets& targets) {
  return InputSplit(search, box, targets).run();
}

}  // namespace mollify::nn::bounds
