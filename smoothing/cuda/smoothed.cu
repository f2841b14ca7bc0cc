#include <mollify/engine/cuda/pointwise.cuh>

namespace mollify::cuda {
// Helpers and values here; their kernels are in engine/cuda/special.cu.
template <class Formula, int in_count, int out_count = 1>
struct WithoutKernel {};
#define Pointwise WithoutKernel
#include <mollify/engine/ops/special.inl>
#undef Pointwise
#include <mollify/smoothing/smoothed.inl>
#include <mollify/smoothing/smoothed_activations.inl>
}  // namespace mollify::cuda
