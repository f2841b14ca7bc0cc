#include <mollify/nn/bounds/branch.h>

#include <mollify/engine/ops.h>
#include <mollify/nn/bounds/alpha_crown.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace mollify::nn::bounds {
namespace {

using formats::Case;
using formats::Halfspaces;

constexpr const char* kStages[] = {"guess", "attack", "bounds", "branch"};
constexpr int64_t kGuesses = 256;
constexpr double kOnALimit = 1e-12;
constexpr double kAttackShare = 0.05;  // of the time left: branching finds witnesses too

bool runs(const VerifyOptions& options, const std::string& stage) {
  return options.stages.empty() ||
         std::find(options.stages.begin(), options.stages.end(), stage) != options.stages.end();
}

void check(const Graph& graph, const formats::Property& property, const VerifyOptions& options) {
  require<TypeError>(graph.dtype() == DType::f64, "verify: the network is {}; needs f64", graph.dtype());
  const int64_t inputs = graph.nodes().front().shape.size(), outputs = graph.nodes().back().shape.size();
  require(inputs == property.inputs && outputs == property.outputs,
          "verify: the network has {} inputs and {} outputs, the property {} and {}; must be equal", inputs, outputs,
          property.inputs, property.outputs);
  for (const std::string& stage : options.stages)
    require<ValueError>(std::find(std::begin(kStages), std::end(kStages), stage) != std::end(kStages),
                        "verify: stage '{}' given; there are guess, attack, bounds, branch", stage);
}

Shape with_rows(const Shape& shape, int64_t rows) {
  Shape whole = shape;
  whole.insert(0, rows);
  return whole;
}

// Centre, and points drawn from the box.
Tensor guesses(const Graph& graph, const Region& region) {
  const Shape shape = with_rows(graph.nodes()[0].shape, kGuesses);
  const Tensor share =
      uniform(shape, {.seed = 0, .stream = 0}, Tensor::scalar(0, DType::i32), DType::f64, graph.device());
  const Tensor drawn = region.box.lower + (region.box.upper - region.box.lower) * share;
  return concat(std::array{(region.box.lower + region.box.upper) * 0.5, drawn});
}

Verdict attacked(Search& search, const Case& box, const Halfspaces& set, double seconds) {
  const std::vector<double> x = search.options.attack(box, set, seconds);
  if (x.empty()) return Verdict::unknown;
  const Halfspaces* one[] = {&set};
  const Tensor point = on_device_of(search.graph, x, with_rows(search.graph.nodes()[0].shape, 1));
  return search.witness_among(box, targets_of(search.graph, one), point, "attack") ? Verdict::sat : Verdict::unknown;
}

// The sets of a case that bounds of the whole box do not put out of reach, those furthest from it first.
std::vector<const Halfspaces*> left_by_bounds(Search& search, const Case& box,
                                              const std::vector<const Halfspaces*>& sets) {
  std::vector<const Halfspaces*> left = sets;
  std::vector<double> worst(sets.size(), 0);
  const Region region = region_of(search.graph, box);
  for (const Method method : {Method::ibp, Method::crown, Method::alpha_crown}) {
    if (left.empty() || search.out_of_time()) return left;
    const Targets targets = targets_of(search.graph, left);
    const Bounds bounds(search.graph, region,
                        {.method = method, .intersect = true, .roundoff = unit_roundoff(DType::f64)});
    const std::vector<double> lower = bounds.lower(targets.rows).to_vector<double>();
    std::vector<std::pair<double, const Halfspaces*>> open;
    for (size_t i = 0, first = 0; i < left.size(); first = static_cast<size_t>(targets.set_ends[i++])) {
      double best = -std::numeric_limits<double>::infinity();
      for (size_t k = first; k < static_cast<size_t>(targets.set_ends[i]); ++k)
        if (lower[k] - targets.limits[k] > best) best = lower[k] - targets.limits[k];
      if (!(best > 0)) open.push_back({best, left[i]});
    }
    std::stable_sort(open.begin(), open.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    left.clear();
    for (const auto& [bound, set] : open) left.push_back(set);
    search.outcome.worst = open.empty() ? 0 : open[0].first;
    search.report(to_string(method), static_cast<int64_t>(left.size()), search.outcome.worst);
  }
  return left;
}

Verdict branched(Search& search, const Case& box, const std::vector<const Halfspaces*>& sets) {
  int64_t wide = 0;
  for (size_t i = 0; i < box.lower.size(); ++i) wide += box.lower[i] < box.upper[i];
  if (wide <= search.options.max_split_inputs) return split_inputs(search, box, targets_of(search.graph, sets));
  for (const Halfspaces* set : sets) {
    const Halfspaces* one[] = {set};
    const Verdict verdict = split_relus(search, box, targets_of(search.graph, one));
    if (verdict != Verdict::unsat) return verdict;
  }
  return Verdict::unsat;
}

Verdict verify_case(Search& search, const Case& box) {
  const VerifyOptions& options = search.options;
  std::vector<const Halfspaces*> sets;
  for (const Halfspaces& set : box.unsafe) sets.push_back(&set);
  if (sets.empty()) return Verdict::unsat;
  // Every output is in a set without rows: its box is all that matters, and nothing could be shown about it.
  const bool any_output = std::any_of(sets.begin(), sets.end(), [](const Halfspaces* set) { return set->rows() == 0; });
  if (any_output && !search.witness_among(box, targets_of(search.graph, sets),
                                          guesses(search.graph, region_of(search.graph, box)), "guess")) {
    search.outcome.stage = "no witness was believed";
    return Verdict::unknown;
  }
  if (any_output) return Verdict::sat;
  if (runs(options, "guess") && search.witness_among(box, targets_of(search.graph, sets),
                                                     guesses(search.graph, region_of(search.graph, box)), "guess"))
    return Verdict::sat;
  if (runs(options, "bounds")) sets = left_by_bounds(search, box, sets);
  search.outcome.stage = "bounds";
  if (sets.empty()) return Verdict::unsat;
  if (runs(options, "attack") && options.attack) {
    const double each = kAttackShare * (options.seconds - search.seconds()) / static_cast<double>(sets.size());
    for (const Halfspaces* set : sets)
      if (!search.out_of_time() && attacked(search, box, *set, each) == Verdict::sat) return Verdict::sat;
  }
  if (search.out_of_time() || !runs(options, "branch")) {
    search.outcome.stage = search.out_of_time() ? "out of time" : "no stage left";
    return Verdict::unknown;
  }
  return branched(search, box, sets);
}

}  // namespace

std::string to_string(Verdict verdict) {
  return verdict == Verdict::unsat ? "unsat" : verdict == Verdict::sat ? "sat" : "unknown";
}

Targets targets_of(const Graph& graph, std::span<const Halfspaces* const> sets) {
  Targets targets;
  std::vector<double> coefficients;
  for (const Halfspaces* set : sets) {
    coefficients.insert(coefficients.end(), set->coefficients.begin(), set->coefficients.end());
    targets.limits.insert(targets.limits.end(), set->bounds.begin(), set->bounds.end());
    targets.set_ends.push_back(targets.count());
  }
  Shape shape = with_rows(graph.nodes().back().shape, targets.count());
  shape.insert(0, 1);
  targets.rows = on_device_of(graph, coefficients, shape);
  return targets;
}

double slack(const Targets& targets, const double* lower) {
  double least = std::numeric_limits<double>::infinity();
  int64_t k = 0;
  for (const int64_t end : targets.set_ends) {
    double most = -std::numeric_limits<double>::infinity();
    for (; k < end; ++k) {
      const double above = lower[k] - targets.limits[static_cast<size_t>(k)];
      if (above > most) most = above;
    }
    least = std::min(least, most);
  }
  return least;
}

Region region_of(const Graph& graph, const Case& box) {
  const Shape shape = with_rows(graph.nodes()[0].shape, 1);
  return {.box = {on_device_of(graph, box.lower, shape), on_device_of(graph, box.upper, shape)}};
}

Search::Search(const Graph& graph, const formats::Property& property, const VerifyOptions& options)
    : graph(graph), options(options), property_(property), start_(std::chrono::steady_clock::now()) {}

double Search::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Search::report(const std::string& stage, int64_t open, double worst) const {
  if (options.progress) options.progress({seconds(), stage, outcome.domains, open, worst});
}

// Whether some set's rows are at or below their limits at x in real arithmetic: by interval arithmetic that charges
// rounding. A share of 10⁻¹² of the limit and of the rows' terms is let pass, since a witness may lie on a limit.
bool Search::holds_with_rounding(const Targets& targets, const std::vector<double>& x,
                                 const std::vector<double>& output) const {
  const Tensor point = on_device_of(graph, x, with_rows(graph.nodes()[0].shape, 1));
  const Bounds bounds(graph, {.box = {point, point}}, {.method = Method::ibp, .roundoff = unit_roundoff(DType::f64)});
  const std::vector<double> upper = (-bounds.lower(-targets.rows)).to_vector<double>(),
                            rows = targets.rows.to_vector<double>();
  const auto holds = [&](int64_t k) {
    const double limit = targets.limits[static_cast<size_t>(k)];
    double terms = std::abs(limit);
    for (size_t j = 0; j < output.size(); ++j)
      terms += std::abs(rows[static_cast<size_t>(k) * output.size() + j] * output[j]);
    return upper[static_cast<size_t>(k)] - limit <= kOnALimit * terms;
  };
  int64_t k = 0;
  for (const int64_t end : targets.set_ends) {
    bool all = true;
    for (; k < end; ++k) all = all && holds(k);
    if (all) return true;
  }
  return false;
}

bool Search::convinces(const Targets& targets, const std::vector<double>& x) {
  const Tensor y = graph(on_device_of(graph, x, with_rows(graph.nodes()[0].shape, 1)));
  const std::vector<double> output = y.to_vector<double>();
  if (!formats::violates(property_, x, output) ||
      (options.replay && !formats::violates(property_, x, options.replay(x))))
    return false;
  if (!holds_with_rounding(targets, x, output)) return false;
  outcome.input = x;
  outcome.output = output;
  return true;
}

bool Search::witness_among(const Case& box, const Targets& targets, const Tensor& points, const std::string& stage) {
  const int64_t count = points.shape()[0], inputs = property_.inputs;
  if (count == 0) return false;
  const Tensor inside = minimum(maximum(reshape(points, {count, inputs}), on_device_of(graph, box.lower, {inputs})),
                                on_device_of(graph, box.upper, {inputs}));
  const std::vector<double> value = values(targets, inside).to_vector<double>(), x = inside.to_vector<double>();
  for (int64_t m = 0; m < count; ++m) {
    // Unsafe where some set has all rows at or below their limits; the replay decides, so a little more may pass here.
    if (slack(targets, value.data() + m * targets.count()) > 1e-9) continue;
    if (!convinces(targets, {x.begin() + m * inputs, x.begin() + (m + 1) * inputs})) continue;
    outcome.stage = stage;
    return true;
  }
  return false;
}

Tensor Search::values(const Targets& targets, const Tensor& flat) const {
  const int64_t count = flat.shape()[0];
  const Tensor y = reshape(graph(reshape(flat, with_rows(graph.nodes()[0].shape, count))), {count, property_.outputs});
  return matmul(y, transpose(reshape(targets.rows, {targets.count(), property_.outputs})));
}

Outcome verify(const Graph& graph, const formats::Property& property, const VerifyOptions& options) {
  check(graph, property, options);
  const NoGrad quiet;
  Search search(graph, property, options);
  Verdict verdict = Verdict::unsat;
  std::string undecided;
  for (const Case& box : property.cases) {
    const Verdict found = verify_case(search, box);
    if (found == Verdict::unknown) undecided = search.outcome.stage;
    if (found == Verdict::sat || (found == Verdict::unknown && verdict == Verdict::unsat)) verdict = found;
    if (verdict == Verdict::sat) break;
  }
  if (verdict == Verdict::unknown) search.outcome.stage = undecided;
  search.outcome.verdict = verdict;
  search.outcome.seconds = search.seconds();
  return search.outcome;
}

}  // namespace mollify::nn::bounds
