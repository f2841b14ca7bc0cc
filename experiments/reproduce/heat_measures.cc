#include <mollify/experiments/reproduce/heat_measures.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/smoothing/attacks/ddn.h>
#include <mollify/smoothing/attacks/pgd.h>
#include <mollify/smoothing/randomized/statistics.h>
#include <mollify/smoothing/randomized/votes.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

constexpr int64_t kTogether = 50;  // images between two looks at interrupts

Tensor per_channel(const std::vector<float>& values, Device device) {
  return to(Tensor::from(values, {static_cast<int64_t>(values.size())}), device);
}

double mean_of(const std::vector<double>& all) {
  double sum = 0;
  for (const double one : all) sum += one;
  return all.empty() ? NAN : sum / static_cast<double>(all.size());
}

// Some images, with their numbers.
struct Part {
  Tensor pixels, labels, numbers;
};

template <class F>
void for_parts(const Tensor& pixels, const Tensor& labels, F&& visit) {
  for (int64_t first = 0; first < pixels.dim(0); first += kTogether) {
    stop_if_interrupted();
    const int64_t last = std::min(first + kTogether, pixels.dim(0));
    const Tensor numbers = slice(arange(pixels.dim(0), DType::i32, pixels.device()), 0, first, last);
    visit(Part{slice(pixels, 0, first, last), slice(labels, 0, first, last), packed(numbers)});
  }
}

void certify_by_votes(const smoothing::NoisyClassifier& g, const Part& part, const HeatMeasuring& how,
                      Results& results) {
  const smoothing::CertifyOptions options{.clean_class = !how.stochastic, .trials = how.trials};
  const std::vector<int32_t> labels = part.labels.to_vector<int32_t>();
  const auto found = smoothing::certify(g, {part.pixels, part.numbers}, options);
  for (size_t i = 0; i < found.size(); ++i)
    results.series["certified"].push_back(found[i].predicted == labels[i] ? found[i].radius : -1);
}

void add_average_radii(const Tensor& outputs, const Tensor& labels, double noise, std::vector<double>& bounds,
                       std::vector<double>& tighter) {
  const Tensor p = softmax(cast(outputs, DType::f64)), column = reshape(labels, {labels.size(), 1});
  const Tensor is_own = equal(arange(p.dim(1), DType::i32, p.device()), column);
  const std::vector<double> own = flatten(gather(p, column)).to_vector<double>(),
                            other = max(where(is_own, zeros_like(p), p), {1}).to_vector<double>();
  for (size_t i = 0; i < own.size(); ++i)
    if (own[i] > other[i]) {
      bounds.push_back(smoothing::average_radius(std::min(1.0, own[i]), other[i], noise));
      tighter.push_back(
          smoothing::tighter_average_radius(std::min(1 - 1e-16, own[i]), std::max(1e-300, other[i]), noise));
    }
}

void attack(const smoothing::Function& f, const Part& part, const HeatMeasuring& how, Results& results) {
  smoothing::Threat threat{.norm = smoothing::Norm::l2,
                           .epsilon = INFINITY,
                           .box = {Tensor::scalar(0), Tensor::scalar(1)},
                           .rows = part.numbers};
  if (how.stochastic)
    threat.draws = smoothing::NoiseDraws{{how.noise, 1}, how.draws, smoothing::Average::mean_of_losses};
  smoothing::Threat still = threat, ball = threat;
  still.epsilon = 0;
  ball.epsilon = how.attack_epsilon;
  const std::vector<uint8_t> wrong =
      smoothing::judged(f, part.pixels, part.labels, part.pixels, still).success.to_vector<uint8_t>();
  const auto add = [&](const char* name, const smoothing::Adversarial& found) {
    const std::vector<double> distances = found.distances.to_vector<double>();
    for (size_t i = 0; i < wrong.size(); ++i)
      if (!wrong[i]) results.series[name].push_back(std::isnan(distances[i]) ? INFINITY : distances[i]);
  };
  add("ddn", smoothing::ddn(f, part.pixels, part.labels, threat, {.steps = how.attack_steps}));
  add("pgd", smoothing::pgd(f, part.pixels, part.labels, ball,
                            {.steps = how.attack_steps,
                             .step_size = 2 * ball.epsilon / static_cast<double>(how.attack_steps),
                             .random_start = false}));
  for (const uint8_t one : wrong) results.numbers["right"] += one == 0;
}

}  // namespace

smoothing::Function pixel_function(const nn::Network& network, const Tensor& weights, const Tensor& state,
                                   const datasets::Preparation& preparation) {
  Tensor mean, deviation;
  if (!preparation.mean.empty()) {
    mean = per_channel(preparation.mean, weights.device());
    deviation = per_channel(preparation.deviation, weights.device());
  }
  return [&network, weights, state, mean, deviation](const Tensor& pixels) {
    const Tensor x = mean.defined() ? (pixels - mean) / deviation : pixels;
    return network(weights, state, x, nn::Mode::evaluate).output;
  };
}

Tensor average_over_noise(const smoothing::Function& f, const Tensor& pixels, double noise, int64_t draws) {
  const NoGrad quiet;
  Tensor sum;
  for (int64_t draw = 0; draw < draws; ++draw) {
    stop_if_interrupted();
    const Tensor z = smoothing::gaussian_noise(pixels.shape(), {noise, 2}, smoothing::NoiseUse::evaluation,
                                               arange(pixels.dim(0), DType::i32, pixels.device()),
                                               Tensor::scalar(static_cast<double>(draw), DType::i32));
    const Tensor one = cast(f(pixels + z), DType::f64);
    sum = sum.defined() ? sum + one : one;
  }
  return sum / static_cast<double>(draws);
}

double relative_distance(const Tensor& v, const Tensor& average) {
  const Tensor exact = cast(average, DType::f64);
  return (sum(square(cast(v, DType::f64) - exact)) / sum(square(exact))).item();
}

void measure(const smoothing::Function& f, const Tensor& pixels, const Tensor& labels, const HeatMeasuring& how,
             Results& results) {
  const NoGrad quiet;
  const Tensor outputs = f(pixels);
  results.numbers["natural"] = 100 * mean(cast(equal(argmax(outputs), labels), DType::f64)).item();
  std::vector<double> bounds, tighter;
  add_average_radii(outputs, labels, how.noise, bounds, tighter);
  results.numbers["l_bound"] = mean_of(bounds);
  results.numbers["tighter"] = mean_of(tighter);
  results.numbers["right"] = 0;
  const smoothing::NoisyClassifier voters = smoothing::captured({f, {how.noise, 0}, 250});
  for_parts(pixels, labels, [&](const Part& part) {
    certify_by_votes(voters, part, how, results);
    attack(f, part, how, results);
  });
  results.numbers["right"] *= 100 / static_cast<double>(pixels.dim(0));
}

}  // namespace mollify::experiments
