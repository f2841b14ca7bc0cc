#include <mollify/experiments/reproduce/gsmooth_svrg_training.h>

#include <mollify/engine/grad.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/accumulate.h>
#include <mollify/smoothing/gsmooth.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments::gsmooth_svrg_training {
namespace {

// Of SGD and of SVRG.
const std::map<std::string, double> kPenalties[] = {
    {{"activation1", 1e-7}, {"dense1", 1e-7}, {"activation2", 1e-5}, {"dense2", 1e-5}},
    {{"activation1", 1e-13}, {"dense1", 1e-13}, {"activation2", 1e-11}, {"dense2", 1e-11}}};
constexpr int64_t kFullBatch = 100;  // images whose record a full gradient holds at a time
// "Epochs" from which the probes and the anchors' images are drawn: no real ones.
constexpr int64_t kDraws = int64_t{1} << 31;
constexpr const char* kLengths = "lengths";  // ‖Δw‖ of all steps, in checkpoints alone

// The network's loss on single images, and the optimizer that the method asks for.
class Path {
 public:
  // The loss is the mean over the outputs, as in the authors' code.
  Path(const Setting& setting, const Method& method, Images images)
      : images_(std::move(images)),
        variance_reduced_(method.variance_reduced),
        sigma_(smoothing::Sigma::paper(method.smoothed ? setting.sigma : 0)),
        rate_(setting.rate),
        network_(setting.network, method.smoothed ? setting.sigma : 0, kPenalties[variance_reduced_],
                 1.0 / static_cast<double>(setting.network.output().size())),
        sgd_(optim::sgd(optim::constant(rate_)), sigma_),
        svrg_(optim::constant(rate_), sigma_) {}

  const Images& images() const { return images_; }
  const GSmoothNetwork& network() const { return network_; }

  void start_round(const Tensor& weights, const std::vector<int32_t>& numbers) {
    const Images anchor = chosen(images_, numbers);
    svrg_.start_round(weights, [&](const Tensor& w, const smoothing::Sigma& s) {
      return mean_over_parts(w, {anchor.images, anchor.labels}, kFullBatch,
                             [&](const Tensor& v, const Tensors& part, int64_t) {
                               return network_.loss(v, s, {part[0], part[1]});
                             });
    });
  }
  std::map<std::string, Tensor> state() const { return variance_reduced_ ? svrg_.state() : sgd_.state(); }
  void set_state(const std::map<std::string, Tensor>& state) {
    variance_reduced_ ? svrg_.set_state(state) : sgd_.set_state(state);
  }
  double step(const Tensor& weights, int32_t image) {
    const auto own = loss_of(image);
    return (variance_reduced_ ? svrg_.step(weights, own) : sgd_.step(weights, own)).item();
  }
  // ‖Δw‖ if the next step took this image.
  double length_at(const Tensor& weights, int32_t image) const {
    const auto own = loss_of(image);
    const Tensor v = variance_reduced_ ? svrg_.direction(weights, own)
                                       : grad([&](const Tensor& w) { return own(w, sigma_); })(weights);
    return rate_ * std::sqrt(sum(square(v)).item());
  }

 private:
  smoothing::SmoothedLoss loss_of(int32_t image) const {
    return [this, one = chosen(images_, std::span(&image, 1))](const Tensor& w, const smoothing::Sigma& s) {
      return network_.loss(w, s, one);
    };
  }

  const Images images_;
  const bool variance_reduced_;
  const smoothing::Sigma sigma_;
  const double rate_;
  const GSmoothNetwork network_;
  smoothing::GSmooth sgd_;
  smoothing::GSmoothSvrg svrg_;
};

double root_mean_square(const std::vector<double>& numbers) {
  double squares = 0;
  for (double number : numbers) squares += number * number;
  return std::sqrt(squares / static_cast<double>(numbers.size()));
}

// The training's way: where it stands, and what is measured there.
class Walk {
 public:
  Walk(const Method& method, const Setting& setting, uint64_t seed, Images images);

  void go_on_from(const CellCheckpoint::Standing& standing);
  CellCheckpoint::Standing standing() const { return {{{"weights", weights_}}, path_.state(), results_}; }
  bool ends() const { return !finite_ || step_ == setting_.steps; }
  void walk_block();
  Results results() const;

 private:
  void take_step();
  void measure();

