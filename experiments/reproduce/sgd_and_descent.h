// SGD beside gradient descent on f_δ, the loss smoothed with the noise that SGD's is said to be (Sato & Iiduka, arXiv
// 2311.08745): from the same weights, with the same learning rate, for as many steps.
#pragma once

#include <mollify/experiments/reproduce/cell_checkpoint.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/nn/network.h>

#include <vector>

namespace mollify::experiments {

struct SgdAndDescent {
  const nn::Network& network;  // without statistics
  Images images;               // all that f is the mean loss of
  double rate;
  int64_t batch, steps;
  int64_t runs;                   // of SGD, each with batches of its own
  int64_t draws;                  // of the noise that a gradient of f_δ is the mean over, in antithetic pairs
  std::vector<double> multiples;  // of δ, a descent each; 0: on f itself
  uint64_t seed;                  // of the initial weights, the batches and the noise
};

// δ = ηC/√b·√((N − b)/(N − 1)), as normal noise of deviation δ/√d on each of the d weights, with C² of the descent's
// own weights, exact and new each epoch. Series at twenty places along the way, the start and the end among them:
// "step"; "loss_sgd", f at the runs' weights, the mean; "spread", the root mean square of their distance from their
// mean point, unbiased; "loss_i", f at descent i; "apart_i", the root mean square of the runs' distance from it;
// "mean_i", the distance of the runs' mean point from it; "moved_i", of itself from the start; "deviation_i", δ/√d. A
// number with each of these names is its last one. Throws Interrupted.
Results sgd_and_descent(const SgdAndDescent& how, CellCheckpoint checkpoint);

}  // namespace mollify::experiments
