// What single attacks do: their published steps, written out, and what they climb.
#include <mollify/smoothing/attacks/apgd.h>
#include <mollify/smoothing/attacks/ddn.h>
#include <mollify/smoothing/attacks/fab.h>
#include <mollify/smoothing/attacks/pgd.h>
#include <mollify/smoothing/attacks/square.h>
#include <mollify/smoothing/attacks/suites.h>

#include "attacked.h"

#include <algorithm>

namespace mollify::smoothing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

int64_t count(const Tensor& truths) { return static_cast<int64_t>(sum(cast(truths, DType::f64)).item()); }

TEST(Apgd, HalvesItsStepsAtThePublishedCheckpoints) {
  EXPECT_EQ(apgd_checkpoints(100), (std::vector<int64_t>{22, 41, 57, 70, 80, 87, 93, 99}));
  EXPECT_EQ(apgd_checkpoints(1), (std::vector<int64_t>{1}));
  for (const int64_t steps : {2, 5, 20, 33, 1000}) {
    const std::vector<int64_t> at = apgd_checkpoints(steps);
    EXPECT_TRUE(std::is_sorted(at.begin(), at.end()) && at.front() >= 1 && at.back() <= steps);
  }
}

// −(x_0 − c)² and its like for class 1 against a constant: steps of 2ε swing to and fro and only halving gets near.
TEST(Apgd, GetsNearAPeakThatFixedStepsJumpOver) {
  const double peak = 0.21;
  const Function f = [&](const Tensor& x) {
    const Tensor bump = -sum(square(x - peak), {1}, /*keep=*/true);
    return concat(Tensors{zeros_like(bump), bump}, 1);
  };
  const Tensor x = zeros({3, 2}, DType::f64), labels = zeros({3}, DType::i32);
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    const Adversarial found = apgd(f, x, labels, {.norm = norm, .epsilon = 0.5},
                                   {.objective = Objective::margin, .steps = 100, .stop_at_success = false});
    for (const double margin : numbers(found.margins)) EXPECT_GT(margin, -1e-4);
  }
}

// Its own outputs are the same with the classes' scales, where cross-entropy underflows.
TEST(Apgd, ByDlrDoesNotCareForScale) {
  const Images images(DType::f64);
  const auto found = [&](double scale) {
    const Function f = [&](const Tensor& x) { return images.f(x) * scale; };
    return attacks_named("apgd-dlr", {.steps = 8, .restarts = 2})[0].run(f, images.x, images.labels, {.epsilon = 0.05});
  };
  EXPECT_LT(max(abs(found(1).inputs - found(1024).inputs)).item(), 1e-6);
  EXPECT_EQ(numbers(found(1).success), numbers(found(1024).success));
  EXPECT_GT(count(found(1).success), 0);
}

// Three classes of two numbers, curved: outputs and their gradients by hand.
struct Curved {
  static std::vector<double> outputs(const std::vector<double>& x) {
    return {1 + x[0] * x[0] - 0.5 * x[1], std::sin(9 * x[0]) + x[1], 0.3 * x[0] * x[1] - x[1] * x[1]};
  }
  static Tensor f(const Tensor& x) {
    const Tensor a = slice(x, 1, 0, 1), b = slice(x, 1, 1, 2);
    return concat(Tensors{square(a) + 1.0 - b * 0.5, sin(a * 9.0) + b, a * b * 0.3 - square(b)}, 1);
  }
  static double margin(const std::vector<double>& x) {  // of label 0
    const std::vector<double> o = outputs(x);
    return std::max(o[1], o[2]) - o[0];
  }
  static double cross_entropy(const std::vector<double>& x) {
    const std::vector<double> o = outputs(x);
    return std::log(std::exp(o[0]) + std::exp(o[1]) + std::exp(o[2])) - o[0];
  }
  template <class F>
  static std::vector<double> slope(F loss, std::vector<double> x) {
    std::vector<double> g(2);
    for (size_t i = 0; i < 2; ++i) {
      const double at = x[i];
      x[i] = at + 1e-6;
      const double more = loss(x);
      x[i] = at - 1e-6;
      g[i] = (more - loss(x)) / 2e-6;
      x[i] = at;
    }
    return g;
  }
};
using Point = std::vector<double>;
double length(const Point& p) { return std::sqrt(p[0] * p[0] + p[1] * p[1]); }

