#include <mollify/experiments/reproduce/functions_cells.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/random.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/graduated_descent.h>
#include <mollify/smoothing/niceness.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments::functions_study {
namespace {

using smoothing::Jet;
using smoothing::Law;
using smoothing::Sigma;
using Way = SmoothedFunction::Way;

constexpr double kFar = 5;  // profiles are on [−kFar, kFar]
// Indices of streams under one seed.
constexpr uint64_t kDraws = 0, kStart = 1, kProbes = 2, kChains = 3;
constexpr double kFlat = 1e-6;  // slopes of less are none
constexpr double kLast = 0.01;  // s of the last level

RandomKey key(uint64_t seed, uint64_t stream) { return {seed, stream_of(Purpose::caller, stream)}; }

Tensor uniform_in(const TestFunction& function, const Shape& shape, uint64_t seed, uint64_t stream) {
  return uniform(shape, key(seed, stream), Tensor::scalar(0, DType::i32), DType::f64) * (function.high - function.low) +
         function.low;
}

// Where slopes turn from falling to rising.
double minima(const std::vector<double>& slopes) {
  double count = 0;
  bool falling = false;
  for (const double slope : slopes) {
    if (slope < -kFlat) falling = true;
    if (slope > kFlat) {
      count += falling;
      falling = false;
    }
  }
  return count;
}

// Largest slope of a function that is Lipschitz; NaN of others.
double lipschitz(const SmoothedFunction& f) {
  const std::string name = f.function().name;
  if (name != "drop_wave" && name != "ackley") return NAN;
  double most = 0;
  for (int i = 1; i <= 40000; ++i) most = std::max(most, std::abs(f(i * 1e-3, 0).slope));
  return most;
}

void compare_ways(const SmoothedFunction& f, const Profiling& how, Results& results) {
  double form = f.way() == Way::form && is_of_one_number(f.function()) ? 0 : NAN, sampled = 0;
  uint64_t stream = kDraws;
  for (const double delta : how.deltas)
    for (const double x : {-2.3, 0.0, 0.6, 4.1}) {
      stop_if_interrupted();
      double value = 0;
      std::vector<double> point{x};
      if (is_of_one_number(f.function())) {
        value = f(x, delta).value;
        if (!std::isnan(form))
          form = std::max(form, std::abs(value - f.by_quadrature(x, delta).value) / (1 + std::abs(value)));
      } else {
        point.push_back(1 - x);
        value = f.form(Tensor::from(point, {2}), delta).item();
      }
      const Tensor at = Tensor::from(point, {static_cast<int64_t>(point.size())});
      const auto mean = f.sampled(at, delta, how.samples, key(0, ++stream << 8));
      sampled = std::max(sampled, std::abs(value - mean.mean.item()) / mean.standard_error.item());
    }
  results.numbers["form_error"] = form;
  results.numbers["sampled_errors"] = sampled;
}

void profile(const SmoothedFunction& f, const Profiling& how, Results& results) {
  const double steepest = lipschitz(f);
  double distance = std::isnan(steepest) ? NAN : 0;
  std::vector<double> own, deltas{0};
  deltas.insert(deltas.end(), how.deltas.begin(), how.deltas.end());
  for (const double delta : deltas) {
    stop_if_interrupted();
    std::vector<double> values, slopes;
    for (const double x : profile_points(how)) {
      const Jet jet = f(x, delta);
      values.push_back(jet.value);
      slopes.push_back(jet.slope);
    }
    results.series["minima"].push_back(minima(slopes));
    if (delta == 0) own = values;
    for (size_t i = 0; delta > 0 && i < values.size(); ++i)
      distance = std::max(std::abs(values[i] - own[i]) / (delta * steepest), distance);
    results.series[profile_name(delta)] = std::move(values);
  }
  results.numbers["distance"] = distance;
}

// Of the published code, from δ = 1: δ_{m+1} = δ_m·(M − m)/(M − m + 1), the last one .01.
Sigma course(const Descent& how, const Setting& setting) {
  if (how.course == Descent::Course::geometric)
    return smoothing::graduated_sigma(
        {.first = how.first, .last = kLast, .levels = setting.levels, .steps = setting.steps});
  return Sigma::stddev(
      optim::Schedule([first = how.first, levels = setting.levels, steps = setting.steps](int64_t step) {
        const int64_t level = step / steps;
        return level < levels - 1 ? first * (1 - static_cast<double>(level) / static_cast<double>(levels)) : kLast;
      }));
}

// As published: the mean of central differences of f at w + s·z, one number of w at a time.
class Differences final : public optim::Gradient {
 public:
  Differences(const Setting& setting, Sigma s, uint64_t seed)
      : setting_(setting), scale_([s](int64_t step) { return s.at(step).stddev(); }), seed_(seed) {}

