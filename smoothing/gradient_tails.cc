#include <mollify/smoothing/gradient_tails.h>

#include <mollify/engine/ops.h>
#include <mollify/optim/active_weights.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

namespace mollify::smoothing {
namespace {

constexpr uint64_t kStream = stream_of(Purpose::active_weights, uint64_t{1} << 48);  // below it lie a run's rounds

constexpr size_t kParts = 10;    // of the draws, for an error
constexpr double kLeast = 1e-6;  // of a coordinate's squares, at least this share is left to the other draws

std::vector<double> normal_quantiles(const std::vector<double>& p) {
  return normal_quantile(Tensor::from(p, {static_cast<int64_t>(p.size())})).to_vector<double>();
}

// What the draws add up to, and the kept coordinates of each.
class DrawnNoise {
 public:
  explicit DrawnNoise(const TailOptions& how) : how_(how) {}

  void add(const Tensor& drawn) {
    require<TypeError>(is_floating(drawn.dtype()), "tails: draws are {}; needs f32 or f64", drawn.dtype());
    const Tensor x = flatten(cast(drawn.detach(), DType::f64));
    if (!squares_.defined()) begin(x);
    require(x.shape() == squares_.shape(), "tails: a draw of {} after one of {}; needs one shape", x.shape(),
            squares_.shape());
    const Tensor square = mollify::square(x);
    squares_ += square;
    fourths_ += mollify::square(square);
    const std::vector<double> some = take(x, positions_->indices()).to_vector<double>();
    kept_.insert(kept_.end(), some.begin(), some.end());
  }

  Tails tails() {
    const double draws = static_cast<double>(how_.draws);
    Tails found;
    found.draws = how_.draws;
    found.weights = squares_.size();
    found.kept = positions_->count();
    moments(draws, found);
    standardise();
    hill(found);
    std::sort(numbers_.begin(), numbers_.end());
    quantiles(found);
    return found;
  }

 private:
  void begin(const Tensor& x) {
    require<ValueError>(x.size() >= 1, "tails: draws of no numbers given; needs one at least");
    squares_ = zeros_like(x);
    fourths_ = zeros_like(x);
    positions_ = optim::drawn_weights(optim::all_weights(x.size(), x.device()), std::min(how_.coordinates, x.size()),
                                      {how_.seed, kStream});
    kept_.reserve(static_cast<size_t>(how_.draws * positions_->count()));
  }

  // The mean of x⁴/(mean of x²)² over n normal numbers is 3n/(n + 2).
  void moments(double n, Tails& found) const {
    const std::vector<double> squares = squares_.to_vector<double>(), fourths = fourths_.to_vector<double>();
    double square = 0, fourth = 0, sum = 0;
    std::vector<double> ratios;
    for (size_t j = 0; j < squares.size(); ++j) {
      require<ValueError>(std::isfinite(fourths[j]),
                          "tails: number {} of a draw is not finite, or its fourth power; needs finite ones", j);
      if (squares[j] > 0)
        ratios.push_back(n * fourths[j] / (squares[j] * squares[j]) * (n + 2) / n - 3);
      else
        ++found.constant;
      square += squares[j];
      fourth += fourths[j];
    }
    const double all = static_cast<double>(squares.size());
    require<ValueError>(!ratios.empty(), "tails: no number of {} draws differs from 0; needs noise", how_.draws);
    for (const double ratio : ratios) sum += ratio;
    found.kurtosis = sum / static_cast<double>(ratios.size());
    const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
    std::nth_element(ratios.begin(), middle, ratios.end());
    found.median_kurtosis = *middle;
    found.raw_kurtosis = fourth / (n * all) / std::pow(square / (n * all), 2) - 3;
  }

  // The kept numbers over their coordinate's deviation in the other draws: its own would cut them off at √draws.
  // Without coordinates that do not vary.
  void standardise() {
    const std::vector<double> squares = take(squares_, positions_->indices()).to_vector<double>();
    const size_t count = squares.size();
    for (size_t i = 0; i < kept_.size(); ++i) {
      const double x = static_cast<double>(kept_[i]), others = squares[i % count] - x * x;
      if (squares[i % count] > 0)
        numbers_.push_back(
            x / std::sqrt(std::max(others, kLeast * squares[i % count]) / static_cast<double>(how_.draws - 1)));
    }
    kept_ = {};
    require<ValueError>(!numbers_.empty(), "tails: none of {} kept coordinates varies; needs more of them", count);
  }

