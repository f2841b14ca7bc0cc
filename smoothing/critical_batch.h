// The batch with which SGD takes the fewest samples to a small gradient (Sato & Iiduka; Shallue et al. 2019).
#pragma once

#include <mollify/engine/tensor.h>

#include <functional>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct CriticalBatchSearch {
  std::vector<int64_t> batches;  // the grid
  double learning_rate, epsilon;
  // When a run from x_0 has come to ε after T steps, the last at x_{T−1}.
  // gradients:   the root mean square of ‖∇f(x_t)‖ is at most ε, which the theory speaks of.
  // minibatches: the mean of the minibatches' ‖G_t‖ is at most ε, as published: a batch below C²/ε² never comes to it.
  enum class Stop { gradients, minibatches } stop = Stop::gradients;
  int64_t most_steps = 100000;  // of a run
  int64_t repeats = 1;          // runs with other batches, whose steps are averaged
};

struct CriticalBatch {
  struct Run {
    int64_t batch;
    double steps;  // T(b), a mean over repeats; infinite where one did not come to ε
  };
  std::vector<Run> runs;
  int64_t batch = 0;  // b*: the one with the smallest b·T(b); 0: none came to ε
  // b*·ε²/η, the published bound on C². It is no estimate of C²: where T(b) = C₁b/(ε²b − C₂), C₂ = LηC²/(2 − Lη), as on
  // ½L‖x‖² with the first stop, it is C²·2L/(2 − Lη), known to the grid's factor, and so flat is b·T(b) near b* that
  // this is a factor of 2. With the second it is about 1/η times as large.
  double bound = 0;
  Tensor end;  // x_{T−1} of the last run of b*
};

// Plain SGD, x ← x − ηG, from `start` for each batch. `minibatch` gives the gradient G of `batch` samples at x, draw
// `number`; `full` ∇f, which only the first stop asks for. Throws ValueError for numbers out of range.
using Minibatch = std::function<Tensor(const Tensor& x, int64_t batch, int64_t number)>;
CriticalBatch critical_batch(const Tensor& start, const Minibatch& minibatch,
                             const std::function<Tensor(const Tensor& x)>& full, const CriticalBatchSearch& how);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
