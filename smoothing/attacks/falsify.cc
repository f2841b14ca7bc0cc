#include <mollify/smoothing/attacks/falsify.h>

#include <mollify/engine/grad.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

namespace mollify::smoothing {
namespace {

constexpr uint64_t kStream = stream_of(Purpose::falsify);  // below it the draw within a round
constexpr int64_t kScreened = 4;                    // points drawn for one that descends
constexpr double kFirstStep = 0.1, kLastStep = 0.002, kFirstDecay = 0.9,
                 kSecondDecay = 0.99;  // steps in widths of the box

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// One search. Points are rows [n, d] of the flattened box.
class Hunt {
 public:
  Hunt(const Function& f, const Violation& violation, const Tensor& lower, const Tensor& upper,
       const FalsifyOptions& how)
      : f_(f),
        violation_(violation),
        how_(how),
        shape_(lower.shape()),
        lower_(flatten(lower.detach())),
        upper_(flatten(upper.detach())),
        width_(upper_ - lower_),
        end_(seconds_now() + how.seconds) {}
  Falsified run();

 private:
  bool done(int64_t rows) const {  // a first batch there always is
    return best_.found || best_.evaluations + rows > how_.evaluations ||
           (best_.evaluations > 0 && seconds_now() >= end_);
  }
  Tensor violations_of(const Tensor& points);
  Tensor draw(int64_t round, int64_t first, int64_t count) const;
  Tensor screened(int64_t round);
  void descend(Tensor points);
  void record(const Tensor& points, const Tensor& violations);

