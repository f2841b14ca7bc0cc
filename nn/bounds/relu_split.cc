// Branch and bound over the signs of relus: β-CROWN (Wang et al. 2021).
//
// A split says z_j ≥ 0 or z_j ≤ 0 before a relu. On its side the relu is one line, and the constraint joins the rows
// with a multiplier β ≥ 0:
// A_j ← A_j − β_j for z_j ≥ 0, A_j ← A_j + β_j for z_j ≤ 0, which keeps a lower bound of the rows over the inputs that
// meet all splits.
// α and β are found together by gradients; any values of theirs are sound.
#include <mollify/nn/bounds/branch.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/nn/bounds/alpha_crown.h>
#include <mollify/nn/bounds/ascent.h>
#include <mollify/nn/bounds/starts.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

namespace mollify::nn::bounds {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Gradient ascent by Adam: a domain that will be split again, and one without a relu left, whose multipliers have a
// long way to go.
struct Pace { int64_t steps; double rate, decay; };
constexpr Pace kUsual{16, 0.1, 0.97}, kLast{200, 1, 0.975};
constexpr int64_t kRootSteps = 40;  // of α alone, for the whole box
constexpr int64_t kLooks = 20;      // neurons whose two halves are bounded before one is chosen
constexpr size_t kLookBatch = 32;   // domains whose halves are bounded together
constexpr int64_t kRowBudget = int64_t{1} << 20;

// A relu that can be split, and where its numbers lie in a domain: in `fixed` its input's lower and upper ends and the
// signs of splits, in `free` α and β of every row.
struct Gate {
  int node, input;
  int64_t size, fixed, free;
};

// Several domains: fixed [B, F], free [B, M].
struct Batch {
  Tensor fixed, free;
  int64_t size() const { return fixed.shape()[0]; }
};

struct Domain {
  std::vector<double> fixed, free;
  double slack;     // of its bounds, or of those of what it was split from
  size_t last = 0;  // gate of its last split: boxes behind it are to be found again
};

struct Choice { size_t gate; int64_t number; };

class ReluSplit {
 public:
  ReluSplit(Search& search, const formats::Case& box, const Targets& targets)
      : search_(search), graph_(search.graph), box_(box), targets_(targets), region_(region_of(search.graph, box)),
        root_(graph_, region_, {.method = Method::crown, .intersect = true, .roundoff = unit_roundoff(DType::f64)}) {}

  Verdict run();

 private:
  struct Bounded {
    std::vector<double> lower;  // [B, K]
    RowsSeen seen;              // on the CPU
  };

  void find_gates();
  Domain whole();
  Batch gathered(const std::vector<Domain>& domains) const;
  Tensor piece(const Tensor& all, int64_t first, const Gate& gate, int64_t rows) const;
  Substitute substitute(int node, const Batch& batch, const Tensor& free) const;
  Tensor lower(const Batch& batch, const Tensor& free, RowsSeen* seen = nullptr) const;
  Bounded improved(Batch& batch, const Pace& how) const;
  void refresh(Batch& batch, const std::vector<Domain>& domains) const;
  bool bound(std::vector<Domain>& domains, const Pace& how);
  std::vector<Choice> candidates(const Domain& domain, const RowsSeen& seen, int64_t sample, int64_t row) const;
  void branch(std::span<const Domain> open, std::span<const std::vector<Choice>> choices);
  Domain half(const Domain& domain, const Choice& choice, double sign) const;
  bool empty(const Domain& domain) const;
  Verdict undecided(const char* why) {
    search_.outcome.stage = why;
    return Verdict::unknown;
  }

  Search& search_;
  const Graph& graph_;
  const formats::Case& box_;
  const Targets& targets_;
  const Region region_;
  const Bounds root_;
  std::vector<Gate> gates_;
  int64_t fixed_size_ = 0, free_size_ = 0;
  Tensor highest_;  // of a domain's free numbers: 1 for α, none for β
  Waiting<Domain> waiting_;
  bool stuck_ = false;
};

void ReluSplit::find_gates() {
  const auto& nodes = graph_.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].rule || std::string_view(nodes[i].rule->operation) != "relu") continue;
    const int64_t size = nodes[i].shape.size();
    gates_.push_back({static_cast<int>(i), nodes[i].inputs[0], size, fixed_size_, free_size_});
    fixed_size_ += 3 * size;
    free_size_ += 2 * targets_.count() * size;
  }
  std::vector<double> highest;
  for (const Gate& gate : gates_)
    for (const double end : {1.0, kInfinity})
      highest.insert(highest.end(), static_cast<size_t>(targets_.count() * gate.size), end);
  highest_ = on_device_of(graph_, highest, {free_size_});
}

