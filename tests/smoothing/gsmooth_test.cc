#include <mollify/smoothing/gsmooth.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

const std::vector<double> kStart{0.8, -0.5, 0.1};

Tensor start() { return Tensor::from(kStart, {3}); }

// Σ w⁴ and its smoothing w⁴ + 6 w² s² + 3 s⁴, whose gradient 4 w³ + 12 w s² depends on s.
Tensor quartic(const Tensor& w, const Sigma& sigma) {
  const Tensor s2 = square(sigma.tensor(w.dtype()));
  return sum(square(square(w)) + square(w) * s2 * 6.0 + square(s2) * 3.0);
}
double quartic_value(const std::vector<double>& w, double s) {
  double value = 0;
  for (const double x : w) value += std::pow(x, 4) + 6 * x * x * s * s + 3 * std::pow(s, 4);
  return value;
}
double quartic_slope(double x, double s) { return 4 * x * x * x + 12 * x * s * s; }

void expect_near(const Tensor& got, const std::vector<double>& expected) {
  const auto values = got.to_vector<double>();
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(values[i], expected[i], 1e-13 * (1 + std::abs(expected[i]))) << i;
}

TEST(GSmooth, SgdStepsAsByHandAlongTheSchedule) {
  for (const bool paper : {false, true}) {
    const optim::Schedule schedule = optim::step_decay(0.5, 0.8, 2);
    GSmooth smoothed(optim::sgd(optim::constant(0.03)), paper ? Sigma::paper(schedule) : Sigma::stddev(schedule));
    Tensor w = start();
    std::vector<double> expected = kStart;
    for (int t = 0; t < 7; ++t) {
      const double s = 0.5 * std::pow(0.8, t / 2) * (paper ? std::sqrt(0.5) : 1);
      EXPECT_NEAR(smoothed.sigma().stddev(), s, 1e-15);
      EXPECT_NEAR(smoothed.step(w, quartic).item(), quartic_value(expected, s), 1e-13);
      for (double& x : expected) x -= 0.03 * quartic_slope(x, s);
      expect_near(w, expected);
    }
    EXPECT_EQ(smoothed.optimizer().steps(), 7);
  }
}

TEST(GSmooth, WithoutScaleIsTheOptimizerItself) {
  GSmooth smoothed(optim::adam(optim::constant(0.03)), Sigma::stddev(0.0));
  const auto plain = optim::adam(optim::constant(0.03));
  Tensor a = start(), b = start();
  for (int t = 0; t < 5; ++t) {
    smoothed.step(a, quartic);
    plain->step(b, [](const Tensor& w) { return quartic(w, Sigma::stddev(0.0)); });
  }
  EXPECT_EQ(a.to_vector<double>(), b.to_vector<double>());
}

// The algorithm as printed: m ← βm + (1 − β)g, v ← θv + (1 − θ)g², x ← x − η m/√(v + ε).
TEST(GSmooth, AdamOfThePaperStepsAsByHand) {
  const double beta = 0.8, theta = 0.95, epsilon = 1e-3, s = 0.3;
  GSmooth smoothed(
      optim::adam(
          optim::constant(0.02),
          {.beta1 = beta, .beta2 = theta, .epsilon = epsilon, .bias_correction = false, .epsilon_inside = true}),
      Sigma::stddev(s));
  Tensor w = start();
  std::vector<double> expected = kStart, m(3), v(3);
  for (int t = 0; t < 8; ++t) {
    smoothed.step(w, quartic);
    for (size_t i = 0; i < 3; ++i) {
      const double g = quartic_slope(expected[i], s);
      m[i] = beta * m[i] + (1 - beta) * g;
      v[i] = theta * v[i] + (1 - theta) * g * g;
      expected[i] -= 0.02 * m[i] / std::sqrt(v[i] + epsilon);
    }
    expect_near(w, expected);
  }
}

