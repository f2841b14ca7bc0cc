// Implicit graduated optimisation (Sato & Iiduka, arXiv 2311.08745): the noise of SGD's gradients smooths the loss by
// δ = ηC/√b (η learning rate, b batch size, C² the variance of a sample's gradient, all coordinates together), so that
// a course of δ is one of η, of b or of both.
#pragma once

#include <mollify/optim/schedule.h>

#include <cstdint>
#include <limits>

#pragma GCC visibility push(default)
namespace mollify::optim {

struct ImplicitGraduation {
  double learning_rate = 0.1;  // of the first round
  int64_t batch = 128;         // likewise
  // Where δ falls by γ, b grows by γ^(−2·batch_share) and η falls by γ^(1 − batch_share). 0: the learning rate alone;
  // 1: the batch alone; .585 (log₂ 1.5): the paper's hybrid, which grows the batch by half where γ = 1/√2.
  double batch_share = 0;
  int64_t largest_batch = std::numeric_limits<int64_t>::max();  // from there on η alone falls
};
struct GraduatedRound {
  double learning_rate;
  int64_t batch;
};

// Of a round, counted from 0, in which δ is course(round)/course(0) of the first one's: exactly so by η√(1/b), since
// the batch is rounded to a whole number and η makes up for it. Courses are schedules by round: constant(1);
// step_decay(1, γ, interval); polynomial(1, rounds, p); cosine(1, rounds); the exponential step_decay(1, γ, 1). Throws
// ValueError for a course that is not finite, below 0 or 0 in the first round, and for numbers that are none.
GraduatedRound graduated_round(const Schedule& course, int64_t round, const ImplicitGraduation& how);

// δ = ηC/√b, of plain SGD.
double sgd_degree(double learning_rate, int64_t batch, double deviation);
// Upper bounds of δ under momentum β from 0 to below 1, C the `deviation`, K a bound on the full gradient's norm: not
// what the noise of a step is (9.1 ηC/√b at β = .9, K = 0, where one step's spread is 2.3).
// v ← βv + g, w ← w − ηv: η√(C²/b + β̂(C²/b + K²)) with β̂ = β(β² − β + 1)/(1 − β)².
double heavy_ball_degree_bound(double learning_rate, int64_t batch, double momentum, double deviation,
                               double gradient_bound);
// v ← βv + (1 − β)g, w ← w − ηv: η√(C²/b + 4β²(C²/b + K²)).
double normalized_heavy_ball_degree_bound(double learning_rate, int64_t batch, double momentum, double deviation,
                                          double gradient_bound);

}  // namespace mollify::optim
#pragma GCC visibility pop
