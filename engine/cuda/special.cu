#include <mollify/engine/cuda/pointwise.cuh>

namespace mollify::cuda {
#include <mollify/engine/ops/special.inl>
}  // namespace mollify::cuda
