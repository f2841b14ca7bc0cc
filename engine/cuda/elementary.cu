#include <mollify/engine/cuda/pointwise.cuh>

namespace mollify::cuda {
#include <mollify/engine/ops/elementary.inl>
}  // namespace mollify::cuda