// s ← max(min(s − rate·∂f_s/∂s, decay·s), least), with ∂f_s/∂s = Σ 12 w² s + 12 s³ at the weights before the step.
TEST(GSmooth, SlghFollowsTheGradientInTheScale) {
  for (const SlghRule& rule :
       {SlghRule{.rate = 0.01, .decay = 0.999, .least = 0}, SlghRule{.rate = 1e-9, .decay = 0.9, .least = 0.35}}) {
    GSmooth smoothed(optim::sgd(optim::constant(0.02)), Sigma::stddev(0.5), rule);
    Tensor w = start();
    std::vector<double> expected = kStart;
    double s = 0.5;
    for (int t = 0; t < 6; ++t) {
      EXPECT_NEAR(smoothed.sigma().stddev(), s, 1e-14);
      smoothed.step(w, quartic);
      double slope = 0;
      for (double& x : expected) {
        slope += 12 * x * x * s + 12 * s * s * s;
        x -= 0.02 * quartic_slope(x, s);
      }
      s = std::max(std::min(s - rule.rate * slope, rule.decay * s), rule.least);
      expect_near(w, expected);
    }
    EXPECT_LT(s, 0.5);
  }
}

TEST(GSmooth, ResumesFromItsStateToTheSameBits) {
  const auto make = [](bool slgh) {
    auto optimizer = optim::sgd(optim::constant(0.02), {.momentum = 0.9});
    return slgh ? GSmooth(std::move(optimizer), Sigma::stddev(0.5), SlghRule{.rate = 0.01})
                : GSmooth(std::move(optimizer), Sigma::stddev(optim::step_decay(0.5, 0.7, 1)));
  };
  for (const bool slgh : {false, true}) {
    GSmooth whole = make(slgh), first = make(slgh), second = make(slgh);
    Tensor expected = start(), w = start();
    for (int t = 0; t < 9; ++t) whole.step(expected, quartic);
    for (int t = 0; t < 4; ++t) first.step(w, quartic);
    second.set_state(first.state());
    for (int t = 0; t < 5; ++t) second.step(w, quartic);
    EXPECT_EQ(w.to_vector<double>(), expected.to_vector<double>());
    EXPECT_EQ(second.sigma().stddev(), whole.sigma().stddev());
    EXPECT_THROW(second.set_state({}), ValueError);
  }
}

TEST(GSmooth, RefusesWhatIsNoRule) {
  EXPECT_THROW(GSmooth(nullptr, Sigma::stddev(0.1)), ValueError);
  EXPECT_THROW(GSmooth(optim::sgd(optim::constant(1)), Sigma::stddev(0.1), SlghRule{.rate = -1}), ValueError);
  EXPECT_THROW(GSmooth(optim::sgd(optim::constant(1)), Sigma::stddev(0.1), SlghRule{.rate = 1, .decay = 1.5}),
               ValueError);
  EXPECT_THROW(
      GSmooth(optim::sgd(optim::constant(1)), Sigma::stddev(0.1), SlghRule{.rate = 1, .decay = 0.5, .least = -1}),
      ValueError);
}

// A finite sum: f_i(w) = ½ Σ_j a_ij (w_j − c_ij)² + ¼ d (w_j − c_ij)⁴, smoothed in closed form.
struct FiniteSum {
  static constexpr int kTerms = 8;
  double quartic = 0.3;

  SmoothedLoss term(int i) const {
    return [this, i](const Tensor& w, const Sigma& sigma) {
      const Tensor s2 = square(sigma.tensor(w.dtype()));
      const Tensor a = arange(3, DType::f64) * 0.4 + (0.5 + 0.2 * i),
                   u2 = square(w - sin(arange(3, DType::f64) + 2.0 * i));
      return sum(a * (u2 + s2) * 0.5 + (square(u2) + u2 * s2 * 6.0 + square(s2) * 3.0) * (quartic / 4));
    };
  }
  SmoothedLoss whole() const {
    return [this](const Tensor& w, const Sigma& sigma) {
      Tensor sum = term(0)(w, sigma);
      for (int i = 1; i < kTerms; ++i) sum = sum + term(i)(w, sigma);
      return sum / static_cast<double>(kTerms);
    };
  }
};

