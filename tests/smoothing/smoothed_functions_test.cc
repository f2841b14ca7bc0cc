// Test functions under seven noises: closed forms against quadrature, finite differences and samples; niceness against
// what follows from the forms by hand.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/niceness.h>
#include <mollify/smoothing/smoothed_functions.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

using Way = SmoothedFunction::Way;

constexpr RandomKey kKey{7, stream_of(Purpose::caller)};

std::vector<CoordinateNoise> all_noises() {
  std::vector<CoordinateNoise> noises;
  for (const Law law : all_laws()) {
    noises.push_back(CoordinateNoise::published(law));
    if (std::isinf(noises.back().tail_index())) noises.push_back(CoordinateNoise::centred(law));
  }
  return noises;
}

SmoothedFunction smoothed(const char* name, const CoordinateNoise& noise) { return {test_function(name), noise}; }

std::string about(const SmoothedFunction& f, double x, double delta) {
  return format("{} under {} of shift {} at {}, delta {}", f.function().name, to_string(f.noise().law()),
                f.noise().shift(), x, delta);
}

TEST(Noises, HaveTheMomentsAndCharacteristicsOfTheirDraws) {
  const int64_t count = 200000;
  for (const CoordinateNoise& noise : all_noises()) {
    const Tensor u = noise.draw({count}, kKey, Tensor::scalar(0, DType::i32));
    const auto expect_mean = [&](const Tensor& values, double expected) {
      const double error = standard_deviation(values).item() / std::sqrt(static_cast<double>(count));
      EXPECT_NEAR(mean(values).item(), expected, 4 * error + 1e-14) << to_string(noise.law()) << noise.shift();
    };
    if (std::isinf(noise.tail_index())) {
      expect_mean(u, noise.mean());
      for (const int order : {2, 3, 4}) expect_mean(pow(u - noise.mean(), order), noise.central_moment(order));
      for (const double t : {0.0, 0.3, -1.0, 2.5}) {
        expect_mean(cos(u * t), noise.characteristic(t).real());
        expect_mean(sin(u * t), noise.characteristic(t).imag());
      }
    }
    const double far = 3;  // in the standard form
    const Tensor beyond = abs((u - noise.shift()) / noise.scale()) > far;
    if (std::isfinite(noise.tail_index())) expect_mean(cast(beyond, DType::f64), noise.standard_tails(far));
  }
}

TEST(Noises, AreCentredOfNormOneOrRefused) {
  for (const Law law : all_laws()) {
    if (std::isfinite(CoordinateNoise::published(law).tail_index())) {
      EXPECT_THROW(CoordinateNoise::centred(law), ValueError) << to_string(law);
      EXPECT_THROW(CoordinateNoise::published(law).mean(), ValueError) << to_string(law);
      continue;
    }
    for (const int64_t d : {1, 10}) {
      const CoordinateNoise noise = CoordinateNoise::centred(law, d);
      EXPECT_NEAR(noise.mean(), 0, 1e-15);
      EXPECT_NEAR(noise.central_moment(2) * static_cast<double>(d), 1, 1e-14);
      EXPECT_LE(mean(norm(noise.draw({20000, d}, kKey, Tensor::scalar(1, DType::i32)), {-1})).item(), 1.0);
    }
  }
  EXPECT_EQ(law_named("levy"), Law::levy);
  EXPECT_THROW(law_named("normal"), ValueError);
  EXPECT_THROW(CoordinateNoise::centred(Law::gaussian, 0), ValueError);
}

TEST(SmoothedFunctions, AreInfiniteWhereTailsAreTooHeavy) {
  for (const Law law : {Law::cauchy, Law::levy, Law::pareto}) {
    const CoordinateNoise noise = CoordinateNoise::published(law);
    for (const char* name : {"rastrigin", "sphere", "rosenbrock"}) {
      const SmoothedFunction f = smoothed(name, noise);
      EXPECT_EQ(f.way(), Way::infinite) << name;
      EXPECT_THROW(f.form(ones({2}, DType::f64), 0.5), ValueError);
      EXPECT_THROW(niceness(f, {0.5}), ValueError);
    }
    const SmoothedFunction f = smoothed("rastrigin", noise);
    EXPECT_TRUE(std::isinf(f(0.3, 0.5).value));
    EXPECT_TRUE(std::isnan(f(0.3, 0.5).slope));
    EXPECT_EQ(f(1, 0).value, 1);
    EXPECT_THROW(f.by_quadrature(0.3, 0.5), ValueError);
    EXPECT_EQ(smoothed("ackley", noise).way(), Way::quadrature);
    EXPECT_EQ(smoothed("drop_wave", noise).way(), law == Law::cauchy ? Way::form : Way::quadrature);
  }
}

