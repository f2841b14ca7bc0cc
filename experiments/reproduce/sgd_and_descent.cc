#include <mollify/experiments/reproduce/sgd_and_descent.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/plan.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/nn/losses.h>
#include <mollify/smoothing/gradient_noise.h>
#include <mollify/smoothing/monte_carlo.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mollify::experiments {
namespace {

constexpr const char* kStep = "step";
constexpr int64_t kPlaces = 20;
constexpr int64_t kMostRuns = 4096;  // seeds of batches: one for each run of each cell

double distance(const Tensor& a, const Tensor& b) { return std::sqrt(sum(square(a - b)).item()); }

class Walks {
 public:
  explicit Walks(const SgdAndDescent& how)
      : how_(how),
        start_(to(how.network.initial_weights(nn::Initialization::kaiming_normal, how.seed), device())),
        loss_([this](const Tensors& in) -> Tensors { return {loss_at(in[0], in)}; }),
        gradient_([this](const Tensors& in) -> Tensors {
          return {grad([&](const Tensor& w) { return loss_at(w, in); })(in[0])};
        }),
        deviations_(how.multiples.size(), 0.0) {
    for (int64_t run = 0; run < how.runs; ++run) runs_.push_back(copy_of(start_));
    for (size_t i = 0; i < how.multiples.size(); ++i) descents_.push_back(copy_of(start_));
  }

  void go_on_from(const CellCheckpoint::Standing& standing) {
    for (size_t r = 0; r < runs_.size(); ++r) assign(runs_[r], standing.tensors.at(format("run{}", r)));
    for (size_t i = 0; i < descents_.size(); ++i) assign(descents_[i], standing.tensors.at(format("descent{}", i)));
    results_ = standing.results;
    step_ = static_cast<int64_t>(results_.at(kStep));
    for (size_t i = 0; i < deviations_.size(); ++i) deviations_[i] = results_.at(format("deviation_{}", i));
  }
  CellCheckpoint::Standing standing() const {
    CellCheckpoint::Standing all{.results = results_};
    for (size_t r = 0; r < runs_.size(); ++r) all.tensors[format("run{}", r)] = runs_[r];
    for (size_t i = 0; i < descents_.size(); ++i) all.tensors[format("descent{}", i)] = descents_[i];
    all.results.numbers[kStep] = static_cast<double>(step_);
    for (size_t i = 0; i < deviations_.size(); ++i) all.results.numbers[format("deviation_{}", i)] = deviations_[i];
    return all;
  }

  bool ends() const { return step_ == how_.steps; }
  void step();
  void measure();  // where it is time, and once there
  Results results() const {
    Results results = results_;
    for (const auto& [name, values] : results_.series) results.numbers[name] = values.back();
    return results;
  }

 private:
  Device device() const { return how_.images.images.device(); }
  bool is_place() const { return step_ % std::max<int64_t>(1, how_.steps / kPlaces) == 0 || ends(); }
  void measure_deviations();
  Tensor loss_at(const Tensor& weights, const Tensors& in) const {
    return nn::mean_cross_entropy(how_.network(weights, in[1]), in[2]);
  }
  void put(const std::string& name, double number) { results_.series[name].push_back(number); }