  // Point i of n has probability (i + ½)/n.
  void quantiles(Tails& found) const {
    const double n = static_cast<double>(numbers_.size()), most = -normal_quantiles({0.5 / n})[0];
    const Tensor normal = linspace(-most, most, how_.points, DType::f64);
    found.normal = normal.to_vector<double>();
    for (const double p : normal_cdf(normal).to_vector<double>()) {
      const double at = std::clamp(p * n - 0.5, 0.0, n - 1);
      const size_t below = static_cast<size_t>(at), above = std::min(below + 1, numbers_.size() - 1);
      found.empirical.push_back(numbers_[below] +
                                (numbers_[above] - numbers_[below]) * (at - static_cast<double>(below)));
    }
  }

  // 1/α is the mean of log(x/x_k) over the k largest magnitudes x, x_k the next one (Hill 1975).
  static double hill_of(const std::vector<double>& falling) {
    double sum = 0;
    for (const double x : falling) sum += std::log(x / falling.back());
    return static_cast<double>(falling.size() - 1) / sum;
  }
  size_t extremes_of(size_t count) const {
    const size_t most = count - 1;
    return std::clamp<size_t>(static_cast<size_t>(how_.share * static_cast<double>(count)), std::min<size_t>(2, most),
                              most);
  }
  static std::vector<double> largest(std::vector<double> numbers, size_t count) {
    for (double& x : numbers) x = std::abs(x);
    std::partial_sort(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(count), numbers.end(),
                      std::greater<>());
    numbers.resize(count);
    return numbers;
  }
  // Numbers of one draw depend on each other: the error is that of the mean over parts of the draws.
  void hill(Tails& found) const {
    const size_t count = numbers_.size(), k = extremes_of(count);
    found.extremes = static_cast<int64_t>(k);
    found.hill = hill_of(largest(numbers_, k + 1));
    std::vector<double> p;
    for (size_t i = 0; i <= k; ++i) p.push_back((static_cast<double>(i) + 0.5) / static_cast<double>(count) / 2);
    std::vector<double> normal = normal_quantiles(p);
    for (double& z : normal) z = -z;
    found.normal_hill = hill_of(normal);

    const size_t draws = static_cast<size_t>(how_.draws), parts = std::min<size_t>(kParts, draws);
    const size_t of_draw = count / draws;
    double sum = 0, squares = 0;
    for (size_t part = 0; part < parts; ++part) {
      const auto at = [&](size_t i) {
        return numbers_.begin() + static_cast<std::ptrdiff_t>(i * draws / parts * of_draw);
      };
      const std::vector<double> some(at(part), at(part + 1));
      const double hill = some.size() < 2 ? NAN : hill_of(largest(some, extremes_of(some.size()) + 1));
      sum += hill;
      squares += hill * hill;
    }
    const double n = static_cast<double>(parts);
    found.hill_error = std::sqrt(std::max(0.0, squares - sum * sum / n) / (n - 1) / n);
  }

  const TailOptions how_;
  Tensor squares_, fourths_;
  std::optional<Positions> positions_;
  std::vector<float> kept_;      // by draw
  std::vector<double> numbers_;  // likewise, then in order
};

}  // namespace

Tails tails_of(const std::function<Tensor(int64_t)>& noise, const TailOptions& how) {
  require<ValueError>(how.draws >= 2 && how.coordinates >= 1 && how.share > 0 && how.share < 1 && how.points >= 2,
                      "tails: {} draws, {} coordinates, share {}, {} points; needs 2 draws, 1 coordinate, a share "
                      "between 0 and 1, 2 points",
                      how.draws, how.coordinates, how.share, how.points);
  const NoGrad quiet;
  DrawnNoise draws(how);
  for (int64_t number = 0; number < how.draws; ++number) draws.add(noise(number));
  return draws.tails();
}

}  // namespace mollify::smoothing