  void attach(optim::Numbers& numbers) override {
    numbers_ = &numbers;
    scheduled_ = numbers.add(scale_);
  }
  optim::Evaluations evaluations() const override { return {.values = 2 * setting_.samples * setting_.dimension}; }
  Estimate operator()(const Tensor& weights, const optim::Loss&) override {
    const NoGrad quiet;
    const int64_t d = setting_.dimension;
    const Tensor z = normal({setting_.samples, 1, d}, key(seed_, kProbes), numbers_->step(), DType::f64);
    const Tensor points = weights + z * (*numbers_)[scheduled_], step = eye(d, DType::f64) * kDifference;
    const Tensor differences = setting_.function->function(points + step) - setting_.function->function(points - step);
    return {mean(setting_.function->function(points)), mean(differences, {0}) / (2 * kDifference)};
  }

 private:
  static constexpr double kDifference = 1e-8;

  const Setting setting_;
  const optim::Schedule scale_;
  const uint64_t seed_;
  optim::Numbers* numbers_ = nullptr;
  size_t scheduled_ = 0;
};

std::unique_ptr<optim::Gradient> gradient_of(const Descent& how, const Setting& setting, const Sigma& s,
                                             uint64_t seed) {
  switch (how.gradients) {
    case Descent::Gradients::form: return smoothing::gradient_from_form(smoothing::gaussian_form(*setting.function), s);
    case Descent::Gradients::sampled:
      return smoothing::gradient_from_rows(setting.function->function, s, setting.samples, seed);
    case Descent::Gradients::differences: return std::make_unique<Differences>(setting, s, seed);
    case Descent::Gradients::own: break;
  }
  return optim::exact_gradient();
}

}  // namespace

std::vector<NamedNoise> noises() {
  std::vector<NamedNoise> all;
  for (const Law law : smoothing::all_laws())
    all.push_back({smoothing::to_string(law), smoothing::CoordinateNoise::published(law), false});
  for (const Law law : smoothing::all_laws())
    if (std::isinf(smoothing::CoordinateNoise::published(law).tail_index()))
      all.push_back({format("{}-centred", smoothing::to_string(law)), smoothing::CoordinateNoise::centred(law), true});
  return all;
}

std::vector<double> profile_points(const Profiling& how) {
  return linspace(-kFar, kFar, how.points, DType::f64).to_vector<double>();
}

Results smoothed(const SmoothedFunction& f, const Profiling& how) {
  Results results{.numbers = {{"way", static_cast<double>(f.way())}}};
  if (f.way() == Way::infinite) {
    const Tensor at = zeros({f.function().dimension}, DType::f64);
    const double delta = how.deltas[how.deltas.size() / 2];
    results.numbers["few"] = f.sampled(at, delta, how.samples, key(0, kDraws)).mean.item();
    results.numbers["many"] = f.sampled(at, delta, 100 * how.samples, key(0, kDraws)).mean.item();
    return results;
  }
  compare_ways(f, how, results);
  if (is_of_one_number(f.function())) profile(f, how, results);
  return results;
}

std::vector<double> nice_deltas(int64_t levels) {
  std::vector<double> deltas;
  for (int64_t m = 0; m < levels; ++m) deltas.push_back(2 * std::pow(0.5, static_cast<double>(m) / 2));
  return deltas;
}