  const Method method_;
  const Setting& setting_;
  const uint64_t seed_;
  Path path_;
  const Images& images_;
  const Model plain_;
  const Tensor weights_;
  const std::vector<int32_t> probes_;
  std::vector<int32_t> order_;  // of the epoch
  Results results_;
  int64_t step_ = 0;
  bool finite_ = true;
};

Walk::Walk(const Method& method, const Setting& setting, uint64_t seed, Images images)
    : method_(method),
      setting_(setting),
      seed_(seed),
      path_(setting, method, std::move(images)),
      images_(path_.images()),
      plain_(path_.network().plain()),
      weights_(to(setting.network.initial_weights(nn::Initialization::xavier_uniform, seed), setting.device)),
      probes_(datasets::epoch_order(images_.count(), seed, kDraws)) {}

void Walk::go_on_from(const CellCheckpoint::Standing& standing) {
  assign(weights_, standing.tensors.at("weights"));
  path_.set_state(standing.optimizer);
  results_ = standing.results;
  step_ = static_cast<int64_t>(results_.series_at(kStep).back());
}

void Walk::measure() {
  results_.series[kStep].push_back(static_cast<double>(step_));
  results_.series[kTrainLoss].push_back(score_of(plain_, weights_, images_).loss);
  results_.series[kTestAccuracy].push_back(score_of(plain_, weights_, setting_.test).accuracy);
}

void Walk::take_step() {
  stop_if_interrupted();
  const int64_t position = step_ % images_.count();
  if (position == 0 || order_.empty()) order_ = datasets::epoch_order(images_.count(), seed_, step_ / images_.count());
  if (method_.variance_reduced && step_ % setting_.inner == 0) {
    std::vector<int32_t> anchor = datasets::epoch_order(images_.count(), seed_, kDraws + 1 + step_);
    anchor.resize(std::min(anchor.size(), static_cast<size_t>(setting_.anchor)));
    path_.start_round(weights_, anchor);
  }
  const Tensor before = copy_of(weights_);
  finite_ = std::isfinite(path_.step(weights_, order_[static_cast<size_t>(position)]));
  results_.series[kLengths].push_back(std::sqrt(sum(square(weights_ - before)).item()));
  ++step_;
}

void Walk::walk_block() {
  if (step_ == 0) measure();
  const int64_t first = step_;
  while (!ends() && step_ - first < setting_.block) take_step();
  if (step_ - first < setting_.block && step_ < setting_.steps) return;  // it diverged within the block
  const std::vector<double>& lengths = results_.series[kLengths];
  const Summary block = summary_of({lengths.begin() + first, lengths.end()});
  results_.series[kMean].push_back(block.mean);
  results_.series[kDeviation].push_back(block.deviation);
  std::vector<double> at_fixed_weights;
  for (size_t i = 0; i < std::min<size_t>(kProbes, probes_.size()); ++i)
    at_fixed_weights.push_back(path_.length_at(weights_, probes_[i]));
  results_.series[kFixed].push_back(summary_of(at_fixed_weights).deviation);
  measure();
}

Results Walk::results() const {
  Results results = results_;
  const Summary all = summary_of(results.series[kLengths]);
  results.series.erase(kLengths);
  results.numbers = {{kMean, finite_ ? all.mean : NAN},
                     {kDeviation, finite_ ? all.deviation : NAN},
                     {kWithin, finite_ ? root_mean_square(results.series[kDeviation]) : NAN},
                     {kFixed, finite_ ? root_mean_square(results.series[kFixed]) : NAN},
                     {kTrainLoss, finite_ ? results.series[kTrainLoss].back() : NAN},
                     {kTestAccuracy, score_of(plain_, weights_, setting_.test).accuracy},
                     {kTrainedAccuracy, score_of(path_.network().trained(), weights_, setting_.test).accuracy},
                     {kDiverged, !finite_}};
  return results;
}

}  // namespace

Results train(const Method& method, const Noise& noise, uint64_t seed, const Setting& setting,
              CellCheckpoint checkpoint) {
  Walk walk(method, setting, seed, noisy(setting.images, setting.preparation, noise, seed, setting.device));
  if (const auto standing = checkpoint.read(setting.device)) walk.go_on_from(*standing);
  while (!walk.ends()) {
    walk.walk_block();
    if (!walk.ends()) checkpoint.now_and_then([&] { return walk.standing(); });
  }
  return walk.results();
}

}  // namespace mollify::experiments::gsmooth_svrg_training
