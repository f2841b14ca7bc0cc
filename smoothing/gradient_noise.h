// The noise of minibatch gradients at given weights: C² = E‖∇ℓ_i − ∇f‖², a total over coordinates, of samples i = 1 …
// N with f their mean. Batches of b without replacement have E‖G_b − ∇f‖² = C²(N − b)/(b(N − 1)).
#pragma once

#include <mollify/engine/plan.h>
#include <mollify/smoothing/loss/sample_losses.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct NoiseEstimate {
  double c2, standard_error;  // C², unbiased
  double squared_gradient;    // ‖∇f‖², unbiased: it may come out below 0
  int64_t images;             // whose gradients were taken, with repetition

  // C²/‖∇f‖², the batch whose noise is as large as the gradient (McCandlish et al. 2018); NaN where that is not above
  // 0.
  double noise_scale() const;
};

// SGD's degree of smoothing δ = ηC√((N − b)/(b(N − 1))): ηC/√b of many samples, 0 at the full batch. As isotropic noise
// on d weights its deviation is δ/√d. Throws ValueError for a rate or a C² below 0, and unless 1 ≤ b ≤ N.
double degree_of_smoothing(double learning_rate, double c2, int64_t batch, int64_t samples);

// Draws are functions of (seed, batch size, number), so that estimates from batches of one size share them. Memory is a
// few weight vectors, sums are f64, and batches are captured. No history is recorded.
class GradientNoise {
 public:
  GradientNoise(SampleLosses losses, const Tensor& weights, uint64_t seed = 0);

  // Of `count` images, drawn without replacement; 0: all, which give C² itself, with error 0. Throws ValueError for a
  // single one, and where a sample has no gradient of its own.
  NoiseEstimate from_singles(int64_t count = 0);
  // Of `count` batches, each drawn without replacement and apart from the others. Throws ValueError unless there are
  // two, and 1 ≤ batch < N.
  NoiseEstimate from_batches(int64_t batch, int64_t count);
  // (E‖G_small‖² − E‖G_large‖²)/(1/small − 1/large), times (N − 1)/N as they are drawn without replacement; `count` of
  // each size. Throws ValueError unless there are two of them, and 1 ≤ small < large ≤ N.
  NoiseEstimate from_two_batches(int64_t small, int64_t large, int64_t count);

  // f64 [d]: of batch `number` of `batch` samples, of all samples (computed once), and the difference.
  Tensor batch_gradient(int64_t batch, int64_t number);
  const Tensor& full_gradient();
  Tensor deviation(int64_t batch, int64_t number) { return batch_gradient(batch, number) - full_gradient(); }
  // The same at other weights, such as those along a course of SGD.
  Tensor batch_gradient_at(const Tensor& weights, int64_t batch, int64_t number);
  Tensor full_gradient_at(const Tensor& weights);

 private:
  std::vector<int32_t> drawn(int64_t size, int64_t number) const;
  Tensor gradient(const Tensor& weights, std::span<const int32_t> which);

  const SampleLosses losses_;
  const Tensor weights_;
  const uint64_t seed_;
  Captured batches_;
  Tensor full_;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
