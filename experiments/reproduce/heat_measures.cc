#include <mollify/experiments/reproduce/heat_measures.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/robustness/certify_by_average.h>
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
  smoothing::CertifyOptions options{.clean_class = !how.stochastic, .trials = how.trials};
  if (how.top > 1) options = {.claim = smoothing::Claim::in_top, .k = how.top, .trials = how.trials};
  const std::vector<int32_t> labels = part.labels.to_vector<int32_t>();
  const auto found = smoothing::certify(g, {part.pixels, part.numbers}, options, how.top > 1 ? part.labels : Tensor());
  for (size_t i = 0; i < found.size(); ++i)
    results.series["certified"].push_back(found[i].predicted == labels[i] ? found[i].radius : -1);
}

void add_average_radii(const Tensor& outputs, const Tensor& labels, const HeatMeasuring& how, Results& results) {
  const std::vector<int32_t> all = labels.to_vector<int32_t>();
  std::vector<double> bounds, tighter;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto [own, rival] = label_and_rival(outputs[static_cast<int64_t>(i)], all[i], how.top);
    if (!(own > rival)) continue;
    bounds.push_back(smoothing::average_radius(own, rival, how.noise));
    // Probabilities that round to 1 and 0 would make the mean infinite.
    tighter.push_back(smoothing::tighter_average_radius(std::min(1 - 1e-16, own), std::max(1e-300, rival), how.noise));
  }
  results.numbers["l_bound"] = summary_of(bounds).mean;
  results.numbers["tighter"] = summary_of(tighter).mean;
  std::sort(bounds.begin(), bounds.end());
  results.numbers["l_bound_median"] = bounds.empty() ? NAN : bounds[bounds.size() / 2];
}

void attack(const smoothing::Function& f, const Part& part, const HeatMeasuring& how, Results& results) {
  smoothing::Threat threat{.norm = smoothing::Norm::l2,
                           .epsilon = INFINITY,
                           .box = {Tensor::scalar(0), Tensor::scalar(1)},
                           .goal = {.top = how.top},
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

double share_in_top(const Tensor& outputs, const Tensor& labels, int64_t k) {
  const Tensor largest = top_k(outputs, k).indices;
  const double found = sum(cast(equal(largest, reshape(labels, {labels.size(), 1})), DType::f64)).item();
  return 100 * found / static_cast<double>(labels.size());
}

double relative_distance(const Tensor& v, const Tensor& average) {
  const Tensor exact = cast(average, DType::f64);
  return (sum(square(cast(v, DType::f64) - exact)) / sum(square(exact))).item();
}

void measure(const smoothing::Function& f, const Tensor& pixels, const Tensor& labels, const HeatMeasuring& how,
             Results& results) {
  const NoGrad quiet;
  const Tensor outputs = f(pixels);
  results.numbers["natural"] = share_in_top(outputs, labels, 1);
  results.numbers["in_top"] = share_in_top(outputs, labels, how.top);
  add_average_radii(outputs, labels, how, results);
  results.numbers["right"] = 0;
  const smoothing::NoisyClassifier voters = smoothing::captured({f, {how.noise, 0}, 250});
  for_parts(pixels, labels, [&](const Part& part) {
    certify_by_votes(voters, part, how, results);
    attack(f, part, how, results);
  });
  results.numbers["right"] *= 100 / static_cast<double>(pixels.dim(0));
}

}  // namespace mollify::experiments