Tensor gradient(const SmoothedLoss& loss, const Tensor& w, double s) {
  return grad([&](const Tensor& v) { return loss(v, Sigma::stddev(s)); })(w);
}

TEST(GSmoothSvrg, FirstStepOfARoundIsTheFullGradientExactly) {
  const FiniteSum f;
  GSmoothSvrg svrg(optim::constant(1.0), Sigma::stddev(0.4));
  Tensor w = start();
  svrg.start_round(w, f.whole());
  svrg.step(w, f.term(5));
  EXPECT_EQ(w.to_vector<double>(), (start() - gradient(f.whole(), start(), 0.4)).to_vector<double>());
}

TEST(GSmoothSvrg, StepsAreByTheFormulaAndUnbiased) {
  const FiniteSum f;
  const double s = 0.4, rate = 0.1;
  for (const auto anchor : {GSmoothSvrg::Anchor::smoothed, GSmoothSvrg::Anchor::plain}) {
    const double tau = anchor == GSmoothSvrg::Anchor::plain ? 0 : s;
    const Tensor elsewhere = start() + 0.7, full = gradient(f.whole(), start(), tau);
    Tensor mean_step = zeros({3}, DType::f64);
    for (int i = 0; i < FiniteSum::kTerms; ++i) {
      GSmoothSvrg svrg(optim::constant(rate), Sigma::stddev(s), anchor);
      svrg.start_round(start(), f.whole());
      const Tensor w = elsewhere + 0.0;
      const Tensor along = svrg.direction(w, f.term(i));
      EXPECT_EQ(w.to_vector<double>(), elsewhere.to_vector<double>());
      EXPECT_NEAR(svrg.step(w, f.term(i)).item(), f.term(i)(elsewhere, Sigma::stddev(s)).item(), 1e-14);
      EXPECT_LT(max(abs(elsewhere - along * rate - w)).item(), 1e-15);
      const Tensor moved = (elsewhere - w) / rate;
      const Tensor expected = gradient(f.term(i), elsewhere, s) - gradient(f.term(i), start(), tau) + full;
      EXPECT_LT(max(abs(moved - expected)).item(), 1e-13) << i;
      mean_step = mean_step + moved / static_cast<double>(FiniteSum::kTerms);
    }
    EXPECT_LT(max(abs(mean_step - gradient(f.whole(), elsewhere, s))).item(), 1e-13);
  }
}

TEST(GSmoothSvrg, ConvergesLinearlyWhereSgdStalls) {
  const FiniteSum f;
  const double s = 0.3, rate = 0.1;
  RandomSequence random({1, 1});
  const auto drawn = [&] { return f.term(static_cast<int>(random.below(FiniteSum::kTerms))); };
  const auto norm = [&](const Tensor& w) { return std::sqrt(sum(square(gradient(f.whole(), w, s))).item()); };

  for (const auto next : {optim::SvrgOptions::Next::last, optim::SvrgOptions::Next::drawn}) {
    Tensor w = start();
    GSmoothSvrg svrg(optim::constant(rate), Sigma::stddev(s), GSmoothSvrg::Anchor::smoothed, {.next = next, .seed = 3});
    std::vector<double> norms;
    for (int round = 0; round < 25; ++round) {
      svrg.start_round(w, f.whole());
      norms.push_back(norm(w));
      for (int step = 0; step < 40; ++step) svrg.step(w, drawn());
    }
    EXPECT_EQ(svrg.rounds(), 25);
    EXPECT_LT(norms[12], 1e-3 * norms[0]);
    EXPECT_LT(norms[24], 1e-7 * norms[0]);
  }
  Tensor w = start();
  GSmooth sgd(optim::sgd(optim::constant(rate)), Sigma::stddev(s));
  double mean_norm = 0;
  for (int step = 0; step < 1000; ++step) {
    sgd.step(w, drawn());
    if (step >= 900) mean_norm += norm(w) / 100;
  }
  EXPECT_GT(mean_norm, 1e-2);
}

