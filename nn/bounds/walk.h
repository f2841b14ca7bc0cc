// Rows of linear functions, substituted backward through a graph: what CROWN, DeepPoly, DeepZ and hybrid boxes share.
//
// A·y at a node is bounded from below by A'·x + constant at its inputs: exactly by the operation's own transpose where
// it is linear (the vector–Jacobian product, with the rows folded into the batch), by lines where it has a rule (Zhang
// et al. 2018, Singh et al. 2019).
#pragma once

#include <mollify/nn/bounds/interval.h>
#include <mollify/nn/bounds/ops.h>

#include <functional>
#include <map>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

// Inputs [N, …] within a box and, where there is one, within an l2 ball as well.
struct Region {
  Box box;
  Tensor center = {}, radius = {};  // of the ball: [N, …], and [N] or 0-d; empty: the box alone
  int64_t rows() const { return box.lower.shape()[0]; }
};

// [N, …] to [N, 1, …].
Tensor with_row_axis(const Tensor& x);

// What stands for a node with a rule: lines [N, 1 | K, d…].
struct Substitute {
  Lines lines;
  Tensor indices = {};  // max pooling: the place in the image [N, …] that each line is of
  Tensor added = {};    // to the rows of the node's input [N, K, d…], such as a split's multiplier; may be empty
};

// Bounds of every node's |numbers|, [N or 1, …], from which rounding is charged (interval.h); empty where roundoff is
// 0.
struct Magnitudes {
  double roundoff = 0;
  std::vector<Tensor> of;
  Tensor underflow;  // [N or 1, 1]: what results below the normal range may add up to
  // The next node's: from its inputs' where it is linear, else from its box.
  void add(const Graph& graph, int node, const Box& box);
};

// The rows that arrived at nodes with rules, and at the input: [1 | N, K, d…].
using RowsSeen = std::map<int, Tensor>;

// Rows [1 | N, K, d…] of a node; of shared ones all for all samples, or the pairs. Pairs with places have windows [1,
// K, h, w, C].
struct Start {
  int node;
  Tensor rows;
  Pairs pairs = {};
};

// A lower bound [N, K], or [1, R] of R pairs, over the region. Rows stay shared until the first rule that they meet,
// and windows stay windows, which grow through convolutions, until they are as large as the image or meet an operation
// that is not local.
Tensor walk_to_input(const Graph& graph, const Start& start, const Region& region,
                     const std::function<Substitute(int node)>& substitute, const Magnitudes& magnitudes,
                     RowsSeen* seen = nullptr);

// The same from boxes at the outputs of the nodes with rules that linear ones lead to, and at the input. Without
// offsets, of the linear part.
Tensor walk_to_rules(const Graph& graph, const Start& start, const std::vector<Box>& boxes, bool offsets,
                     const Magnitudes& magnitudes);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
