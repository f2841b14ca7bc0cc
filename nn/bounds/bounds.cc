#include <mollify/nn/bounds/bounds.h>

#include <mollify/engine/precision.h>
#include <mollify/engine/recorder.h>
#include <mollify/nn/bounds/alpha_crown.h>
#include <mollify/nn/bounds/starts.h>
#include <mollify/nn/reading.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>

namespace mollify::nn::bounds {
namespace {

using Kind = Graph::Kind;

constexpr struct {
  const char* name;
  Method method;
} kMethods[] = {{"ibp", Method::ibp},     {"hbox", Method::hbox},
                {"deepz", Method::deepz}, {"crown-ibp", Method::crown_ibp},
                {"crown", Method::crown}, {"alpha-crown", Method::alpha_crown}};

// Operations that are one line on either side of 0.
bool bends_at_zero(const Relaxation* rule) {
  const std::string_view operation = rule ? rule->operation : "";
  return operation == "relu" || operation == "leaky_relu" || operation == "abs";
}

// A step that is captured was checked when it ran before: its values are those of every replay.
bool values_can_be_asked() { return Recorder::current() == nullptr; }
bool all_of(const Tensor& mask) { return mask.size() == 0 || min(cast(mask, DType::f32)).item() > 0; }

Region checked(Region region, const Graph& graph) {
  const Box& box = region.box;
  Shape expected = graph.nodes()[0].shape;
  require(box.lower.rank() == expected.rank() + 1,
          "bounds: the box's lower end is {}; needs {} with any number of rows", box.lower.shape(), expected);
  expected.insert(0, box.lower.shape()[0]);
  require(box.lower.shape() == expected && box.upper.shape() == expected,
          "bounds: the box's ends are {} and {}; needs {}", box.lower.shape(), box.upper.shape(), expected);
  require<TypeError>(box.lower.dtype() == graph.dtype() && box.upper.dtype() == graph.dtype(),
                     "bounds: the box is {}, the network {}; needs one dtype", box.lower.dtype(), graph.dtype());
  require<DeviceError>(box.lower.device() == graph.device() && box.upper.device() == graph.device(),
                       "bounds: the box is on {}, the network on {}; needs one device", box.lower.device(),
                       graph.device());
  if (values_can_be_asked())
    require<ValueError>(all_of(less_equal(box.lower.detach(), box.upper.detach())) &&
                            all_of(less(abs(box.upper - box.lower).detach(), Tensor::scalar(INFINITY, graph.dtype()))),
                        "bounds: the box has a lower end above its upper end, or one that is not finite");
  if (region.center.defined()) {
    require(
        region.center.shape() == expected && (region.radius.rank() == 0 || region.radius.shape() == Shape{expected[0]}),
        "bounds: the ball's center is {}, its radius {}; needs {} and one number, or one a row", region.center.shape(),
        region.radius.shape(), expected);
    if (values_can_be_asked())
      require<ValueError>(all_of(greater_equal(region.radius.detach(), Tensor::scalar(0, graph.dtype()))),
                          "bounds: the ball has a radius below 0 or NaN");
  }
  return region;
}

// The margins of rounding are those of IEEE's multiply-adds.
void check_precision(const Graph& graph, double roundoff) {
  const bool exact = graph.device() == Device::cpu || graph.dtype() == DType::f64 || precision() == Precision::fp32;
  require<ValueError>(roundoff == 0 || exact, "bounds: roundoff {} charged with precision {}; needs fp32, or no charge",
                      roundoff, to_string(precision()));
}

// The box and a ball's center, which may lie outside of it and is multiplied by rows too.
Box joined(const Box& box, const Tensor& center) { return {minimum(box.lower, center), maximum(box.upper, center)}; }

// Where a rule is one line over the box.
Tensor one_line(const Relaxation* rule, const Box& x) {
  if (!bends_at_zero(rule)) return zeros(x.lower.shape(), DType::u8, x.lower.device());
  const Tensor zero = Tensor::scalar(0, x.lower.dtype());
  return less_equal(minimum(-x.lower, x.upper), zero).detach();
}

// Hybrid boxes: one line where there is one, else the middle of the interval, around which the spread is.
Substitute hybrid(Substitute s, const Relaxation* rule, const Box& in, const Interval& out) {
  const Shape shape = s.lines.upper_slope.shape();
  const Tensor line = rule ? reshape(one_line(rule, in), shape) : zeros(shape, DType::u8, out.center.device());
  const Tensor middle = reshape(out.center, shape), zero = zeros_like(middle);
  const auto chosen = [&](const Tensor& kept, const Tensor& otherwise) {
    return where(line, kept.defined() ? kept : zero, otherwise);
  };
  s.lines = {chosen(s.lines.lower_slope, zero), chosen(s.lines.lower_intercept, middle),
             chosen(s.lines.upper_slope, zero), chosen(s.lines.upper_intercept, middle)};
  return s;
}

}  // namespace

Method method_named(const std::string& name) {
  std::string names;
  for (const auto& entry : kMethods) {
    if (name == entry.name) return entry.method;
    names += std::string(names.empty() ? "" : ", ") + entry.name;
  }
  throw ValueError(format("bounds: method '{}' given; there are {}", name, names));
}

std::string to_string(Method method) {
  for (const auto& entry : kMethods)
    if (entry.method == method) return entry.name;
  return "unknown";
}

double unit_roundoff(DType dtype) { return dtype == DType::f32 ? 0x1p-24 : 0x1p-53; }

Box ball(const Tensor& x, double epsilon, double low, double high, bool outward) {
  require<ValueError>(epsilon >= 0, "ball: radius {}; needs at least 0", epsilon);
  return ball(x, Tensor::scalar(epsilon, x.dtype()), low, high, outward);
}

Box ball(const Tensor& x, const Tensor& epsilon, double low, double high, bool outward) {
  require<ValueError>(low <= high, "ball: range from {} to {}; needs low ≤ high", low, high);
  Box box{x - epsilon, x + epsilon};
  if (outward) {
    const double unit = 4 * unit_roundoff(x.dtype());  // of ε as a number of the dtype, and of the sum
    const Tensor rounding = (abs(x) + epsilon) * unit + smallest_normal(x.dtype());
    box = {box.lower - rounding, box.upper + rounding};
  }
  return {clip(box.lower, low, high), clip(box.upper, low, high)};
}

Tensor margin_rows(const Tensor& labels, int64_t classes, DType dtype) {
  require(labels.rank() == 1 && classes >= 2,
          "margin_rows: labels are {}, {} classes; needs one label a row and at least 2 classes", labels.shape(),
          classes);
  // The j-th other class is j below the label, and j + 1 from it on.
  const Tensor j = arange(classes - 1, DType::f64, labels.device()), own = reshape(labels, {labels.size(), 1});
  const Tensor other = cast(j + cast(greater_equal(j, cast(own, DType::f64)), DType::f64), DType::i32);
  return reshape(one_hot(labels, classes, dtype), {labels.size(), 1, classes}) - one_hot(other, classes, dtype);
}

Bounds::Bounds(const Graph& graph, Region region, Options options)
    : graph_(graph), region_(checked(std::move(region), graph)), options_(options) {
  check_precision(graph, options_.roundoff);
  const size_t count = graph.nodes().size();
  boxes_.resize(count);
  intervals_.resize(count);
  spreads_.resize(count);
  magnitudes_.roundoff = options_.roundoff;
  for (size_t node = 0; node < count; ++node) find_box(static_cast<int>(node));
}

// Interval arithmetic for every node, and in its place, or joined with it, walks back for the inputs of rules.
void Bounds::find_box(int node) {
  const Graph::Node& n = graph_.nodes()[static_cast<size_t>(node)];
  Box& box = boxes_[static_cast<size_t>(node)];
  Interval& interval = intervals_[static_cast<size_t>(node)];
  if (n.kind == Kind::linear) {
    std::vector<Interval> inputs;
    for (const int input : n.inputs)
      if (input >= 0) inputs.push_back(intervals_[static_cast<size_t>(input)]);
    interval = through_linear(graph_, node, inputs, options_.roundoff);
  } else {
    const Box& in = boxes_[static_cast<size_t>(std::max(0, n.inputs.empty() ? 0 : n.inputs[0]))];
    const TracedStep* step = node > 0 ? &graph_.step(node, region_.rows()) : nullptr;
    box = node == 0 ? region_.box
          : n.rule  ? n.rule->interval(*step, in, options_.roundoff)
                    : through_max_pool(*step, in);
    interval = interval_of(box, options_.roundoff);
  }
  magnitudes_.add(graph_, node, node == 0 && region_.center.defined() ? joined(box, region_.center) : box);
  if (options_.method == Method::hbox) find_spread(node);
  if (n.kind != Kind::linear || !n.bounded) return;
  box = box_of(interval, options_.roundoff);
  if (!walks_for(node)) return;
  const Box walked = box_by_rows(node);
  box = options_.intersect ? Box{maximum(box.lower, walked.lower), minimum(box.upper, walked.upper)} : walked;
  if (options_.intersect) interval = interval_of(box, options_.roundoff);
}

bool Bounds::walks_for(int node) const {
  if (graph_.nodes()[static_cast<size_t>(node)].exact_box) return region_.center.defined();
  return walks_boxes(options_.method);
}

// u8 [N, size]: where the node's interval has a kink inside; empty where a rule of its is not straight on both sides of
// one.
Tensor Bounds::crossing(int node) const {
  for (const Graph::Node& n : graph_.nodes())
    if (n.kind != Kind::linear && !n.inputs.empty() && n.inputs[0] == node && !bends_at_zero(n.rule)) return {};
  const Box& box = boxes_[static_cast<size_t>(node)];
  const Tensor zero = Tensor::scalar(0, graph_.dtype());
  return flatten(less(maximum(box.lower, -box.upper).detach(), zero), 1);
}

// Numbers that do not cross keep their interval. Either the host asks which do, or all have rows.
Box Bounds::box_by_rows(int node) const {
  const Box& interval = boxes_[static_cast<size_t>(node)];
  const Tensor crosses = options_.skip_stable ? crossing(node) : Tensor();
  if (crosses.defined() && options_.read_stable.value_or(!interval.lower.needs_grad()))
    return box_of_crossing(node, crosses);
  const Box walked =
      graph_.nodes()[static_cast<size_t>(node)].shape.rank() == 3 ? box_of_all_pairs(node) : box_of_all_rows(node);
  if (!crosses.defined()) return walked;
  const Tensor chosen = reshape(crosses, interval.lower.shape());
  return {where(chosen, walked.lower, interval.lower), where(chosen, walked.upper, interval.upper)};
}

// The same rows for all samples.
Box Bounds::box_of_all_rows(int node) const {
  const Shape& shape = graph_.nodes()[static_cast<size_t>(node)].shape;
  const int64_t size = shape.size(), samples = region_.rows(),
                chunk = std::clamp<int64_t>(row_limit(graph_, node, row_budget()) / samples, 1, size);
  const Tensor numbers = numbers_below(size, graph_.device());
  std::vector<Tensor> lower, upper;
  for (int64_t first = 0; first < size; first += chunk) {
    const int64_t rows = std::min(chunk, size - first);
    const Tensor ends = lower_at({node, rows_of_numbers(numbers, first, first + rows, shape, graph_.dtype())});
    lower.push_back(slice(ends, 1, 0, rows));
    upper.push_back(-slice(ends, 1, rows, 2 * rows));
  }
  Shape whole = shape;
  whole.insert(0, samples);
  return {reshape(concat(lower, 1), whole), reshape(concat(upper, 1), whole)};
}

// Lower and negated upper ends [count, 2] of some numbers, flat over all samples, rising.
Tensor Bounds::ends_of(int node, std::span<const int32_t> numbers) const {
  const auto count = static_cast<int64_t>(numbers.size()),
             chunk = std::clamp<int64_t>(row_limit(graph_, node, row_budget()), 1, count);
  std::vector<Tensor> found;
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t some = std::min(chunk, count - first);
    const auto part = numbers.subspan(static_cast<size_t>(first), static_cast<size_t>(some));
    found.push_back(reshape(lower_at(start_of_pairs(graph_, node, part)), {some, 2}));
  }
  return concat(found);
}