Results nice_levels(const SmoothedFunction& f, const std::vector<double>& deltas) {
  Results results;
  for (const smoothing::NicenessLevel& level : smoothing::niceness(f, deltas)) {
    stop_if_interrupted();
    results.series["delta"].push_back(level.delta);
    results.series["minimiser"].push_back(level.minimiser);
    results.series["step"].push_back(level.step.value_or(NAN));
    results.series["curvature"].push_back(level.least_curvature);
    results.series["nice"].push_back(level.nice());
  }
  if (f.way() != Way::form) return results;
  const auto convex = [&](double delta) { return smoothing::niceness(f, {delta})[0].convex; };
  // Ten scales to a level of 1/√2; then halved.
  double low = deltas.back();
  for (bool before = convex(low); low < deltas.front();) {
    stop_if_interrupted();
    const double next = std::min(deltas.front(), low * std::pow(2, 0.05));
    const bool after = convex(next);
    if (after != before) {
      double a = low, b = next;
      while (b - a > 1e-5 * b) (convex((a + b) / 2) == before ? a : b) = (a + b) / 2;
      results.series["edges"].push_back((a + b) / 2);
    }
    before = after;
    low = next;
  }
  return results;
}

const std::vector<Descent>& descents() {
  using Gradients = Descent::Gradients;
  using Course = Descent::Course;
  static const std::vector<Descent> all = {
      {"form-published", "closed form, published order", Gradients::form, Course::published},
      {"form-geometric", "closed form, geometric from 2", Gradients::form, Course::geometric, 2},
      {"sampled-published", "sampled, published order", Gradients::sampled, Course::published},
      {"sampled-geometric", "sampled, geometric from 2", Gradients::sampled, Course::geometric, 2},
      {"sampled-geometric-1", "sampled, geometric from 1", Gradients::sampled, Course::geometric, 1},
      {"differences-published", "differences, as published", Gradients::differences, Course::published},
      {"own-published", "f itself, the same rates", Gradients::own, Course::published},
  };
  return all;
}

bool has_form(const TestFunction& function) {
  return SmoothedFunction(function, smoothing::CoordinateNoise::published(Law::gaussian)).way() == Way::form;
}

Results descend(const Descent& how, const Setting& setting, uint64_t seed) {
  const Sigma s = course(how, setting);
  const auto optimizer = smoothing::graduated_descent(setting.rate, s, gradient_of(how, setting, s, seed));
  const Tensor w = uniform_in(*setting.function, {setting.dimension}, seed, kStart);
  Results results;
  for (int64_t level = 0; level < setting.levels; ++level) {
    stop_if_interrupted();
    for (int64_t step = 0; step < setting.steps; ++step) optimizer->step(w, setting.function->function);
    results.series["s"].push_back(s.at(level * setting.steps).stddev());
    results.series["value"].push_back(setting.function->function(w).item());
  }
  const optim::Evaluations cost = optimizer->source().evaluations();
  const double steps = static_cast<double>(setting.levels * setting.steps);
  results.numbers = {{"value", results.series["value"].back()},
                     {"distance", norm(w - setting.function->minimiser).item()},
                     {"values", steps * static_cast<double>(cost.values)},
                     {"gradients", steps * static_cast<double>(cost.gradients)}};
  return results;
}

Results sgd_beside_descent(double delta, double rate, int64_t chains, int64_t steps) {
  const TestFunction& rastrigin = smoothing::test_function("rastrigin");
  const smoothing::CoordinateNoise noise = smoothing::CoordinateNoise::centred(Law::gaussian);
  const SmoothedFunction f(rastrigin, noise);
  const auto own = [&](const Tensor& x) {
    return grad([&](const Tensor& v) { return sum(rastrigin.function(v)); })(x);
  };
  const auto of_smoothed = [&](const Tensor& x) {
    return grad([&](const Tensor& v) { return sum(f.form(v, delta)); })(x);
  };
  const auto size = [&](const Tensor& x) { return std::sqrt(mean(square(x)).item()); };
  Tensor sgd = uniform_in(rastrigin, {chains, 1}, 0, kStart), smooth = sgd;
  Results results;
  for (int64_t step = 0; step < steps; ++step) {
    stop_if_interrupted();
    const Tensor y = sgd - own(sgd) * rate;
    const Tensor at = Tensor::scalar(static_cast<double>(step), DType::i32);
    sgd = y - noise.draw({chains, 1}, key(0, kChains), at) * delta;
    smooth = smooth - of_smoothed(smooth) * rate;
    results.series["sgd"].push_back(size(y));
    results.series["smoothed"].push_back(size(smooth));
  }
  results.numbers = {{"sgd", results.series["sgd"].back()}, {"smoothed", results.series["smoothed"].back()}};
  return results;
}

}  // namespace mollify::experiments::functions_study
