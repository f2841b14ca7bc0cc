#include <mollify/optim/graduated.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <cmath>

namespace mollify::optim {
namespace {

void require_degree(const char* name, double learning_rate, int64_t batch, double momentum, double deviation,
                    double gradient_bound) {
  require<ValueError>(
      learning_rate >= 0 && batch >= 1 && momentum >= 0 && momentum < 1 && deviation >= 0 && gradient_bound >= 0,
      "{}: learning rate {}, batch {}, momentum {}, deviation {}, gradient bound {}; needs a batch of at "
      "least 1, a momentum below 1 and no number below 0",
      name, learning_rate, batch, momentum, deviation, gradient_bound);
}

}  // namespace

GraduatedRound graduated_round(const Schedule& course, int64_t round, const ImplicitGraduation& how) {
  require<ValueError>(how.learning_rate > 0 && how.batch >= 1 && how.largest_batch >= how.batch &&
                          how.batch_share >= 0 && how.batch_share <= 1,
                      "graduated_round: learning rate {}, batch {} up to {}, its share {}; needs a positive rate, 1 ≤ "
                      "batch ≤ the largest one, and a share from 0 to 1",
                      how.learning_rate, how.batch, how.largest_batch, how.batch_share);
  const double first = course(0), now = course(round);
  require<ValueError>(first > 0 && now >= 0 && std::isfinite(first) && std::isfinite(now),
                      "graduated_round: the course goes from {} to {} in round {}; needs finite numbers from 0, the "
                      "first one above it",
                      first, now, round);
  const double ratio = now / first, start = static_cast<double>(how.batch);
  const double wanted = how.batch_share == 0 ? start : start * std::pow(ratio, -2 * how.batch_share);  // ∞ at ratio 0
  const bool fits = wanted < static_cast<double>(how.largest_batch);
  const int64_t batch = fits ? std::max<int64_t>(1, std::llround(wanted)) : how.largest_batch;
  return {how.learning_rate * ratio * std::sqrt(static_cast<double>(batch) / start), batch};
}

double sgd_degree(double learning_rate, int64_t batch, double deviation) {
  require_degree("sgd_degree", learning_rate, batch, 0, deviation, 0);
  return learning_rate * deviation / std::sqrt(static_cast<double>(batch));
}

double heavy_ball_degree_bound(double learning_rate, int64_t batch, double momentum, double deviation,
                               double gradient_bound) {
  require_degree("heavy_ball_degree_bound", learning_rate, batch, momentum, deviation, gradient_bound);
  const double spread = deviation * deviation / static_cast<double>(batch), b = momentum;
  const double carried = b * (b * b - b + 1) / ((1 - b) * (1 - b));
  return learning_rate * std::sqrt(spread + carried * (spread + gradient_bound * gradient_bound));
}

double normalized_heavy_ball_degree_bound(double learning_rate, int64_t batch, double momentum, double deviation,
                                          double gradient_bound) {
  require_degree("normalized_heavy_ball_degree_bound", learning_rate, batch, momentum, deviation, gradient_bound);
  const double spread = deviation * deviation / static_cast<double>(batch);
  return learning_rate * std::sqrt(spread + 4 * momentum * momentum * (spread + gradient_bound * gradient_bound));
}

}  // namespace mollify::optim
