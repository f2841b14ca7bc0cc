#include <mollify/nn/bounds/walk.h>

#include <mollify/nn/reading.h>

#include <optional>

namespace mollify::nn::bounds {
namespace {

using Kind = Graph::Kind;

// Roundings on the way of a term through one node's sums: its own, choose_sum's, and the additions to rows and to the
// constant.
double terms_on_the_way(const Graph& graph, int node) {
  const Graph::Node& n = graph.nodes()[static_cast<size_t>(node)];
  const double window = n.shape.rank() == 3 ? static_cast<double>(n.shape[0]) : 0;
  return graph.roundings(node) + static_cast<double>(n.shape.size()) / 8 + window + 24 +
         2 * static_cast<double>(graph.nodes().size());
}

// A convolution's or a pooling's step back on windows: no padding, so that they grow.
struct LocalStep {
  Tensor rows;
  int64_t stride_height, stride_width, before_height, before_width;
};

LocalStep conv2d_back(const TracedStep& step, const Tensor& g) {
  Conv2d how = step.node().attributes.as<Conv2d>();
  const Tensor& w = step.in()[1];
  const LocalStep back{{}, how.stride_height, how.stride_width, how.pad_top, how.pad_left};
  how.pad_top = how.pad_bottom = how.pad_left = how.pad_right = 0;
  const int64_t height = (g.dim(1) - 1) * how.stride_height + (w.dim(1) - 1) * how.dilation_height + 1;
  const int64_t width = (g.dim(2) - 1) * how.stride_width + (w.dim(2) - 1) * how.dilation_width + 1;
  return {conv2d_input_gradient(g, w, height, width, how), back.stride_height, back.stride_width, back.before_height,
          back.before_width};
}

LocalStep average_pool2d_back(const TracedStep& step, const Tensor& g) {
  Pool2d how = step.node().attributes.as<Pool2d>();
  const LocalStep back{{}, how.stride_height, how.stride_width, how.pad_top, how.pad_left};
  how.pad_top = how.pad_bottom = how.pad_left = how.pad_right = 0;
  const int64_t height = (g.dim(1) - 1) * how.stride_height + how.kernel_height,
                width = (g.dim(2) - 1) * how.stride_width + how.kernel_width;
  return {average_pool2d_gradient(g, height, width, how), back.stride_height, back.stride_width, back.before_height,
          back.before_width};
}

class Walk {
 public:
  Walk(const Graph& graph, const Start& start, const Magnitudes& magnitudes)
      : graph_(graph),
        magnitudes_(magnitudes),
        start_(start.node),
        rows_(graph.nodes().size()),
        windows_(graph.nodes().size()),
        pairs_(start.pairs) {
    rows(start.node) = start.rows;
    if (pairs_.place.defined()) windows_[static_cast<size_t>(start.node)] = Window{};
  }

  Tensor& rows(int node) { return rows_[static_cast<size_t>(node)]; }
  void add_rows(int node, const Tensor& more, const std::optional<Window>& window = {}) {
    Tensor& known = rows(node);
    std::optional<Window>& known_window = windows_[static_cast<size_t>(node)];
    if (!known.defined()) {
      known = more;
      known_window = window;
    } else if (window == known_window && known.shape() == more.shape()) {
      known = known + more;
    } else {
      const Tensor source = window || known_window ? pairs_.source : Tensor();
      if (source.defined()) stop_sharing();
      const Tensor own = counted(more, source);
      widen(node);
      known = known + (window ? widened_rows(node, own, *window) : own);
    }
  }
  void add_constant(const Tensor& more) { constant_ = constant_.defined() ? constant_ + more : more; }

  // x with its share of rounding taken away (sign −1) or added: [N, 1, …].
  Tensor widened(int node, const Tensor& x, int sign) const {
    if (magnitudes_.roundoff == 0) return with_row_axis(x);
    const double share = sign * rounding_share(terms_on_the_way(graph_, node), magnitudes_.roundoff);
    return with_row_axis(x + magnitudes_.of[static_cast<size_t>(node)] * share);
  }

