#include <mollify/nn/bounds/alpha_crown.h>

#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/ascent.h>

#include <algorithm>
#include <cmath>

namespace mollify::nn::bounds {
namespace {

using Kind = Graph::Kind;

// The nodes whose lines have a choice, with the shape of their α laid into one flat vector.
struct Choice {
  std::vector<int> nodes;
  std::vector<Shape> shapes;
  std::vector<int64_t> sizes;
};

Choice choices(const Bounds& bounds, int64_t count) {
  Choice choice;
  const Graph& graph = bounds.graph();
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    if (!graph.nodes()[i].rule) continue;
    Shape shape = graph.nodes()[i].shape;
    shape.insert(0, count);
    shape.insert(0, bounds.region().rows());
    choice.nodes.push_back(static_cast<int>(i));
    choice.shapes.push_back(shape);
    choice.sizes.push_back(shape.size());
  }
  return choice;
}

std::map<int, Tensor> parts(const Choice& choice, const Tensor& flat) {
  std::map<int, Tensor> alpha;
  const Tensors pieces = split(flat, choice.sizes);
  for (size_t i = 0; i < choice.nodes.size(); ++i) alpha[choice.nodes[i]] = reshape(pieces[i], choice.shapes[i]);
  return alpha;
}

Tensor initial(const Bounds& bounds, const Choice& choice) {
  std::vector<Tensor> all;
  for (size_t i = 0; i < choice.nodes.size(); ++i) {
    const int node = choice.nodes[i], input = bounds.graph().nodes()[static_cast<size_t>(node)].inputs[0];
    const Box& box = bounds.box(input);
    const Box around{with_row_axis(box.lower.detach()), with_row_axis(box.upper.detach())};
    const Graph::Node& n = bounds.graph().nodes()[static_cast<size_t>(node)];
    const Tensor alpha =
        n.rule->alpha(bounds.graph().step(node, bounds.region().rows()), around, bounds.options().lower_line);
    all.push_back(flatten(packed(expand(to(alpha, box.lower.device()), choice.shapes[i]))));
  }
  return concat(all);
}

Tensor lower_with(const Bounds& bounds, const Tensor& rows, const std::map<int, Tensor>& alpha) {
  const Graph& graph = bounds.graph();
  const auto substitute = [&](int node) {
    const Box& box = bounds.box(graph.nodes()[static_cast<size_t>(node)].inputs[0]);
    const auto own = alpha.find(node);
    return substitute_for(graph, node, box, bounds.options().lower_line, own == alpha.end() ? Tensor() : own->second,
                          bounds.options().roundoff);
  };
  return walk_to_input(graph, {graph.output(), rows}, bounds.region(), substitute, bounds.magnitudes());
}

// For each row, `better` where it is an improvement: [N, K] decides on [N, K, d…].
Tensor kept(const Choice& choice, const Tensor& improved, const Tensor& better, const Tensor& best) {
  const auto new_parts = parts(choice, better), old_parts = parts(choice, best);
  std::vector<Tensor> all;
  for (size_t i = 0; i < choice.nodes.size(); ++i) {
    Shape shape = improved.shape();
    while (shape.rank() < choice.shapes[i].rank()) shape.push_back(1);
    all.push_back(
        flatten(where(reshape(improved, shape), new_parts.at(choice.nodes[i]), old_parts.at(choice.nodes[i]))));
  }
  return concat(all);
}

}  // namespace

AlphaBound alpha_crown(const Bounds& bounds, const Tensor& rows, const AlphaOptions& options) {
  const Choice choice = choices(bounds, rows.shape()[1]);
  if (choice.nodes.empty()) return {lower_with(bounds, rows, {}), {}};
  Tensor best_alpha, best;
  {
    const NoGrad quiet;
    Ascent ascent(initial(bounds, choice), Tensor::scalar(1, bounds.graph().dtype()));
    const Tensor& alpha = ascent.at();
    best_alpha = packed(alpha + 0.0);
    const Tensor fixed_rows = rows.detach();
    for (int64_t step = 0; step <= options.steps; ++step) {
      Tensor lower;
      const auto loss = [&](const Tensor& a) {
        const Tensor found = lower_with(bounds, fixed_rows, parts(choice, a));
        lower = found.detach();
        return -sum(found);
      };
      const bool last = step == options.steps;
      const Tensor gradient = last ? (loss(alpha), Tensor()) : grad(loss)(alpha);
      if (!best.defined()) {
        best = lower;
      } else {
        const Tensor improved = greater(lower, best);
        best_alpha = kept(choice, improved, alpha, best_alpha);
        best = where(improved, lower, best);
      }
      if (last || (options.stop_when_positive && min(best).item() > 0)) break;
      ascent.step(gradient, options.learning_rate * std::pow(options.decay, static_cast<double>(step)));
    }
  }
  const auto alpha = parts(choice, best_alpha);
  return {is_recording() ? lower_with(bounds, rows, alpha) : best, alpha};
}

}  // namespace mollify::nn::bounds