// The points that an attack evaluates, of one row, in order.
std::vector<Point> visited(const Attack& attack, const Threat& threat, const Point& x) {
  std::vector<Point> all;
  const Function f = [&](const Tensor& t) {
    all.push_back(t.detach().to_vector<double>());
    return Curved::f(t);
  };
  attack.run(f, Tensor::from(x, {1, 2}), zeros({1}, DType::i32), threat);
  return all;
}

// APGD written out, from the start that it drew: steps, momentum, checkpoints, and restarts from the best point.
TEST(Apgd, TakesThePublishedSteps) {
  const double epsilon = 0.4;
  const Point x = {0.3, -0.6};
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const Threat threat{.norm = Norm::l2, .epsilon = epsilon, .seed = seed};
    const int64_t steps = 60;
    const Attack attack{"", [&](const Function& f, const Tensor& at, const Tensor& labels, const Threat& on) {
                          return apgd(f, at, labels, on,
                                      {.objective = Objective::margin, .steps = steps, .stop_at_success = false});
                        }};
    const std::vector<Point> seen = visited(attack, threat, x);
    ASSERT_EQ(seen.size(), static_cast<size_t>(steps) + 2);  // x, the start, the steps
    const auto project = [&](Point p) {
      const Point off = {p[0] - x[0], p[1] - x[1]};
      const double far = length(off);
      return far > epsilon ? Point{x[0] + off[0] * epsilon / far, x[1] + off[1] * epsilon / far} : p;
    };
    Point at = seen[1], before = at, best = at;
    double step = 2 * epsilon, loss = Curved::margin(at), best_loss = loss, checked = loss;
    Point gradient = Curved::slope(Curved::margin, at), best_gradient = gradient;
    int64_t rises = 0, last = 0, halvings = 0;
    bool halved = true;
    const std::vector<int64_t> checkpoints = apgd_checkpoints(steps);
    for (int64_t i = 1; i <= steps; ++i) {
      const double a = i == 1 ? 1 : 0.75, size = length(gradient);
      const Point ahead = project({at[0] + step * gradient[0] / size, at[1] + step * gradient[1] / size});
      const Point next = project({at[0] + a * (ahead[0] - at[0]) + (1 - a) * (at[0] - before[0]),
                                  at[1] + a * (ahead[1] - at[1]) + (1 - a) * (at[1] - before[1])});
      before = at;
      at = next;
      EXPECT_NEAR(seen[static_cast<size_t>(i) + 1][0], at[0], 1e-5) << "step " << i;
      EXPECT_NEAR(seen[static_cast<size_t>(i) + 1][1], at[1], 1e-5) << "step " << i;
      at = seen[static_cast<size_t>(i) + 1];  // the differences' rounding does not add up
      const double now = Curved::margin(at);
      rises += now > loss;
      loss = now;
      gradient = Curved::slope(Curved::margin, at);
      if (loss > best_loss) {
        best = at;
        best_loss = loss;
        best_gradient = gradient;
      }
      if (!std::count(checkpoints.begin(), checkpoints.end(), i)) continue;
      halved = 4 * rises <= 3 * (i - last) || (!halved && best_loss <= checked);
      if (halved) {
        step /= 2;
        at = best;
        gradient = best_gradient;
        ++halvings;
      }
      last = i;
      rises = 0;
      checked = best_loss;
    }
    EXPECT_GT(halvings, 1) << seed;
  }
}

