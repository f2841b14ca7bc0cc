// Bounds of a network's outputs over sets of inputs: interval arithmetic, hybrid boxes, zonotopes, CROWN and its
// relatives.
//
//   const Graph graph(network, weights);
//   const Bounds bounds(graph, {.box = ball(x, 0.1, 0, 1)}, {.method = Method::crown});
//   bounds.lower(margin_rows(labels, 10))   // certified where > 0
//
// Everything is differentiable in the weights and the region, so that networks can be trained through their bounds.
#pragma once

#include <mollify/nn/bounds/walk.h>

#include <optional>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

enum class Method {
  ibp,    // interval arithmetic; the rows asked for are folded into the last layer (elision)
  hbox,   // hybrid zonotope: a crossing relu becomes a box, an active one keeps its dependence on the input
  deepz,  // zonotopes with parallel lines (Singh et al. 2018), which equal CROWN with the same slope below and above
  crown_ibp,    // boxes by ibp, rows by one walk back (Zhang et al. 2020)
  crown,        // every box by walks back: CROWN, DeepPoly
  alpha_crown,  // the boxes of crown, lower lines improved by gradients (Xu et al. 2021)
};
Method method_named(const std::string& name);  // throws ValueError with the names there are
std::string to_string(Method method);
// Whether a method finds boxes by walks back; the others take those of interval arithmetic.
inline bool walks_boxes(Method method) { return method != Method::ibp && method != Method::crown_ibp; }

// α by projected gradient ascent on the rows' bounds (Adam); step 0 is crown's choice, and every row keeps its best.
struct AlphaOptions {
  int64_t steps = 20;
  double learning_rate = 0.5, decay = 0.98;
  bool stop_when_positive = false;  // as soon as every row's bound is
};

struct Options {
  Method method = Method::crown;
  LowerLine lower_line = LowerLine::adaptive;  // of crown_ibp and crown
  bool intersect = false;                      // every box with interval arithmetic's
  bool skip_stable = true;  // neurons that interval arithmetic shows on one side of the kink keep its box
  // Whether the host reads which they are, so that they have no rows: less work, but not for a captured step. By
  // default unless gradients flow through the boxes.
  std::optional<bool> read_stable = {};
  double roundoff = 0;     // 0, or unit_roundoff(dtype): then what is returned holds in real arithmetic
  int64_t row_budget = 0;  // numbers in the rows that are walked at once to find a box; 0: 2²¹, on a GPU 2²⁶
  AlphaOptions alpha = {};
};

double unit_roundoff(DType dtype);  // 2⁻²⁴, 2⁻⁵³

// The l∞ ball of radius ε around each row of x, within [low, high]. `outward` rounds the ends outward by one unit in
// the last place.
Box ball(const Tensor& x, double epsilon, double low, double high, bool outward = false);
Box ball(const Tensor& x, const Tensor& epsilon, double low, double high,
         bool outward = false);  // 0-d, such as a schedule's; not checked

// Rows e_y − e_t for the labels' margins over every other class t in order: [N, classes − 1, classes].
Tensor margin_rows(const Tensor& labels, int64_t classes, DType dtype = DType::f32);

// Rows ±e_i for every number of a shape: [1, 2·size, shape…].
Tensor identity_rows(const Shape& shape, DType dtype, Device device = Device::cpu);

class Bounds {
 public:
  // Finds the boxes of all nodes with rules. Throws ShapeError, DeviceError or ValueError where the region does not fit
  // the graph, is not finite or has lower > upper, and ValueError where rounding is charged but f32 products on the GPU
  // are not of precision fp32: the charges hold for sums in any order, but not for rounded factors. The graph must
  // outlive this.
  Bounds(const Graph& graph, Region region, Options options = {});

  // A lower bound, for each row and sample, of Σ row·output: [N, K] for rows [1 | N, K, output…]. NaN or −∞ where
  // nothing is known.
  Tensor lower(const Tensor& rows, RowsSeen* seen = nullptr) const;  // seen: of methods that walk to the input
  // Bounds of every output [N, output…].
  Box output() const;

  const Box& box(int node) const {
    return boxes_[static_cast<size_t>(node)];
  }  // of inputs of rules, and of their outputs
  const Graph& graph() const { return graph_; }
  const Region& region() const { return region_; }
  const Options& options() const { return options_; }
  const Magnitudes& magnitudes() const { return magnitudes_; }

 private:
  void find_box(int node);
  bool walks_for(int node) const;
  Tensor crossing(int node) const;
  Box box_by_rows(int node) const;
  Box box_of_all_rows(int node) const;
  Box box_of_all_pairs(int node) const;
  Box box_of_crossing(int node, const Tensor& crosses) const;
  Tensor ends_of(int node, std::span<const int32_t> numbers) const;
  int64_t row_budget() const;
  Tensor lower_at(const Start& start, RowsSeen* seen = nullptr) const;
  Substitute substitute(int node) const;
  void find_spread(int node);

  const Graph& graph_;
  const Region region_;
  const Options options_;
  std::vector<Box> boxes_;
  std::vector<Interval> intervals_;
  std::vector<Tensor> spreads_;  // hbox: radii of the boxes' share, [N, …]; empty: none
  Magnitudes magnitudes_;
  mutable std::map<int, Substitute> substitutes_;
};

// Lines of a node with a rule around its input's box, [N, 1, d…], with lower lines as asked for or by α [N, 1 | K, d…].
Substitute substitute_for(const Graph& graph, int node, const Box& input, LowerLine lower_line, const Tensor& alpha,
                          double roundoff);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