  void through_linear(int node, bool offsets) {
    Tensor offset = offsets ? graph_.offset(node) : Tensor();
    if (magnitudes_.roundoff != 0 && !offset.defined()) offset = zeros_like(magnitudes_.of[static_cast<size_t>(node)]);
    if (offset.defined())
      add_constant(choose_sum(rows(node), widened(node, offset, -1), widened(node, offset, 1), pairs_, window(node)));
    if (window(node) && !stays_local(node)) widen(node);
    const Graph::Node& n = graph_.nodes()[static_cast<size_t>(node)];
    const Tensor a = std::move(rows(node));
    if (window(node)) return through_local(node, a);
    const int64_t samples = a.shape()[0], count = a.shape()[1];
    const TracedStep& step = graph_.step(node, 1);
    Shape folded = n.shape;
    folded.insert(0, samples * count);
    const Tensor g = reshape(a, folded), source = pairs_.source;
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      if (n.inputs[i] < 0) continue;
      Shape shape = graph_.nodes()[static_cast<size_t>(n.inputs[i])].shape;
      shape.insert(0, count);
      shape.insert(0, samples);
      add_rows(n.inputs[i], counted(reshape(pull_back_rows(step, i, g), shape), source));
    }
  }

  void through_rule(int node, const Substitute& s) {
    const int input = graph_.nodes()[static_cast<size_t>(node)].inputs[0];
    if (window(node) && s.indices.defined()) widen(node);
    const Tensor a = std::move(rows(node));
    Lines lines = s.lines;
    if (magnitudes_.roundoff != 0) lines = charged(node, magnitude_of_lines(input, s.indices), lines);
    const Relaxed relaxed = relax(a, lines.lower_slope, lines.upper_slope, lines.lower_intercept, lines.upper_intercept,
                                  pairs_, window(node));
    stop_sharing();
    add_constant(relaxed.constant);
    add_rows(input, s.indices.defined() ? scattered(relaxed.rows, s.indices, input) : relaxed.rows,
             windows_[static_cast<size_t>(node)]);
    if (s.added.defined()) add_rows(input, s.added);
  }

  Tensor concretized(const Region& region) {
    if (window(0) && region.center.defined()) widen(0);
    const Tensor& a = rows(0);
    const Tensor least = box_sum(0, region.box);
    if (!region.center.defined()) return least;
    const Tensor center = choose_sum(a, widened(0, region.center, -1), widened(0, region.center, 1), pairs_);
    const double share =
        magnitudes_.roundoff == 0 ? 0 : rounding_share(terms_on_the_way(graph_, 0), magnitudes_.roundoff);
    Tensor norm = sqrt(sum(square(flatten(a, 2)), {-1})) * (1 + share);
    if (pairs_.source.defined()) norm = take(norm, pairs_.source, 1);
    const Tensor radius =
        region.radius.rank() == 0 ? region.radius : of_each(reshape(region.radius, {region.rows(), 1}));
    return maximum(least, center - norm * radius);
  }

  Tensor box_sum(int node, const Box& box) const {
    return choose_sum(rows_[static_cast<size_t>(node)], widened(node, box.lower, -1), widened(node, box.upper, 1),
                      pairs_, window(node));
  }

  Tensor constant() const { return magnitudes_.roundoff != 0 ? constant_ - of_each(magnitudes_.underflow) : constant_; }

 private:
  // One number a sample, [N or 1, 1], as the constants are laid out.
  Tensor of_each(const Tensor& x) const {
    if (pairs_.all() || x.shape()[0] == 1) return x;
    return reshape(take(x, pairs_.sample, 0), {1, pairs_.sample.size()});
  }

  const Window* window(int node) const {
    const std::optional<Window>& of = windows_[static_cast<size_t>(node)];
    return of ? &*of : nullptr;
  }

