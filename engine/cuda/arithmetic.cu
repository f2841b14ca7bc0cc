#include <mollify/engine/cuda/pointwise.cuh>

namespace mollify::cuda {
#include <mollify/engine/ops/arithmetic.inl>
}  // namespace mollify::cuda
