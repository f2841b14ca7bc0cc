// α-CROWN (Xu et al. 2021): the lower lines' free parameters, one for each number and row, are moved to raise the rows'
// bounds. Every choice is sound, so it may stop at any time.
#pragma once

#include <mollify/nn/bounds/bounds.h>

#include <map>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

struct AlphaBound {
  Tensor lower;                  // [N, K], with the α below, differentiable with these fixed
  std::map<int, Tensor> alpha;   // of nodes with rules, [N, K, d…]: the best found for each row
};

// The boxes of `bounds` stay as they are.
AlphaBound alpha_crown(const Bounds& bounds, const Tensor& rows, const AlphaOptions& options);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
