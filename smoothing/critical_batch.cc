#include <mollify/smoothing/critical_batch.h>

#include <mollify/engine/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mollify::smoothing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Run {
  double steps;  // T; infinite: not within most_steps
  Tensor end;
};

// Its draws start at `first`.
Run run_from(const Tensor& start, const Minibatch& minibatch, const std::function<Tensor(const Tensor&)>& full,
             const CriticalBatchSearch& how, int64_t batch, int64_t first) {
  Tensor x = start;
  double sum = 0;
  for (int64_t step = 1; step <= how.most_steps; ++step) {
    const Tensor g = minibatch(x, batch, first + step - 1);
    const double taken = static_cast<double>(step);
    const bool there = how.stop == CriticalBatchSearch::Stop::gradients
                           ? (sum += sum_of_squares(full(x)).item()) <= taken * how.epsilon * how.epsilon
                           : (sum += norm(g).item()) <= taken * how.epsilon;
    if (there) return {taken, x};
    if (!std::isfinite(sum)) break;
    x = x - g * how.learning_rate;
  }
  return {kInfinity, x};
}

}  // namespace

CriticalBatch critical_batch(const Tensor& start, const Minibatch& minibatch,
                             const std::function<Tensor(const Tensor&)>& full, const CriticalBatchSearch& how) {
  require<ValueError>(how.learning_rate > 0 && how.epsilon > 0 && how.most_steps >= 1 && how.repeats >= 1 &&
                          !how.batches.empty() && *std::min_element(how.batches.begin(), how.batches.end()) >= 1,
                      "critical_batch: learning rate {}, epsilon {}, {} steps, {} repeats, {} batches; needs rate and "
                      "epsilon above 0, a step, a run and batches from 1 on",
                      how.learning_rate, how.epsilon, how.most_steps, how.repeats, how.batches.size());
  const NoGrad quiet;
  CriticalBatch found;
  double fewest = kInfinity;
  for (const int64_t batch : how.batches) {
    double steps = 0;
    Tensor end;
    for (int64_t repeat = 0; repeat < how.repeats && std::isfinite(steps); ++repeat) {
      const Run run = run_from(start.detach(), minibatch, full, how, batch, repeat * how.most_steps);
      steps += run.steps;
      end = run.end;
    }
    steps /= static_cast<double>(how.repeats);
    found.runs.push_back({batch, steps});
    const double samples = static_cast<double>(batch) * steps;
    if (samples >= fewest) continue;
    fewest = samples;
    found.batch = batch;
    found.end = end;
  }
  found.bound = static_cast<double>(found.batch) * how.epsilon * how.epsilon / how.learning_rate;
  return found;
}

}  // namespace mollify::smoothing
