// The ways to compute a convolution. For each kind there is an ordered list; the first that accepts a call and suits it
// runs.
#pragma once

#include <mollify/engine/cuda/aligned.h>
#include <mollify/engine/cuda/conv2d_correlation.h>
#include <mollify/engine/cuda/runtime.h>

namespace mollify::cuda {

template <class T>
struct Conv2dAlgorithm {
  const char* name;
  bool (*accepts)(Conv2dKind kind, const Conv2dCall<T>& call);  // whether it can
  bool (*suits)(Conv2dKind kind, const Conv2dCall<T>& call);    // whether it should, given that it can
  void (*run)(Conv2dKind kind, const Conv2dCall<T>& call);
};

// A product of matrices without any gathering: 1 × 1 kernels, and kernels as large as the image.
template <class T> Conv2dAlgorithm<T> conv2d_by_product();
// Few channels per group: a thread per destination and filter, weights in shared memory.
template <class T> Conv2dAlgorithm<T> conv2d_grouped();
// Up to four outputs from many channels: a warp sums over the channels.
template <class T> Conv2dAlgorithm<T> conv2d_few_outputs();
// Implicit matrix products on tensor cores, for tf32 and bf16.
Conv2dAlgorithm<float> conv2d_tensor();
Conv2dAlgorithm<float> conv2d_tensor_weight_gradient();
// Implicit matrix products by fused multiply-adds.
template <class T> Conv2dAlgorithm<T> conv2d_tiled();
template <class T> Conv2dAlgorithm<T> conv2d_tiled_weight_gradient();
// Columns of gathered sources in memory, slab by slab, and cuBLASLt.
template <class T> Conv2dAlgorithm<T> conv2d_im2col();

// An accepts() or suits() without conditions.
inline bool always(auto, const auto&) { return true; }

// out[i] = Σ over slices of partials[slice, i], in double and a fixed order, + bias[i mod bias_count] unless bias is
// null.
template <class T>
void sum_slices(const T* partials, int64_t slices, int64_t count, const T* bias, int64_t bias_count, T* out);

// Where a kernel that cuts its sums into slices writes `count` results of each: to `out` itself if there is but one.
template <class T>
class Slices {
 public:
  Slices(int64_t slices, int64_t count, T* out)
      : slices_(slices), count_(count), out_(out), partials_(slices == 1 ? 0 : slices * count) {}
  T* data() const { return slices_ == 1 ? out_ : partials_.data(); }
  // The bias that the kernel is to add: of several slices the sum adds it.
  const T* bias(const T* bias) const { return slices_ == 1 ? bias : nullptr; }
  void finish(const T* bias = nullptr, int64_t bias_count = 1) const {
    if (slices_ != 1) sum_slices<T>(partials_.data(), slices_, count_, bias, bias_count, out_);
  }

 private:
  int64_t slices_, count_;
  T* out_;
  Scratch<T> partials_;
};

}  // namespace mollify::cuda