Domain ReluSplit::whole() {
  const AlphaBound start = alpha_crown(root_, targets_.rows, {.steps = kRootSteps, .learning_rate = 0.25});
  Domain domain{{}, {}, -kInfinity, gates_.size()};
  for (const Gate& gate : gates_) {
    const Box& box = root_.box(gate.input);
    for (const Tensor& part : {box.lower, box.upper, zeros_like(box.lower)}) {
      const std::vector<double> numbers = part.to_vector<double>();
      domain.fixed.insert(domain.fixed.end(), numbers.begin(), numbers.end());
    }
    const std::vector<double> alpha = start.alpha.at(gate.node).to_vector<double>();
    domain.free.insert(domain.free.end(), alpha.begin(), alpha.end());
    domain.free.insert(domain.free.end(), alpha.size(), 0.0);
  }
  return domain;
}

Batch ReluSplit::gathered(const std::vector<Domain>& domains) const {
  std::vector<double> fixed, free;
  for (const Domain& domain : domains) {
    fixed.insert(fixed.end(), domain.fixed.begin(), domain.fixed.end());
    free.insert(free.end(), domain.free.begin(), domain.free.end());
  }
  const auto count = static_cast<int64_t>(domains.size());
  return {on_device_of(graph_, fixed, {count, fixed_size_}), on_device_of(graph_, free, {count, free_size_})};
}

// [B, rows, d…] of the numbers from `first` on.
Tensor ReluSplit::piece(const Tensor& all, int64_t first, const Gate& gate, int64_t rows) const {
  Shape shape = graph_.nodes()[static_cast<size_t>(gate.node)].shape;
  shape.insert(0, rows);
  shape.insert(0, all.shape()[0]);
  return reshape(slice(all, 1, first, first + rows * gate.size), shape);
}

Substitute ReluSplit::substitute(int node, const Batch& batch, const Tensor& free) const {
  for (const Gate& gate : gates_) {
    if (gate.node != node) continue;
    const int64_t rows = targets_.count();
    const Box box{piece(batch.fixed, gate.fixed, gate, 1), piece(batch.fixed, gate.fixed + gate.size, gate, 1)};
    const Tensor sign = piece(batch.fixed, gate.fixed + 2 * gate.size, gate, 1);
    const Relaxation& rule = *graph_.nodes()[static_cast<size_t>(node)].rule;
    const TracedStep& step = graph_.step(node, 1);
    if (!free.defined())
      return {.lines = rule.lines(step, box, rule.alpha(step, box, LowerLine::adaptive), root_.options().roundoff)};
    return {.lines = rule.lines(step, box, piece(free, gate.free, gate, rows), root_.options().roundoff),
            .added = -sign * piece(free, gate.free + rows * gate.size, gate, rows)};
  }
  return substitute_for(graph_, node, root_.box(graph_.nodes()[static_cast<size_t>(node)].inputs[0]),
                        LowerLine::adaptive, {}, root_.options().roundoff);
}

Tensor ReluSplit::lower(const Batch& batch, const Tensor& free, RowsSeen* seen) const {
  return walk_to_input(
      graph_, {graph_.output(), targets_.rows}, region_, [&](int node) { return substitute(node, batch, free); },
      root_.magnitudes(), seen);
}

// Adam on all rows' bounds; every domain keeps the best α and β it had.
ReluSplit::Bounded ReluSplit::improved(Batch& batch, const Pace& how) const {
  Ascent ascent(batch.free, highest_);
  const Tensor &free = ascent.at(), limits = on_device_of(graph_, targets_.limits, {targets_.count()});
  Tensor best, best_free = batch.free, best_lower;
  for (int64_t step = 0; step <= how.steps; ++step) {
    Tensor found;
    const auto loss = [&](const Tensor& at) {
      const Tensor value = lower(batch, at);
      found = value.detach();
      return -sum(value);
    };
    const bool last = step == how.steps;
    const Tensor gradient = last ? (loss(free), Tensor()) : grad(loss)(free);
    const Tensor slack = max(found - limits, {1}, /*keep=*/true);
    if (!best.defined()) {
      best = slack;
      best_lower = found;
      best_free = packed(free + 0.0);
    } else {
      const Tensor better = greater(slack, best);
      best_lower = where(better, found, best_lower);
      best_free = where(better, free, best_free);
      best = where(better, slack, best);
    }
    if (last || min(best).item() > 0) break;
    ascent.step(gradient, how.rate * std::pow(how.decay, static_cast<double>(step)));
  }
  batch.free = best_free;
  Bounded result{best_lower.to_vector<double>(), {}};
  lower(batch, batch.free, &result.seen);
  for (auto& [node, rows] : result.seen) rows = to(rows, Device::cpu);
  return result;
}