TEST(SmoothedFunctions, FormsAreQuadratures) {
  int forms = 0;
  for (const CoordinateNoise& noise : all_noises())
    for (const char* name : {"sphere", "rastrigin", "drop_wave", "ackley"}) {
      const SmoothedFunction f = smoothed(name, noise);
      if (f.way() != Way::form) continue;
      ++forms;
      for (const double delta : {0.05, 0.5, 2.0})
        for (const double x : {-1.3, 0.0, 0.2, 4.1}) {
          const Jet form = f(x, delta), other = f.by_quadrature(x, delta);
          EXPECT_NEAR(form.value, other.value, 1e-9) << about(f, x, delta);
          EXPECT_NEAR(form.slope, other.slope, 1e-8) << about(f, x, delta);
          EXPECT_NEAR(form.curvature, other.curvature, 1e-7) << about(f, x, delta);
        }
    }
  EXPECT_EQ(forms, 2 * 8 + 1);
}

TEST(SmoothedFunctions, DerivativesAreFiniteDifferencesOfValues) {
  for (const CoordinateNoise& noise : all_noises())
    for (const char* name : {"rastrigin", "drop_wave", "ackley"})
      for (const double x : {0.01, 1.37}) {
        const SmoothedFunction f = smoothed(name, noise);
        if (f.way() == Way::infinite) continue;
        const double delta = 0.3, h = 2e-3;
        const auto value = [&](double by) { return f(x + by, delta).value; };
        const Jet jet = f(x, delta);
        const double slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h);
        const double curvature =
            (16 * (value(h) + value(-h)) - (value(2 * h) + value(-2 * h)) - 30 * value(0)) / (12 * h * h);
        // Where the noise's density jumps, Ackley's kink leaves a jump of the curvature in x.
        EXPECT_NEAR(jet.slope, slope, 1e-5 * (1 + std::abs(slope))) << about(f, x, delta);
        EXPECT_NEAR(jet.curvature, curvature, 2e-4 * (1 + std::abs(curvature))) << about(f, x, delta);
      }
}

TEST(SmoothedFunctions, AreMeansOfSamples) {
  for (const CoordinateNoise& noise : all_noises())
    for (const char* name : {"sphere", "rastrigin", "drop_wave", "ackley"})
      for (const double delta : {0.1, 0.7}) {
        const SmoothedFunction f = smoothed(name, noise);
        if (f.way() == Way::infinite) continue;
        const double x = 0.6;
        const Estimate sampled = f.sampled(Tensor::from(std::vector<double>{x}, {1}), delta, 20000, kKey);
        EXPECT_NEAR(f(x, delta).value, sampled.mean.item(), 4 * sampled.standard_error.item()) << about(f, x, delta);
      }
}

TEST(SmoothedFunctions, FormsOfSeveralNumbersAreMeansOfSamples) {
  const Tensor x = Tensor::from(std::vector<double>{0.3, -1.1, 0.8, 0.45}, {4});
  for (const CoordinateNoise& noise : all_noises())
    for (const char* name : {"sphere", "rastrigin", "rosenbrock"}) {
      const SmoothedFunction f = smoothed(name, noise);
      if (f.way() == Way::infinite) continue;
      const Estimate sampled = f.sampled(x, 0.4, 40000, kKey);
      EXPECT_NEAR(f.form(x, 0.4).item(), sampled.mean.item(), 4 * sampled.standard_error.item()) << about(f, 0, 0.4);
      EXPECT_NEAR(f.form(x, 0).item(), test_function(name).function(x).item(), 1e-11);
      if (std::string(name) == "rosenbrock") continue;
      double sum = 0;  // separable
      for (int i = 0; i < 4; ++i) {
        sum += f(x[i].item(), 0.4).value;
        EXPECT_NEAR(grad([&](const Tensor& y) { return f.form(y, 0.4); })(x)[i].item(), f(x[i].item(), 0.4).slope,
                    1e-11);
      }
      EXPECT_NEAR(f.form(x, 0.4).item(), sum, 1e-11) << about(f, 0, 0.4);
    }
}

TEST(SmoothedFunctions, GaussianFormsTakeSigmas) {
  const Tensor x = Tensor::from(std::vector<double>{0.3, -1.1, 0.8}, {3}), s = Tensor::scalar(0.4, DType::f64);
  for (const char* name : {"sphere", "rastrigin", "rosenbrock"}) {
    const SmoothedLoss form = gaussian_form(test_function(name));
    const SmoothedFunction f = smoothed(name, CoordinateNoise::published(Law::gaussian));
    EXPECT_NEAR(form(x, Sigma::stddev(s)).item(), f.form(x, 0.4).item(), 1e-11);
    EXPECT_NEAR(form(x, Sigma::stddev(0.0)).item(), test_function(name).function(x).item(), 1e-11);
    // The heat equation: ∂f/∂s = s·Δf.
    const double slope = grad([&](const Tensor& t) { return form(x, Sigma::stddev(t)); })(s).item();
    const Tensor curvatures = hessian([&](const Tensor& y) { return form(y, Sigma::stddev(s)); }, x);
    EXPECT_NEAR(slope, 0.4 * sum(curvatures * eye(3, DType::f64)).item(), 1e-9 * std::abs(slope));
  }
  EXPECT_THROW(gaussian_form(test_function("ackley")), ValueError);
}

