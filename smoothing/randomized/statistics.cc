#include <mollify/smoothing/randomized/statistics.h>

#include <mollify/engine/ops.h>

#include <boost/math/distributions/beta.hpp>
#include <boost/math/distributions/binomial.hpp>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

double beta_quantile(int64_t a, int64_t b, double p) {
  return boost::math::quantile(boost::math::beta_distribution<double>(static_cast<double>(a), static_cast<double>(b)),
                               p);
}

double normal_quantile(double p) { return mollify::normal_quantile(Tensor::scalar(p, DType::f64)).item(); }

void check_counts(const char* what, int64_t successes, int64_t trials, double alpha) {
  require<ValueError>(trials >= 1 && successes >= 0 && successes <= trials,
                      "{}: {} of {} trials; needs at least one trial and no more successes than trials", what,
                      successes, trials);
  require<ValueError>(alpha > 0 && alpha < 1, "{}: alpha {}; needs a number between 0 and 1", what, alpha);
}

void check_sigma(const char* what, double sigma) {
  require<ValueError>(sigma > 0 && std::isfinite(sigma), "{}: sigma {}; needs a finite number above 0", what, sigma);
}

void check_share(const char* what, double share) {
  require<ValueError>(share >= 0 && share <= 1, "{}: {}; needs a number from 0 to 1", what, share);
}

}  // namespace

double clopper_pearson_lower(int64_t successes, int64_t trials, double alpha) {
  check_counts("clopper_pearson_lower", successes, trials, alpha);
  if (successes == 0) return 0;
  if (successes == trials) return std::pow(alpha, 1 / static_cast<double>(trials));
  return beta_quantile(successes, trials - successes + 1, alpha);
}

double clopper_pearson_upper(int64_t successes, int64_t trials, double alpha) {
  check_counts("clopper_pearson_upper", successes, trials, alpha);
  return 1 - clopper_pearson_lower(trials - successes, trials, alpha);
}

double equal_shares_p_value(int64_t first, int64_t second) {
  require<ValueError>(second >= 0 && first >= second && first >= 1,
                      "equal_shares_p_value: counts {} and {}; needs the larger first, and one draw", first, second);
  const boost::math::binomial fair(static_cast<double>(first + second), 0.5);
  return std::min(1.0, 2 * boost::math::cdf(boost::math::complement(fair, static_cast<double>(first - 1))));
}

int64_t fewest_predicting_draws(double alpha) {
  require<ValueError>(alpha > 0 && alpha < 1, "fewest_predicting_draws: alpha {}; needs a number between 0 and 1",
                      alpha);
  int64_t draws = 1;
  while (equal_shares_p_value(draws, 0) > alpha) ++draws;
  return draws;
}

double certified_radius(double lower, double sigma) {
  check_share("certified_radius: share", lower);
  check_sigma("certified_radius", sigma);
  return sigma * normal_quantile(lower);
}

double certified_radius_of_two(double lower, double runner_up_upper, double sigma) {
  for (const double share : {lower, runner_up_upper}) check_share("certified_radius_of_two: share", share);
  check_sigma("certified_radius_of_two", sigma);
  return sigma / 2 * (normal_quantile(lower) - normal_quantile(runner_up_upper));
}

double certified_radius_in_top(double lower, int64_t k, double sigma) {
  check_share("certified_radius_in_top: share", lower);
  require<ValueError>(k >= 1, "certified_radius_in_top: k {}; needs at least 1", k);
  check_sigma("certified_radius_in_top", sigma);
  return sigma / 2 * (normal_quantile(lower) - normal_quantile((1 - lower) / static_cast<double>(k)));
}

double largest_certified_radius(int64_t trials, double alpha, double sigma) {
  return certified_radius(clopper_pearson_lower(trials, trials, alpha), sigma);
}

double average_radius(double label, double other, double sigma) {
  for (const double value : {label, other}) check_share("average_radius: value", value);
  check_sigma("average_radius", sigma);
  return sigma * 1.2533141373155003 * (label - other);  // √(π/2)
}

double tighter_average_radius(double label, double other, double sigma) {
  for (const double value : {label, other}) check_share("tighter_average_radius: value", value);
  check_sigma("tighter_average_radius", sigma);
  return sigma / 2 * (normal_quantile(label) - normal_quantile(other));
}

}  // namespace mollify::smoothing
