#include <mollify/nn/bounds/walk.h>

#include <mollify/engine/ops.h>

namespace mollify::nn::bounds {
namespace {

using Kind = Graph::Kind;

// [N, …] to [N, 1, …].
Tensor with_row_axis(const Tensor& x) {
  Shape shape = x.shape();
  shape.insert(1, 1);
  return reshape(x, shape);
}

// Roundings on the way of a term through one node's sums: its own, choose_sum's, and the additions to rows and to the constant.
double terms_on_the_way(const Graph& graph, int node) {
  const Graph::Node& n = graph.nodes()[static_cast<size_t>(node)];
  return n.terms + static_cast<double>(n.shape.size()) / 8 + 24 + 2 * static_cast<double>(graph.nodes().size());
}

class Walk {
 public:
  Walk(const Graph& graph, const Start& start, const Magnitudes& magnitudes)
      : graph_(graph), magnitudes_(magnitudes), rows_(graph.nodes().size()), pairs_(start.pairs) {
    add_rows(start.node, start.rows);
  }

  Tensor& rows(int node) { return rows_[static_cast<size_t>(node)]; }
  void add_rows(int node, const Tensor& more) {
    Tensor& rows = rows_[static_cast<size_t>(node)];
    rows = rows.defined() ? rows + more : more;
  }
  void add_constant(const Tensor& more) { constant_ = constant_.defined() ? constant_ + more : more; }

  // x with its share of rounding taken away (sign −1) or added: [N, 1, …].
  Tensor widened(int node, const Tensor& x, int sign) const {
    if (magnitudes_.roundoff == 0) return with_row_axis(x);
    const double share = sign * rounding_share(terms_on_the_way(graph_, node), magnitudes_.roundoff);
    return with_row_axis(x + magnitudes_.of[static_cast<size_t>(node)] * share);
  }

  void through_linear(int node, bool offsets) {
    const Graph::Node& n = graph_.nodes()[static_cast<size_t>(node)];
    const Tensor a = std::move(rows(node));
    const int64_t samples = a.shape()[0], count = a.shape()[1];
    Tensor offset = offsets ? graph_.offset(node) : Tensor();
    if (magnitudes_.roundoff != 0 && !offset.defined()) offset = zeros_like(magnitudes_.of[static_cast<size_t>(node)]);
    if (offset.defined()) add_constant(choose_sum(a, widened(node, offset, -1), widened(node, offset, 1), pairs_));
    const Step& step = graph_.step(node, samples * count);
    const Tensor g = reshape(a, step.outputs[0].shape());
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      if (n.inputs[i] < 0) continue;
      Shape shape = graph_.nodes()[static_cast<size_t>(n.inputs[i])].shape;
      shape.insert(0, count);
      shape.insert(0, samples);
      add_rows(n.inputs[i], reshape(pull_back(step, step.in(), i, g), shape));
    }
  }

  void through_rule(int node, const Substitute& s) {
    const int input = graph_.nodes()[static_cast<size_t>(node)].inputs[0];
    const Tensor a = std::move(rows(node));
    Lines lines = s.lines;
    if (magnitudes_.roundoff != 0) lines = charged(node, largest_input(node, input, s.indices.defined()), lines);
    const Relaxed relaxed = relax(a, lines.lower_slope, lines.upper_slope, lines.lower_intercept, lines.upper_intercept, pairs_);
    if (pairs_.source.defined()) stop_sharing();
    add_constant(relaxed.constant);
    add_rows(input, s.indices.defined() ? scattered(relaxed.rows, s.indices, input) : relaxed.rows);
    if (s.added.defined()) add_rows(input, s.added);
  }

  Tensor concretized(const Region& region) {
    const Tensor& a = rows(0);
    const Tensor least = choose_sum(a, widened(0, region.box.lower, -1), widened(0, region.box.upper, 1), pairs_);
    if (!region.center.defined()) return least;
    const Tensor center = choose_sum(a, widened(0, region.center, -1), widened(0, region.center, 1), pairs_);
    const double share = rounding_share(terms_on_the_way(graph_, 0), magnitudes_.roundoff);
    Tensor norm = sqrt(sum(square(flatten(a, 2)), {-1})) * (1 + share);
    if (pairs_.source.defined()) norm = take(norm, pairs_.source, 1);
    const Tensor radius = region.radius.rank() == 0 ? region.radius : of_each(reshape(region.radius, {region.rows(), 1}));
    return maximum(least, center - norm * radius);
  }

  Tensor box_sum(int node, const Box& box) const {
    return choose_sum(rows_[static_cast<size_t>(node)], widened(node, box.lower, -1), widened(node, box.upper, 1), pairs_);
  }

  Tensor constant() const { return magnitudes_.roundoff != 0 ? constant_ - of_each(magnitudes_.underflow) : constant_; }