Box Bounds::box_of_all_pairs(int node) const {
  const Shape& shape = boxes_[static_cast<size_t>(node)].lower.shape();
  std::vector<int32_t> numbers(static_cast<size_t>(shape.size()));
  std::iota(numbers.begin(), numbers.end(), 0);
  const Tensor ends = ends_of(node, numbers);
  return {reshape(slice(ends, 1, 0, 1), shape), reshape(-slice(ends, 1, 1, 2), shape)};
}

// Of each sample its own.
Box Bounds::box_of_crossing(int node, const Tensor& crosses) const {
  const std::vector<uint8_t> mask = crosses.to_vector<uint8_t>();
  std::vector<int32_t> numbers;
  for (size_t i = 0; i < mask.size(); ++i)
    if (mask[i]) numbers.push_back(static_cast<int32_t>(i));
  const Box& interval = boxes_[static_cast<size_t>(node)];
  if (numbers.empty()) return interval;
  const auto count = static_cast<int64_t>(numbers.size());
  const Tensor ends = ends_of(node, numbers), places = to(Tensor::from(numbers, {count}), graph_.device());
  const auto joined = [&](const Tensor& values, const Tensor& otherwise) {
    const Tensor laid = scatter_add({static_cast<int64_t>(mask.size())}, places, reshape(values, {count}), 0);
    return where(reshape(crosses, otherwise.shape()), reshape(laid, otherwise.shape()), otherwise);
  };
  return {joined(slice(ends, 1, 0, 1), interval.lower), joined(-slice(ends, 1, 1, 2), interval.upper)};
}