// Boxes behind the last splits again, of what crosses 0, by walks with the splits' lines; they only shrink.
void ReluSplit::refresh(Batch& batch, const std::vector<Domain>& domains) const {
  std::vector<double> fixed = batch.fixed.to_vector<double>();
  const int64_t count = batch.size();
  for (size_t g = 0; g < gates_.size(); ++g) {
    const Gate& gate = gates_[g];
    if (graph_.nodes()[static_cast<size_t>(gate.input)].exact_box) continue;
    std::vector<int32_t> numbers;
    for (int64_t b = 0; b < count; ++b)
      for (int64_t j = 0; j < gate.size && domains[static_cast<size_t>(b)].last < g; ++j) {
        const double* at = fixed.data() + b * fixed_size_ + gate.fixed + j;
        if (at[0] < 0 && at[gate.size] > 0) numbers.push_back(static_cast<int32_t>(b * gate.size + j));
      }
    if (numbers.empty()) continue;
    const auto chunk = static_cast<size_t>(std::max<int64_t>(1, row_limit(graph_, gate.input, kRowBudget)));
    for (size_t begin = 0; begin < numbers.size(); begin += chunk) {
      const std::span<const int32_t> part = std::span(numbers).subspan(begin, std::min(chunk, numbers.size() - begin));
      const Tensor ends = walk_to_input(graph_, start_of_pairs(graph_, gate.input, part), region_,
                                        [&](int node) { return substitute(node, batch, {}); }, root_.magnitudes());
      const std::vector<double> found = ends.to_vector<double>();
      for (size_t i = 0; i < part.size(); ++i) {
        double* at = fixed.data() + part[i] / gate.size * fixed_size_ + gate.fixed + part[i] % gate.size;
        if (found[2 * i] > at[0]) at[0] = found[2 * i];
        if (-found[2 * i + 1] < at[gate.size]) at[gate.size] = -found[2 * i + 1];
      }
    }
    batch.fixed = on_device_of(graph_, fixed, {count, fixed_size_});
  }
}

// Whether some box is: then no input meets the splits.
bool ReluSplit::empty(const Domain& domain) const {
  for (const Gate& gate : gates_)
    for (int64_t j = 0; j < gate.size; ++j)
      if (domain.fixed[static_cast<size_t>(gate.fixed + j)] >
          domain.fixed[static_cast<size_t>(gate.fixed + gate.size + j)])
        return true;
  return false;
}