  // Convolutions, average pooling, and elementwise operations with one number a channel, while windows are smaller than
  // the image.
  bool stays_local(int node) const {
    const TracedStep& step = graph_.step(node, 1);
    const bool elementwise =
        is(step, "add") || is(step, "subtract") || is(step, "multiply") || is(step, "divide") || is(step, "negative");
    if (!elementwise && !is(step, "conv2d") && !is(step, "average_pool2d")) return false;
    for (const Tensor& x : step.in())
      if (elementwise &&
          (is_abstract(x) ? !(x.shape() == step.outputs[0].shape()) : x.size() > 1 && x.size() != x.shape().back()))
        return false;
    const Shape &rows = rows_[static_cast<size_t>(node)].shape(),
                &image = graph_.nodes()[static_cast<size_t>(node)].shape;
    return rows[2] < image[0] || rows[3] < image[1];
  }

  // Whether some pair's window has places beyond the node's image.
  bool reaches_beyond(int node, const Shape& rows) const {
    const Window& of = *window(node);
    const Shape &image = graph_.nodes()[static_cast<size_t>(node)].shape,
                &places = graph_.nodes()[static_cast<size_t>(start_)].shape;
    return of.before_height > 0 || of.before_width > 0 ||
           (places[0] - 1) * of.stride_height - of.before_height + rows[2] > image[0] ||
           (places[1] - 1) * of.stride_width - of.before_width + rows[3] > image[1];
  }

  // Rows without their numbers beyond the image: padding that an operation behind this one adds has no inputs here.
  Tensor within_image(int node, const Tensor& rows) {
    if (!reaches_beyond(node, rows.shape())) return rows;
    const Tensor own = counted(rows, stop_sharing());
    const Shape& image = graph_.nodes()[static_cast<size_t>(node)].shape;
    const Tensor numbers = window_numbers(pairs_, *window(node), own.shape(), image);
    const Tensor inside = less(numbers, Tensor::scalar(static_cast<double>(image.size()), DType::i32));
    return where(reshape(inside, own.shape()), own, Tensor::scalar(0, own.dtype()));
  }

  // One step back with the rows as images of their own, whose padding is left to what they meet.
  void through_local(int node, const Tensor& rows) {
    const Graph::Node& n = graph_.nodes()[static_cast<size_t>(node)];
    const TracedStep& step = graph_.step(node, 1);
    const bool spreads = is(step, "conv2d") || is(step, "average_pool2d");
    const Tensor a = spreads ? within_image(node, rows) : rows, source = pairs_.source;
    const Shape& shape = a.shape();
    const Tensor g = reshape(a, {shape[1], shape[2], shape[3], shape[4]});
    Window of = *window(node);
    if (spreads) {
      const LocalStep back = is(step, "conv2d") ? conv2d_back(step, g) : average_pool2d_back(step, g);
      of = {of.stride_height * back.stride_height, of.stride_width * back.stride_width,
            of.before_height * back.stride_height + back.before_height,
            of.before_width * back.stride_width + back.before_width};
      return add_rows(n.inputs[0], with_sample_axis(back.rows), of);
    }
    const Tensors in = inputs_of(step, [&](const Tensor&) {
      return Tensor::on(&Buffer::without_values(), Layout::packed(g.shape(), g.dtype(), g.device()));
    });
    for (size_t i = 0; i < in.size(); ++i)
      if (n.inputs[i] >= 0) add_rows(n.inputs[i], counted(with_sample_axis(pull_back(step, in, i, g)), source), of);
  }

  static Tensor with_sample_axis(const Tensor& x) {
    Shape shape = x.shape();
    shape.insert(0, 1);
    return reshape(x, shape);
  }

  // Windows to rows of the whole image, for each pair.
  void widen(int node) {
    if (!window(node)) return;
    stop_sharing();
    rows(node) = widened_rows(node, rows(node), *window(node));
    windows_[static_cast<size_t>(node)].reset();
  }
  Tensor widened_rows(int node, const Tensor& rows, const Window& of) const {
    const Shape& image = graph_.nodes()[static_cast<size_t>(node)].shape;
    const int64_t count = rows.shape()[1];
    const Tensor numbers = window_numbers(pairs_, of, rows.shape(), image);
    const Tensor whole =
        slice(scatter_add({count, image.size() + 1}, numbers, reshape(rows, numbers.shape()), 1), 1, 0, image.size());
    return reshape(whole, {1, count, image[0], image[1], image[2]});
  }