TEST(SmoothedFunctions, RefuseWhatTheyAreNotDefinedFor) {
  const CoordinateNoise noise = CoordinateNoise::published(Law::gaussian);
  EXPECT_THROW(smoothed("rosenbrock", noise)(0, 1), ValueError);
  EXPECT_THROW(smoothed("ackley", noise).form(ones({2}, DType::f64), 1), ValueError);
  EXPECT_THROW(smoothed("rosenbrock", noise).form(ones({1}, DType::f64), 1), ShapeError);
  EXPECT_THROW(smoothed("sphere", noise)(0, -1), ValueError);
  EXPECT_THROW(smoothed("ackley", noise)(0, 1e-300), ValueError);
  EXPECT_THROW(smoothed("ackley", noise)(0, 1e9), ValueError);
  EXPECT_NEAR(smoothed("ackley", CoordinateNoise::published(Law::levy))(1.5, 1e-9).value,
              ackley(Tensor::from(std::vector<double>{1.5}, {1})).item(), 1e-3);
  EXPECT_THROW(smoothed("sphere", noise)(0, std::nan("")), ValueError);
  EXPECT_THROW(smoothed("sphere", noise).sampled(ones({2}, DType::f64), 1, 1, kKey), ValueError);
}

// f″ = 2 + 40π²·e^(−2π²δ²)·cos 2πx: within 3δ of 0 it is positive for δ below .0837, where the wave has not turned yet,
// and above √(ln(20π²)/(2π²)), where it is too low.
TEST(Niceness, OfRastriginFailsBetweenTwoScales) {
  const SmoothedFunction f = smoothed("rastrigin", CoordinateNoise::published(Law::gaussian));
  const auto least_by_hand = [](double delta) {
    const double wave = 40 * M_PI * M_PI * std::exp(-2 * M_PI * M_PI * delta * delta);
    return 2 + wave * (3 * delta >= 0.5 ? -1 : std::cos(6 * M_PI * delta));
  };
  const double edge = std::sqrt(std::log(20 * M_PI * M_PI) / (2 * M_PI * M_PI));
  EXPECT_NEAR(edge, 0.5174, 5e-5);
  const std::vector<double> deltas{2, 1, 0.6, 0.5175, 0.5173, 0.4, 0.3, 0.1, 0.0838, 0.0836, 0.05, 0.01};
  for (const NicenessLevel& level : niceness(f, deltas)) {
    EXPECT_NEAR(level.minimiser, 0, 1e-9) << level.delta;
    EXPECT_NEAR(level.least_curvature, least_by_hand(level.delta), 1e-6) << level.delta;
    EXPECT_EQ(level.nice(), level.delta < 0.0837 || level.delta > 0.5174) << level.delta;
    EXPECT_NEAR(level.step.value_or(0), 0, 2e-9);
  }
  EXPECT_THROW(niceness(f, {}), ValueError);
  EXPECT_THROW(niceness(f, {0.5, 0.5}), ValueError);
  EXPECT_THROW(niceness(f, {0.5, 0}), ValueError);
}

// Under noise of mean m the sphere's minimiser is δm: a path of steps m·(δ − δ′).
TEST(Niceness, FollowsThePathOfNoiseWithAMean) {
  const SmoothedFunction f = smoothed("sphere", CoordinateNoise::published(Law::exponential));
  const std::vector<NicenessLevel> levels = niceness(f, {1, 0.7, 0.2});
  EXPECT_NEAR(levels[0].minimiser, 1.5, 1e-9);
  EXPECT_NEAR(*levels[0].step, 0.45, 1e-8);
  EXPECT_TRUE(levels[0].nice());
  EXPECT_NEAR(*levels[1].step, 0.75, 1e-8);
  EXPECT_TRUE(levels[1].convex);
  EXPECT_FALSE(levels[1].near);
  EXPECT_FALSE(levels[2].step);
  EXPECT_NEAR(levels[2].least_curvature, 2, 1e-9);
  const std::vector<NicenessLevel> ackley =
      niceness(smoothed("ackley", CoordinateNoise::centred(Law::uniform)), {1, 0.01});
  EXPECT_NEAR(ackley[1].minimiser, 0, 1e-9);
}

}  // namespace
}  // namespace mollify::smoothing