int64_t Bounds::row_budget() const {
  if (options_.row_budget > 0) return options_.row_budget;
  return int64_t{1} << (graph_.device() == Device::cpu ? 21 : 26);
}

Substitute Bounds::substitute(int node) const {
  const auto known = substitutes_.find(node);
  if (known != substitutes_.end()) return known->second;
  const Graph::Node& n = graph_.nodes()[static_cast<size_t>(node)];
  const Box& in = boxes_[static_cast<size_t>(n.inputs[0])];
  const LowerLine lower_line = options_.method == Method::deepz ? LowerLine::same : options_.lower_line;
  Substitute s = substitute_for(graph_, node, in, lower_line, {}, options_.roundoff);
  if (options_.method == Method::hbox) s = hybrid(s, n.rule, in, intervals_[static_cast<size_t>(node)]);
  return substitutes_.emplace(node, std::move(s)).first->second;
}

// β of hybrid boxes: through |W| where the node is linear; through a rule's one line, or anew where there is more than
// one.
void Bounds::find_spread(int node) {
  const Graph::Node& n = graph_.nodes()[static_cast<size_t>(node)];
  Tensor& spread = spreads_[static_cast<size_t>(node)];
  const auto of_input = [&](size_t i) {
    return n.inputs[i] < 0 ? Tensor() : spreads_[static_cast<size_t>(n.inputs[i])];
  };
  if (n.kind == Kind::linear) {
    const TracedStep& step = graph_.step(node, region_.rows());
    Tensors in(n.inputs.size());
    bool any = false;
    for (size_t i = 0; i < in.size(); ++i) {
      any = any || of_input(i).defined();
      in[i] = n.inputs[i] < 0         ? step.in()[i]
              : of_input(i).defined() ? of_input(i)
                                      : zeros(step.in()[i].shape(), graph_.dtype(), graph_.device());
    }
    if (!any) return;
    spread = linear_spread(step, in, Spread::radius)[0];
    if (options_.roundoff == 0) return;
    const double roundings = graph_.roundings(node) + 4;
    spread =
        spread * (1 + 2 * rounding_share(roundings, options_.roundoff)) + roundings * smallest_normal(graph_.dtype());
  } else if (node > 0) {
    spread = intervals_[static_cast<size_t>(node)].radius;
    if (!bends_at_zero(n.rule)) return;
    const Tensor kept = of_input(0).defined() ? abs(reshape(substitute(node).lines.upper_slope, spread.shape())) *
                                                    of_input(0) * (1 + 4 * options_.roundoff)
                                              : zeros_like(spread);
    spread = where(one_line(n.rule, boxes_[static_cast<size_t>(n.inputs[0])]), kept, spread);
  }
}