  // From a rule on every pair has its own rows; those that wait at other nodes get theirs too. Returns what was the
  // source.
  Tensor stop_sharing() {
    const Tensor source = pairs_.source;
    if (!source.defined()) return source;
    for (Tensor& rows : rows_)
      if (rows.defined()) rows = take(rows, source, 1);
    pairs_.source = Tensor();
    return source;
  }
  // Rows that were made while `source` was shared by, as many as there are now.
  Tensor counted(const Tensor& rows, const Tensor& source) const {
    return source.defined() && !pairs_.source.defined() ? take(rows, source, 1) : rows;
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
    return {lines.lower_slope, lines.lower_intercept.defined() ? lines.lower_intercept - lower : -lower,
            lines.upper_slope, lines.upper_intercept + charge(lines.upper_slope, lines.upper_intercept)};
  }

  // Bounds what each line is of: of max pooling the input at the line's place.
  Tensor magnitude_of_lines(int input, const Tensor& indices) const {
    const Tensor& of = magnitudes_.of[static_cast<size_t>(input)];
    if (!indices.defined()) return of;
    const int64_t samples = std::max(of.shape()[0], indices.shape()[0]);
    const auto of_all = [&](const Tensor& x) {
      Shape shape = x.shape();
      shape[0] = samples;
      return flatten(expand(x, shape), 1);
    };
    Shape shape = indices.shape();
    shape[0] = samples;
    return reshape(gather(of_all(of), of_all(indices), 1), shape);
  }

  // Max pooling's rows to the places in the image that its lines are of.
  Tensor scattered(const Tensor& rows, const Tensor& indices, int input) const {
    const int64_t samples = rows.shape()[0], count = rows.shape()[1],
                  outputs = rows.size() / std::max<int64_t>(1, samples * count);
    const Shape& image = graph_.nodes()[static_cast<size_t>(input)].shape;
    const bool shared = indices.shape()[0] == 1;  // lines that all samples share
    const Tensor own = shared || pairs_.all() ? indices : take(indices, pairs_.sample, 0);
    const Shape each = shared         ? Shape{1, 1, outputs}
                       : pairs_.all() ? Shape{samples, 1, outputs}
                                      : Shape{1, count, outputs};
    const Tensor places = expand(reshape(own, each), {samples, count, outputs});
    const Tensor flat =
        scatter_add({samples, count, image.size()}, places, reshape(rows, {samples, count, outputs}), -1);
    Shape shape = image;
    shape.insert(0, count);
    shape.insert(0, samples);
    return reshape(flat, shape);
  }

  const Graph& graph_;
  const Magnitudes& magnitudes_;
  const int start_;
  std::vector<Tensor> rows_;
  std::vector<std::optional<Window>> windows_;
  Pairs pairs_;  // with a source while rows are shared
  Tensor constant_;
};

}  // namespace

Tensor with_row_axis(const Tensor& x) {
  Shape shape = x.shape();
  shape.insert(1, 1);
  return reshape(x, shape);
}

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
  const Tensor most = sum(flatten((of.back() + 1.0) * share, 1), {-1}, /*keep=*/true);
  underflow = underflow.defined() ? underflow + most : most;
}

Tensor walk_to_input(const Graph& graph, const Start& start, const Region& region,
                     const std::function<Substitute(int node)>& substitute, const Magnitudes& magnitudes,
                     RowsSeen* seen) {
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

Tensor walk_to_rules(const Graph& graph, const Start& start, const std::vector<Box>& boxes, bool offsets,
                     const Magnitudes& magnitudes) {
  Walk walk(graph, start, magnitudes);
  for (int node = start.node; node >= 0; --node) {
    if (!walk.rows(node).defined()) continue;
    if (graph.nodes()[static_cast<size_t>(node)].kind == Kind::linear) walk.through_linear(node, offsets);
    else walk.add_constant(walk.box_sum(node, boxes[static_cast<size_t>(node)]));
  }
  return walk.constant();
}

}  // namespace mollify::nn::bounds