TEST(GSmoothSvrg, DrawnAnchorsAreUniformAmongTheRoundsIterates) {
  const FiniteSum f;
  constexpr int kSteps = 4, kSeeds = 400;
  int counts[kSteps] = {};
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    GSmoothSvrg svrg(optim::constant(0.1), Sigma::stddev(0.3), GSmoothSvrg::Anchor::smoothed,
                     {.next = optim::SvrgOptions::Next::drawn, .seed = seed});
    Tensor w = start();
    svrg.start_round(w, f.whole());
    std::vector<std::vector<double>> iterates;
    for (int step = 0; step < kSteps; ++step) {
      svrg.step(w, f.term(step));
      iterates.push_back(w.to_vector<double>());
    }
    svrg.start_round(w, f.whole());
    const auto place = std::find(iterates.begin(), iterates.end(), w.to_vector<double>());
    ASSERT_NE(place, iterates.end());
    ++counts[place - iterates.begin()];
  }
  for (const int count : counts) EXPECT_NEAR(count, 100, 4 * std::sqrt(75.0));
}

TEST(GSmoothSvrg, ResumesFromItsStateToTheSameBits) {
  const FiniteSum f;
  const auto make = [] {
    return GSmoothSvrg(optim::step_decay(0.1, 0.5, 4), Sigma::stddev(optim::step_decay(0.8, 0.5, 1)),
                       GSmoothSvrg::Anchor::smoothed, {.next = optim::SvrgOptions::Next::drawn, .seed = 3});
  };
  const auto walk = [&](GSmoothSvrg& svrg, const Tensor& w, int first, int last) {
    for (int i = first; i < last; ++i) {
      if (i % 5 == 0) svrg.start_round(w, f.whole());
      svrg.step(w, f.term(i % FiniteSum::kTerms));
    }
  };
  for (int stop : {0, 5, 7, 10}) {
    GSmoothSvrg whole = make(), first = make(), rest = make();
    const Tensor unbroken = start(), broken = start();
    walk(whole, unbroken, 0, 14);
    walk(first, broken, 0, stop);
    rest.set_state(first.state());
    walk(rest, broken, stop, 14);
    EXPECT_EQ(broken.to_vector<double>(), unbroken.to_vector<double>()) << stop;
    EXPECT_EQ(rest.rounds(), 3);
  }
  EXPECT_THROW(make().set_state({}), ValueError);
}

TEST(GSmoothSvrg, FollowsTheScheduleOfRounds) {
  const FiniteSum f;
  std::vector<double> seen;
  const SmoothedLoss recording = [&](const Tensor& w, const Sigma& sigma) {
    seen.push_back(sigma.stddev());
    return f.term(0)(w, sigma);
  };
  GSmoothSvrg svrg(optim::constant(0.01), Sigma::stddev(optim::step_decay(0.8, 0.5, 1)), GSmoothSvrg::Anchor::plain);
  Tensor w = start();
  for (int round = 0; round < 3; ++round) {
    svrg.start_round(w, recording);
    svrg.step(w, recording);
  }
  EXPECT_EQ(seen, (std::vector<double>{0, 0.8, 0, 0, 0.4, 0, 0, 0.2, 0}));

  GSmoothSvrg rising(optim::constant(0.01),
                     Sigma::stddev([](int64_t round) { return 0.1 * static_cast<double>(round + 1); }));
  rising.start_round(w, f.whole());
  EXPECT_THROW(rising.start_round(w, f.whole()), ValueError);
  GSmoothSvrg idle(optim::constant(0.01), Sigma::stddev(0.1));
  EXPECT_THROW(idle.step(w, f.term(0)), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