Tensor Bounds::lower_at(const Start& start, RowsSeen* seen) const {
  const Tensor walked = walk_to_input(
      graph_, start, region_, [&](int ruled) { return substitute(ruled); }, magnitudes_, seen);
  if (options_.method != Method::hbox) return walked;
  std::vector<Box> spreads(boxes_.size());
  for (size_t i = 0; i < spreads.size(); ++i) {
    const Tensor spread = spreads_[i].defined() ? spreads_[i] : i == 0 ? zeros_like(region_.box.lower) : Tensor();
    if (spread.defined()) spreads[i] = {-spread, spread};
  }
  return walked + walk_to_rules(graph_, start, spreads, /*offsets=*/false, magnitudes_);
}

Tensor Bounds::lower(const Tensor& rows, RowsSeen* seen) const {
  const Shape& output = graph_.nodes().back().shape;
  require(rows.rank() == output.rank() + 2 && (rows.shape()[0] == 1 || rows.shape()[0] == region_.rows()) &&
              rows.size() == rows.shape()[0] * rows.shape()[1] * output.size(),
          "bounds: rows are {}; needs [1 or {}, any, …] with {} last", rows.shape(), region_.rows(), output);
  check_precision(graph_, options_.roundoff);
  switch (options_.method) {
    case Method::ibp: return walk_to_rules(graph_, {graph_.output(), rows}, boxes_, /*offsets=*/true, magnitudes_);
    case Method::alpha_crown: return alpha_crown(*this, rows, options_.alpha).lower;
    default: return lower_at({graph_.output(), rows}, seen);
  }
}

Box Bounds::output() const {
  const Shape& output = graph_.nodes().back().shape;
  const Tensor ends = lower(identity_rows(output, graph_.dtype(), graph_.device()));
  Shape shape = output;
  shape.insert(0, region_.rows());
  const int64_t size = output.size();
  return {reshape(slice(ends, 1, 0, size), shape), reshape(-slice(ends, 1, size, 2 * size), shape)};
}

}  // namespace mollify::nn::bounds
