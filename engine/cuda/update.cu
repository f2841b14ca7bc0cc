#include <mollify/engine/cuda/pointwise.cuh>

namespace mollify::cuda {
#include <mollify/engine/ops/update.inl>
}  // namespace mollify::cuda