// DDN written out: the direction's steps fall by a cosine, and the norm alone follows success.
TEST(Ddn, TakesThePublishedSteps) {
  const Point x = {0.3, -0.6};
  const int64_t steps = 25;
  const Attack attack{"", [&](const Function& f, const Tensor& at, const Tensor& labels, const Threat& threat) {
                        return ddn(f, at, labels, threat, {.steps = steps});
                      }};
  const std::vector<Point> seen = visited(attack, {.norm = Norm::l2, .epsilon = kInfinity}, x);
  ASSERT_EQ(seen.size(), static_cast<size_t>(steps) + 2);
  Point offset = {0, 0};
  double norm = 1;
  int64_t broken = 0;
  for (int64_t i = 0; i < steps; ++i) {
    const Point at = {x[0] + offset[0], x[1] + offset[1]}, gradient = Curved::slope(Curved::cross_entropy, at);
    EXPECT_NEAR(seen[static_cast<size_t>(i) + 1][0], at[0], 1e-4) << "step " << i;
    EXPECT_NEAR(seen[static_cast<size_t>(i) + 1][1], at[1], 1e-4) << "step " << i;
    const double alpha = 0.01 + 0.99 * (1 + std::cos(M_PI * static_cast<double>(i) / steps)) / 2;
    for (size_t j = 0; j < 2; ++j) offset[j] += alpha * gradient[j] / length(gradient);
    const bool adversarial = Curved::margin(at) >= 0;
    broken += adversarial;
    norm *= adversarial ? 0.95 : 1.05;
    const double size = length(offset);
    for (double& one : offset) one *= norm / size;
  }
  EXPECT_TRUE(broken > 3 && broken < steps - 3) << broken;
}

// FAB written out, without a box: beyond the nearest linearised boundary, drawn toward x's own projection on it.
TEST(Fab, TakesThePublishedSteps) {
  const Point x = {0.05, 0.1};
  const int64_t steps = 12;
  const Attack attack{"", [&](const Function& f, const Tensor& at, const Tensor& labels, const Threat& threat) {
                        return fab(f, at, labels, threat, {.steps = steps});
                      }};
  const std::vector<Point> seen = visited(attack, {.norm = Norm::l2, .epsilon = kInfinity}, x);
  ASSERT_EQ(seen.size(), static_cast<size_t>(3 * steps) + 1);  // a step: two wrong classes' gradients, the next point
  Point at = x;
  int64_t broken = 0;
  for (int64_t i = 0; i < steps; ++i) {
    EXPECT_NEAR(seen[static_cast<size_t>(3 * i) + 1][0], at[0], 1e-4) << "step " << i;
    EXPECT_NEAR(seen[static_cast<size_t>(3 * i) + 1][1], at[1], 1e-4) << "step " << i;
    double gap = 0, nearest = kInfinity;
    Point gradient;
    for (const size_t k : {1, 2}) {
      const auto difference = [&](const Point& p) { return Curved::outputs(p)[k] - Curved::outputs(p)[0]; };
      const Point slope = Curved::slope(difference, at);
      if (std::abs(difference(at)) / length(slope) >= nearest) continue;
      nearest = std::abs(difference(at)) / length(slope);
      gap = difference(at);
      gradient = slope;
    }
    const double square = length(gradient) * length(gradient);
    const double from_x = gap + gradient[0] * (x[0] - at[0]) + gradient[1] * (x[1] - at[1]);
    const double a = std::abs(gap) / length(gradient), b = std::abs(from_x) / length(gradient);
    const double share = std::min(a / (a + b), 0.1);
    Point next(2);
    for (size_t j = 0; j < 2; ++j)
      next[j] = (1 - share) * (at[j] - 1.05 * gap * gradient[j] / square) +
                share * (x[j] - 1.05 * from_x * gradient[j] / square);
    EXPECT_NEAR(seen[static_cast<size_t>(3 * i) + 3][0], next[0], 1e-4) << "step " << i;
    EXPECT_NEAR(seen[static_cast<size_t>(3 * i) + 3][1], next[1], 1e-4) << "step " << i;
    const bool adversarial = Curved::margin(next) >= 0;
    broken += adversarial;
    for (size_t j = 0; j < 2; ++j) at[j] = adversarial ? x[j] + 0.9 * (next[j] - x[j]) : next[j];
  }
  EXPECT_GT(broken, 2);
}