  const Function& f_;
  const Violation& violation_;
  const FalsifyOptions& how_;
  Shape shape_;
  Tensor lower_, upper_, width_;
  double end_;
  Falsified best_{{}, std::numeric_limits<double>::quiet_NaN(), false, 0};
};

Tensor Hunt::violations_of(const Tensor& points) {
  Shape shape = shape_;
  shape.insert(0, points.dim(0));
  const Tensor violations = violation_(f_(reshape(points, shape)));
  require(violations.shape() == Shape{points.dim(0)}, "falsify: violations are {} for {}; needs one per row",
          violations.shape(), shape);
  require<TypeError>(is_floating(violations.dtype()), "falsify: violations are {}; need f32 or f64",
                     violations.dtype());
  best_.evaluations += points.dim(0);
  return violations;
}

// Points first … of a round: the first of all is the centre, one in four a corner, the others uniform.
Tensor Hunt::draw(int64_t round, int64_t first, int64_t count) const {
  const Tensor numbers = cast(arange(count, DType::f64, lower_.device()) + static_cast<double>(first), DType::i32);
  const Tensor step = Tensor::scalar(static_cast<double>(round), DType::i32);
  const Tensor u = uniform_rows({count, width_.size()}, {how_.seed, kStream}, numbers, step, width_.dtype());
  const Tensor half = Tensor::scalar(0.5, u.dtype()), corners = where(greater(u, half), upper_, lower_);
  const Tensor is_corner =
      reshape(less(numbers, Tensor::scalar(static_cast<double>(how_.batch), DType::i32)), {count, 1});
  const Tensor points = where(is_corner, corners, clip(lower_ + u * width_, lower_, upper_));
  if (round > 0 || first > 0) return points;
  const Tensor center = clip(lower_ + width_ * 0.5, lower_, upper_);
  return concat(Tensors{reshape(center, {1, width_.size()}), slice(points, 0, 1, count)});
}

// The starts of a round: of kScreened·batch points half a batch of the best, and half a batch whatever they are.
Tensor Hunt::screened(int64_t round) {
  std::vector<Tensor> points, scores;
  for (int64_t part = 0; part < kScreened && !done(how_.batch); ++part) {
    points.push_back(draw(round, part * how_.batch, how_.batch));
    const Tensor violations = violations_of(points.back());
    record(points.back(), violations);
    scores.push_back(where(equal(violations, violations), -violations,
                           zeros_like(violations) - std::numeric_limits<double>::infinity()));
  }
  if (points.empty()) return {};
  const int64_t half = how_.batch / 2;
  const Tensor all = concat(points), best = take(all, top_k(concat(scores), half).indices);
  return concat(Tensors{best, slice(all, 0, all.dim(0) - half, all.dim(0))});
}

// Adam (Kingma & Ba 2015) in the unit box, on gradients scaled to 1 by row.
void Hunt::descend(Tensor points) {
  Tensor first = zeros_like(points), second = first;
  for (int64_t step = 0; step < how_.steps && !done(points.dim(0)); ++step) {
    Tensor violations;
    const Tensor gradient = grad([&](const Tensor& x) {
      const Tensor live = violations_of(x);
      violations = live.detach();
      return sum(live);
    })(points) * width_;
    record(points, violations);
    Tensor scaled = gradient / max(abs(gradient), {1}, /*keep=*/true);
    scaled = where(equal(scaled, scaled), scaled, zeros_like(scaled));
    first = first * kFirstDecay + scaled * (1 - kFirstDecay);
    second = second * kSecondDecay + square(scaled) * (1 - kSecondDecay);
    const double count = static_cast<double>(step + 1),
                 done = static_cast<double>(step) / static_cast<double>(how_.steps);
    const Tensor mean = first / (1 - std::pow(kFirstDecay, count)),
                 square_mean = second / (1 - std::pow(kSecondDecay, count));
    const double size = kLastStep + (kFirstStep - kLastStep) * (1 + std::cos(std::numbers::pi * done)) / 2;
    points = clip(points - mean / (sqrt(square_mean) + 1e-8) * width_ * size, lower_, upper_);
  }
  if (!done(points.dim(0))) record(points, violations_of(points));
}

// Keeps the best point. One that meets the condition is computed again by itself, as whoever replays it does.
void Hunt::record(const Tensor& points, const Tensor& violations) {
  const std::vector<double> values = cast(violations, DType::f64).to_vector<double>();
  for (size_t i = 0; i < values.size() && !best_.found; ++i) {
    const bool better = values[i] < best_.violation || (std::isnan(best_.violation) && !std::isnan(values[i]));
    if (best_.x.defined() && !better) continue;
    const Tensor point = slice(points, 0, static_cast<int64_t>(i), static_cast<int64_t>(i) + 1);
    const double value = values[i] <= 0 ? violations_of(point).item() : values[i];
    best_.x = packed(point);
    best_.violation = value;
    best_.found = value <= 0;
  }
}

Falsified Hunt::run() {
  for (int64_t round = 0; !done(how_.batch); ++round) {
    const Tensor starts = screened(round);
    if (starts.defined() && !best_.found) descend(starts);
  }
  best_.x = reshape(best_.x, shape_);
  return best_;
}

template <class T>
void require_box(const Tensor& lower, const Tensor& upper) {
  const std::vector<T> low = lower.to_vector<T>(), high = upper.to_vector<T>();
  for (size_t i = 0; i < low.size(); ++i) {
    const double from = low[i], to = high[i];
    require<ValueError>(from <= to && std::isfinite(from) && std::isfinite(to),
                        "falsify: a box from {} to {}; needs finite lower ≤ upper", from, to);
  }
}

}  // namespace

Violation halfspaces(const Tensor& a, const Tensor& b) {
  require(a.rank() == 2 && b.shape() == Shape{a.dim(0)}, "halfspaces: a is {}, b is {}; needs [rows, k] and [rows]",
          a.shape(), b.shape());
  return [a = transpose(a.detach()), b = b.detach()](const Tensor& outputs) {
    if (b.size() == 0) return sum(outputs, {1}) * 0.0 - std::numeric_limits<double>::infinity();
    return max(matmul(outputs, a) - b, {1});
  };
}

Falsified falsify(const Function& f, const Violation& violation, const Tensor& lower, const Tensor& upper,
                  const FalsifyOptions& how) {
  require<ValueError>(f && violation, "falsify: an empty function given; needs f and violation");
  require<TypeError>(is_floating(lower.dtype()) && lower.dtype() == upper.dtype(),
                     "falsify: bounds are {} and {}; need f32 or f64, both alike", lower.dtype(), upper.dtype());
  require(lower.shape() == upper.shape() && lower.rank() < kMaxRank && lower.size() > 0,
          "falsify: bounds are {} and {}; need one shape with numbers, of at most {} axes", lower.shape(),
          upper.shape(), kMaxRank - 1);
  require<ValueError>(
      how.batch >= 2 && how.batch < int64_t{1} << 28 && how.evaluations >= how.batch && how.steps >= 0 &&
          how.seconds >= 0,
      "falsify: batch {}, evaluations {}, steps {}, seconds {}; need 2 ≤ batch ≤ evaluations, batch < 2^28, steps ≥ 0, "
      "seconds ≥ 0",
      how.batch, how.evaluations, how.steps, how.seconds);
  lower.dtype() == DType::f32 ? require_box<float>(lower, upper) : require_box<double>(lower, upper);
  const NoGrad guard;
  return Hunt(f, violation, lower, upper, how).run();
}

}  // namespace mollify::smoothing