 private:
  // One number a sample, [N or 1, 1], as the constants are laid out.
  Tensor of_each(const Tensor& x) const {
    if (pairs_.all() || x.shape()[0] == 1) return x;
    return reshape(take(x, pairs_.sample, 0), {1, pairs_.sample.size()});
  }

  // From a rule on every pair has its own rows; those that wait at other nodes get theirs too.
  void stop_sharing() {
    for (Tensor& rows : rows_)
      if (rows.defined()) rows = take(rows, pairs_.source, 1);
    pairs_.source = Tensor();
  }

  // fl(a·slope) is within u|a||slope| of the product, and a·intercept has its share of the sum's rounding.
  Lines charged(int node, const Tensor& input, const Lines& lines) const {
    const Tensor x = with_row_axis(input);
    const double share = rounding_share(terms_on_the_way(graph_, node), magnitudes_.roundoff);
    const auto charge = [&](const Tensor& slope, const Tensor& intercept) {
      const Tensor of_slope = abs(slope) * x * share;
      return intercept.defined() ? of_slope + abs(intercept) * share : of_slope;
    };
    const Tensor lower = charge(lines.lower_slope, lines.lower_intercept);
    return {lines.lower_slope, lines.lower_intercept.defined() ? lines.lower_intercept - lower : -lower, lines.upper_slope,
            lines.upper_intercept + charge(lines.upper_slope, lines.upper_intercept)};
  }

  // Bounds what each line is of: of max pooling anything in the window.
  Tensor largest_input(int node, int input, bool pooled) const {
    const Tensor& of = magnitudes_.of[static_cast<size_t>(input)];
    return pooled ? max_pool2d(of, graph_.step(node, 1).node().attributes.as<Pool2d>()) : of;
  }

  // Max pooling's rows to the places in the image that its lines are of.
  Tensor scattered(const Tensor& rows, const Tensor& indices, int input) const {
    const int64_t samples = rows.shape()[0], count = rows.shape()[1], outputs = rows.size() / std::max<int64_t>(1, samples * count);
    const Shape& image = graph_.nodes()[static_cast<size_t>(input)].shape;
    const Tensor own = pairs_.all() ? indices : take(indices, pairs_.sample, 0);
    const Shape each = pairs_.all() ? Shape{samples, 1, outputs} : Shape{1, count, outputs};
    const Tensor places = expand(reshape(own, each), {samples, count, outputs});
    const Tensor flat = scatter_add({samples, count, image.size()}, places, reshape(rows, {samples, count, outputs}), -1);
    Shape shape = image;
    shape.insert(0, count);
    shape.insert(0, samples);
    return reshape(flat, shape);
  }

  const Graph& graph_;
  const Magnitudes& magnitudes_;
  std::vector<Tensor> rows_;
  Pairs pairs_;  // with a source while rows are shared
  Tensor constant_;
};

}  // namespace

void Magnitudes::add(const Graph& graph, int node, const Box& box) {
  if (roundoff == 0) return;
  const Graph::Node& n = graph.nodes()[static_cast<size_t>(node)];
  if (n.kind == Kind::linear) {
    std::vector<Tensor> inputs;
    for (const int input : n.inputs)
      if (input >= 0) inputs.push_back(of[static_cast<size_t>(input)]);
    of.push_back(magnitude_through_linear(graph, node, inputs, roundoff));
  } else {
    of.push_back(magnitude_of(box));
  }
  const double share = 4 * smallest_normal(graph.dtype()) * terms_on_the_way(graph, node);
  const Tensor most = sum(flatten(of.back() + 1.0, 1), {-1}, /*keep=*/true) * share;
  underflow = underflow.defined() ? underflow + most : most;
}

Tensor walk_to_input(const Graph& graph, const Start& start, const Region& region, const std::function<Substitute(int node)>& substitute,
                     const Magnitudes& magnitudes, RowsSeen* seen) {
  Walk walk(graph, start, magnitudes);
  for (int node = start.node; node > 0; --node) {
    if (!walk.rows(node).defined()) continue;
    const bool linear = graph.nodes()[static_cast<size_t>(node)].kind == Kind::linear;
    if (seen && !linear) (*seen)[node] = walk.rows(node);
    if (linear) walk.through_linear(node, /*offsets=*/true);
    else walk.through_rule(node, substitute(node));
  }
  if (seen) (*seen)[0] = walk.rows(0);
  walk.add_constant(walk.concretized(region));
  return walk.constant();
}

Tensor walk_to_rules(const Graph& graph, const Start& start, const std::vector<Box>& boxes, bool offsets, const Magnitudes& magnitudes) {
  Walk walk(graph, start, magnitudes);
  for (int node = start.node; node >= 0; --node) {
    if (!walk.rows(node).defined()) continue;
    if (graph.nodes()[static_cast<size_t>(node)].kind == Kind::linear) walk.through_linear(node, offsets);
    else walk.add_constant(walk.box_sum(node, boxes[static_cast<size_t>(node)]));
  }
  return walk.constant();
}

}  // namespace mollify::nn::bounds