// Every objective's gradient, by a short step along it: that of its formula, by differences.
TEST(Attacks, ClimbTheObjectiveThatTheyAreAskedFor) {
  const Point z = {2.0, 0.7, -0.4, 0.2, 1.1};  // outputs at x = 0; the label is class 0
  const Tensor weight = normals({5, 6}, 41);
  const auto outputs = [&](const Point& x) {
    Point o = z;
    const std::vector<double> w = weight.to_vector<double>();
    for (size_t k = 0; k < 5; ++k)
      for (size_t j = 0; j < 6; ++j) o[k] += w[6 * k + j] * x[j];
    return o;
  };
  const auto value = [&](Objective objective, const Point& x) {
    const Point o = outputs(x);
    Point s = o;
    std::sort(s.rbegin(), s.rend());
    const double other = std::max({o[1], o[2], o[3], o[4]});  // class 4 is the first target
    switch (objective) {
      case Objective::cross_entropy:
        return std::log(std::exp(o[0]) + std::exp(o[1]) + std::exp(o[2]) + std::exp(o[3]) + std::exp(o[4])) - o[0];
      case Objective::margin: return other - o[0];
      case Objective::dlr: return (other - o[0]) / (s[0] - s[2] + 1e-12);
      case Objective::targeted_margins: return o[4] - o[0];
      case Objective::targeted_dlr: return (o[4] - o[0]) / (s[0] - (s[2] + s[3]) / 2 + 1e-12);
    }
    return 0.0;
  };
  for (const Objective objective : {Objective::cross_entropy, Objective::margin, Objective::dlr,
                                    Objective::targeted_margins, Objective::targeted_dlr}) {
    const Function f = linear(weight, list(z));
    const Adversarial found =
        pgd(f, zeros({1, 6}, DType::f64), zeros({1}, DType::i32), {.norm = Norm::l2, .epsilon = 1e-3},
            {.objective = objective,
             .steps = 1,
             .step_size = 1e-3,
             .targets = 1,
             .random_start = false,
             .stop_at_success = false});
    Point differences(6);
    for (size_t j = 0; j < 6; ++j) {
      Point x(6);
      x[j] = 1e-6;
      const double more = value(objective, x);
      x[j] = -1e-6;
      differences[j] = (more - value(objective, x)) / 2e-6;
    }
    const Tensor gradient = reshape(list(differences), {1, 6});
    EXPECT_GT((sum(gradient * found.inputs) / (norm(gradient) * norm(found.inputs))).item(), 1 - 1e-6)
        << static_cast<int>(objective);
  }
}

TEST(Square, AsksForOutputsAlone) {
  const Images images(DType::f32, 6);
  int64_t calls = 0;
  const Function f = [&](const Tensor& x) {
    EXPECT_FALSE(x.needs_grad());
    ++calls;
    return images.f(x);
  };
  square_attack(f, images.x, images.labels, {.epsilon = 1e-6}, {.queries = 17});
  EXPECT_EQ(calls, 19);
}

TEST(Square, FindsMoreWithMoreQueriesAndGoesWithAnyShape) {
  const Images images(DType::f32);
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    const Threat threat{.norm = norm, .epsilon = norm == Norm::linf ? 0.1 : 0.8, .box = unit_box(DType::f32)};
    const auto broken = [&](int64_t queries) {
      return count(square_attack(images.f, images.x, images.labels, threat, {.queries = queries}).success);
    };
    EXPECT_GT(broken(500), broken(0));
  }
  const Tensor x = uniforms({4, 7}, 1), weight = normals({3, 7}, 2);
  const Tensor labels = argmax(dense(x, weight, {}));
  for (const Norm norm : {Norm::linf, Norm::l2})
    EXPECT_EQ(count(square_attack(linear(weight, {}), x, labels, {.norm = norm, .epsilon = 5}).success), 4);
}

}  // namespace
}  // namespace mollify::smoothing