  const SgdAndDescent& how_;
  const Tensor start_;
  Captured loss_, gradient_;  // of weights, images and labels
  std::vector<Tensor> runs_, descents_;
  std::vector<double> deviations_;  // of each descent's noise
  Results results_;
  int64_t step_ = 0;
};

void Walks::measure_deviations() {
  const smoothing::SampleLosses losses = smoothing::losses_of(
      how_.network, how_.network.initial_state(), how_.images.count(), [this](std::span<const int32_t> which) {
        stop_if_interrupted();
        const Images some = chosen(how_.images, which);
        return Tensors{some.images, some.labels};
      });
  for (size_t i = 0; i < descents_.size(); ++i) {
    if (how_.multiples[i] == 0) continue;
    const double c2 = smoothing::GradientNoise(losses, descents_[i]).from_singles().c2;
    deviations_[i] = how_.multiples[i] *
                     smoothing::degree_of_smoothing(how_.rate, c2, how_.batch, how_.images.count()) /
                     std::sqrt(static_cast<double>(start_.size()));
  }
}

void Walks::step() {
  if (step_ % std::max<int64_t>(1, how_.images.count() / how_.batch) == 0) measure_deviations();
  for (size_t r = 0; r < runs_.size(); ++r) {
    stop_if_interrupted();
    std::vector<int32_t> batch =
        datasets::epoch_order(how_.images.count(), how_.seed * kMostRuns + static_cast<uint64_t>(r), step_);
    batch.resize(static_cast<size_t>(how_.batch));
    const Images some = chosen(how_.images, batch);
    assign(runs_[r], runs_[r] - gradient_({runs_[r], some.images, some.labels})[0] * how_.rate);
  }
  const auto gradient = [&](const Tensor& w) { return gradient_({w, how_.images.images, how_.images.labels})[0]; };
  for (size_t i = 0; i < descents_.size(); ++i) {
    stop_if_interrupted();
    const Tensor g = deviations_[i] == 0 ? gradient(descents_[i])
                                         : smoothing::smooth_by_sampling(
                                               gradient, descents_[i], smoothing::Sigma::stddev(deviations_[i]),
                                               {.samples = how_.draws, .seed = how_.seed, .step = step_})
                                               .mean;
    assign(descents_[i], descents_[i] - g * how_.rate);
  }
  ++step_;
}

void Walks::measure() {
  const std::vector<double>& places = results_.series[kStep];
  if (!is_place() || (!places.empty() && places.back() == static_cast<double>(step_))) return;
  const auto loss = [&](const Tensor& w) { return loss_({w, how_.images.images, how_.images.labels})[0].item(); };
  const double runs = static_cast<double>(runs_.size());
  put(kStep, static_cast<double>(step_));
  Tensor middle = start_ + 0.0;
  double losses = 0;
  for (const Tensor& run : runs_) {
    middle = middle + (run - start_) / runs;
    losses += loss(run) / runs;
  }
  double squares = 0;
  for (const Tensor& run : runs_) squares += sum(square(run - middle)).item();
  put("loss_sgd", losses);
  put("spread", std::sqrt(squares / (runs - 1)));
  for (size_t i = 0; i < descents_.size(); ++i) {
    double apart = 0;
    for (const Tensor& run : runs_) apart += sum(square(run - descents_[i])).item() / runs;
    put(format("loss_{}", i), loss(descents_[i]));
    put(format("apart_{}", i), std::sqrt(apart));
    put(format("mean_{}", i), distance(middle, descents_[i]));
    put(format("moved_{}", i), distance(start_, descents_[i]));
    put(format("deviation_{}", i), deviations_[i]);
  }
}

}  // namespace

Results sgd_and_descent(const SgdAndDescent& how, CellCheckpoint checkpoint) {
  require<ValueError>(
      how.runs >= 2 && how.runs <= kMostRuns && how.batch >= 1 && how.batch <= how.images.count() && how.steps >= 1,
      "sgd_and_descent: {} runs of {} steps, batches of {} of {} images; needs 2 to {} runs, a step, "
      "and a batch of the images",
      how.runs, how.steps, how.batch, how.images.count(), kMostRuns);
  const NoGrad quiet;
  Walks walks(how);
  if (const auto standing = checkpoint.read(how.images.images.device())) walks.go_on_from(*standing);
  walks.measure();
  while (!walks.ends()) {
    walks.step();
    walks.measure();
    if (!walks.ends()) checkpoint.now_and_then([&] { return walks.standing(); });
  }
  return walks.results();
}

}  // namespace mollify::experiments