// Numbers whose lines cost the row's bound most: the upper line's intercept under negative coefficients, and half the
// lower line's largest distance from the relu under the others.
std::vector<Choice> ReluSplit::candidates(const Domain& domain, const RowsSeen& seen, int64_t sample,
                                          int64_t row) const {
  std::vector<std::pair<double, Choice>> scored;
  for (size_t g = 0; g < gates_.size(); ++g) {
    const Gate& gate = gates_[g];
    const auto rows = seen.find(gate.node);
    if (rows == seen.end()) continue;
    const int64_t samples = rows->second.shape()[0], count = rows->second.shape()[1];
    const Tensor values = packed(rows->second);
    const double* a = values.data<double>() + ((samples == 1 ? 0 : sample) * count + row) * gate.size;
    for (int64_t j = 0; j < gate.size; ++j) {
      const double l = domain.fixed[static_cast<size_t>(gate.fixed + j)],
                   u = domain.fixed[static_cast<size_t>(gate.fixed + gate.size + j)];
      if (!(l < 0 && u > 0)) continue;
      const double cost = a[j] < 0 ? a[j] * l * u / (u - l) : 0.5 * a[j] * std::min(-l, u);
      scored.push_back({cost, {g, j}});
    }
  }
  const auto first = scored.begin() + std::min<std::ptrdiff_t>(kLooks, static_cast<std::ptrdiff_t>(scored.size()));
  std::partial_sort(scored.begin(), first, scored.end(),
                    [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Choice> choices;
  for (auto it = scored.begin(); it != first; ++it) choices.push_back(it->second);
  return choices;
}

Domain ReluSplit::half(const Domain& domain, const Choice& choice, double sign) const {
  Domain result = domain;
  const Gate& gate = gates_[choice.gate];
  const auto at = static_cast<size_t>(gate.fixed + choice.number), size = static_cast<size_t>(gate.size);
  if (sign > 0) result.fixed[at] = std::max(0.0, result.fixed[at]);
  else result.fixed[at + size] = std::min(0.0, result.fixed[at + size]);
  result.fixed[at + 2 * size] = sign;
  result.last = choice.gate;
  return result;
}

// Bounds both halves of every candidate, splits where the lower of the two is highest, and queues the halves.
void ReluSplit::branch(std::span<const Domain> open, std::span<const std::vector<Choice>> choices) {
  std::vector<Domain> looks;
  for (size_t i = 0; i < open.size(); ++i)
    for (const Choice& choice : choices[i])
      for (const double sign : {1.0, -1.0}) looks.push_back(half(open[i], choice, sign));
  const Batch batch = gathered(looks);
  const std::vector<double> found = lower(batch, batch.free).to_vector<double>();
  size_t next = 0;
  for (size_t i = 0; i < open.size(); ++i) {
    size_t chosen = 0;
    double best = -kInfinity;
    const size_t begin = next;
    for (size_t c = 0; c < choices[i].size(); ++c, next += 2) {
      const auto slack_of = [&](size_t k) {
        return slack(targets_, found.data() + static_cast<int64_t>(k) * targets_.count());
      };
      const double a = slack_of(next), b = slack_of(next + 1),
                   both = std::min(a, b) + 0.1 * std::max(std::min(a, 0.0), std::min(b, 0.0));
      if (!(both > best)) continue;
      best = both;
      chosen = c;
    }
    for (size_t side = 0; side < 2; ++side) waiting_.push(std::move(looks[begin + 2 * chosen + side]));
  }
}

// True when the corner that a domain's rows point to is a witness.
bool ReluSplit::bound(std::vector<Domain>& domains, const Pace& how) {
  Batch batch = gathered(domains);
  refresh(batch, domains);
  const Bounded bounded = improved(batch, how);
  const std::vector<double> fixed = batch.fixed.to_vector<double>(), free = batch.free.to_vector<double>();
  const int64_t rows = targets_.count(), inputs = static_cast<int64_t>(box_.lower.size());
  search_.outcome.domains += batch.size();
  std::vector<Domain> open, last;
  std::vector<std::vector<Choice>> choices;
  std::vector<double> corners;
  double worst = kInfinity;
  const Tensor at_input = packed(bounded.seen.at(0));
  for (int64_t b = 0; b < batch.size(); ++b) {
    const double* lower = bounded.lower.data() + b * rows;
    Domain domain{{fixed.begin() + b * fixed_size_, fixed.begin() + (b + 1) * fixed_size_},
                  {free.begin() + b * free_size_, free.begin() + (b + 1) * free_size_},
                  slack(targets_, lower),
                  gates_.size()};
    if (domain.slack > 0 || empty(domain)) continue;
    worst = std::min(worst, domain.slack);
    int64_t row = 0;
    for (int64_t k = 1; k < rows; ++k)
      if (lower[k] - targets_.limits[static_cast<size_t>(k)] > lower[row] - targets_.limits[static_cast<size_t>(row)])
        row = k;
    const double* slopes = at_input.data<double>() + ((at_input.shape()[0] == 1 ? 0 : b) * rows + row) * inputs;
    for (int64_t j = 0; j < inputs; ++j)
      corners.push_back(slopes[j] >= 0 ? box_.lower[static_cast<size_t>(j)] : box_.upper[static_cast<size_t>(j)]);
    std::vector<Choice> own = candidates(domain, bounded.seen, b, row);
    if (own.empty()) {
      last.push_back(std::move(domain));
      continue;
    }
    open.push_back(std::move(domain));
    choices.push_back(std::move(own));
  }
  search_.outcome.worst = worst;
  Shape shape = graph_.nodes()[0].shape;
  shape.insert(0, static_cast<int64_t>(corners.size()) / inputs);
  if (search_.witness_among(box_, targets_, on_device_of(graph_, corners, shape), "relu splits")) return true;
  for (size_t first = 0; first < open.size(); first += kLookBatch) {
    const size_t count = std::min(kLookBatch, open.size() - first);
    branch(std::span(open).subspan(first, count), std::span(choices).subspan(first, count));
  }
  if (last.empty()) return false;
  stuck_ = how.steps == kLast.steps;
  return stuck_ ? false : bound(last, kLast);
}

Verdict ReluSplit::run() {
  find_gates();
  if (gates_.empty()) return undecided("no relu to split");
  waiting_.push(whole());
  const int64_t widest = std::max<int64_t>(free_size_, static_cast<int64_t>(box_.lower.size()) * targets_.count());
  const int64_t batch =
      search_.options.batch > 0 ? search_.options.batch : std::clamp<int64_t>((int64_t{1} << 19) / widest, 1, 512);
  const int64_t bytes = 8 * (fixed_size_ + free_size_) + 128;
  while (waiting_.size() > 0) {
    if (search_.out_of_time()) return undecided("out of time");
    if (waiting_.size() * bytes > search_.options.memory) return undecided("out of memory for domains");
    std::vector<Domain> domains = waiting_.take(batch);
    if (bound(domains, kUsual)) return Verdict::sat;
    if (stuck_) return undecided("a domain without relus to split is open");
    search_.report("relu splits", waiting_.size(), search_.outcome.worst);
  }
  search_.outcome.stage = "relu splits";
  return Verdict::unsat;
}

}  // namespace

Verdict split_relus(Search& search, const formats::Case& box, const Targets& targets) {
  return ReluSplit(search, box, targets).run();
}

}  // namespace mollify::nn::bounds
