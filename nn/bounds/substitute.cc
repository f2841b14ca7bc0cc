// What stands for a node with a rule in a walk: lines from the table, or the places and lines of max pooling.
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/reading.h>

#include <limits>

namespace mollify::nn::bounds {
namespace {

// For each window the largest number of x at any place but `indices` (into the image); −∞ where there is no other.
Tensor largest_other(const Tensor& x, const Tensor& indices, const Pool2d& how) {
  const double never = -std::numeric_limits<double>::infinity();
  const Shape image = x.shape(), out = indices.shape();
  const int64_t places = image[1] * image[2] * image[3];
  const Tensor index = reshape(arange(places, DType::f64, x.device()), {1, image[1], image[2], image[3]});
  const auto padded = [&](const Tensor& t, double value) {
    return pad(pad(t, 1, how.pad_top, how.pad_bottom, value), 2, how.pad_left, how.pad_right, value);
  };
  const Tensor numbers = padded(x, never), own = padded(index, -1);
  Tensor largest;
  for (int64_t row = 0; row < how.kernel_height; ++row)
    for (int64_t column = 0; column < how.kernel_width; ++column) {
      const auto at_place = [&](const Tensor& t) {
        const Tensor rows = slice(t, 1, row, row + (out[1] - 1) * how.stride_height + 1, how.stride_height);
        return slice(rows, 2, column, column + (out[2] - 1) * how.stride_width + 1, how.stride_width);
      };
      const Tensor chosen = equal(cast(indices, DType::f64), at_place(own));
      const Tensor here = where(chosen, Tensor::scalar(never, x.dtype()), at_place(numbers));
      largest = largest.defined() ? maximum(largest, here) : here;
    }
  return largest;
}

// Below, the input with the largest lower end; above, that input where it is no less than any other, else the largest
// upper end.
Substitute around_max_pool(const TracedStep& step, const Box& x) {
  const Pool2d& how = step.node().attributes.as<Pool2d>();
  const ValuesAndIndices least = max_pool2d_with_indices(x.lower, how);
  const Tensor most = max_pool2d(x.upper, how), zero = zeros_like(most);
  const Tensor decided = greater_equal(least.values.detach(), largest_other(x.upper.detach(), least.indices, how));
  const Tensor slope = cast(decided, most.dtype());
  return {
      .lines = {with_row_axis(ones_like(most)), {}, with_row_axis(slope), with_row_axis(where(decided, zero, most))},
      .indices = least.indices,
      .added = {}};
}

}  // namespace

Substitute substitute_for(const Graph& graph, int node, const Box& input, LowerLine lower_line, const Tensor& alpha,
                          double roundoff) {
  const Graph::Node& n = graph.nodes()[static_cast<size_t>(node)];
  const TracedStep& step = graph.step(node, input.lower.shape()[0]);
  if (!n.rule) return around_max_pool(step, input);
  const Box around{with_row_axis(input.lower), with_row_axis(input.upper)};
  Lines lines =
      n.rule->lines(step, around, alpha.defined() ? alpha : n.rule->alpha(step, around, lower_line), roundoff);
  if (!lines.upper_intercept.defined()) lines.upper_intercept = zeros_like(lines.upper_slope);
  return {.lines = std::move(lines), .indices = {}, .added = {}};
}

}  // namespace mollify::nn::bounds
