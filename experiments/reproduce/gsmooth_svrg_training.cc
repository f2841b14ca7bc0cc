#include <mollify/experiments/reproduce/gsmooth_svrg_training.h>

#include <mollify/engine/grad.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/accumulate.h>
#include <mollify/nn/losses.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/smooth.h>

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

// One training: the losses, the optimizers and what is measured.
class Path {
 public:
  Path(const Setting& setting, const Method& method, Images train)
      : network_(setting.network),
        method_(method),
        train_(std::move(train)),
        sigma_(smoothing::Sigma::paper(method.smoothed ? setting.sigma : 0)),
        rate_(setting.rate),
        smoothed_(smooth(network_, sigma_,
                         {.by_layer = kPenalties[method.variance_reduced], .form = smoothing::Form::split})),
        sgd_(optim::sgd(optim::constant(rate_)), sigma_),
        svrg_(optim::constant(rate_), sigma_) {}

  Tensor plain(const Tensor& w, const Tensor& images) const { return network_(w, images); }
  Tensor trained(const Tensor& w, const Tensor& images) const {
    return method_.smoothed ? smoothed_(w, images).output : plain(w, images);
  }

  void start_round(const Tensor& weights, const std::vector<int32_t>& images) {
    const Images anchor = chosen(train_, images);
    svrg_.start_round(weights, [&](const Tensor& w, const smoothing::Sigma& s) {
      return mean_over_parts(w, {anchor.images, anchor.labels}, kFullBatch,
                             [&](const Tensor& v, const Tensors& part, int64_t) {
                               return loss(v, s, {part[0], part[1]});
                             });
    });
  }
  std::map<std::string, Tensor> state() const { return method_.variance_reduced ? svrg_.state() : sgd_.state(); }
  void set_state(const std::map<std::string, Tensor>& state) {
    method_.variance_reduced ? svrg_.set_state(state) : sgd_.set_state(state);
  }
  double step(const Tensor& weights, int32_t image) {
    const auto own = loss_of(image);
    return (method_.variance_reduced ? svrg_.step(weights, own) : sgd_.step(weights, own)).item();
  }
  // ‖Δw‖ if the next step took this image.
  double length_at(const Tensor& weights, int32_t image) const {
    const auto own = loss_of(image);
    const Tensor v = method_.variance_reduced ? svrg_.direction(weights, own)
                                              : grad([&](const Tensor& w) { return own(w, sigma_); })(weights);
    return rate_ * std::sqrt(sum(square(v)).item());
  }

 private:
  // Squared error on one-hot labels, the mean over the outputs as in the authors' code.
  Tensor loss(const Tensor& w, const smoothing::Sigma& s, const Images& batch) const {
    const double share = 1.0 / static_cast<double>(network_.output().size());
    if (!method_.smoothed) return nn::mean_squared_error(plain(w, batch.images), batch.labels) * share;
    return smoothed_squared_error(smoothed_(w, {}, batch.images, s), batch.labels, share);
  }
  smoothing::SmoothedLoss loss_of(int32_t image) const {
    return [this, one = chosen(train_, std::span(&image, 1))](const Tensor& w, const smoothing::Sigma& s) {
      return loss(w, s, one);
    };
  }

  const nn::Network& network_;
  Method method_;
  Images train_;
  smoothing::Sigma sigma_;
  double rate_;
  smoothing::SmoothedNetwork smoothed_;
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
  const Images images_;
  Path path_;
  const Model plain_, trained_;
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
      images_(images),
      path_(setting, method, std::move(images)),
      plain_([this](const Tensor& w, const Tensor& x) { return path_.plain(w, x); }),
      trained_([this](const Tensor& w, const Tensor& x) { return path_.trained(w, x); }),
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
                     {kTrainedAccuracy, score_of(trained_, weights_, setting_.test).accuracy},
                     {kDiverged, !finite_}};
  return results;
}

}  // namespace

Results train(const Method& method, const Noise& noise, uint64_t seed, const Setting& setting,
              CellCheckpoint checkpoint) {
  datasets::Preparation preparation = setting.preparation;
  preparation.noise = {.input_deviation = noise.inputs, .label_share = noise.labels, .seed = seed};
  Walk walk(method, setting, seed, prepare(setting.images, preparation, setting.device));
  if (const auto standing = checkpoint.read(setting.device)) walk.go_on_from(*standing);
  while (!walk.ends()) {
    walk.walk_block();
    if (!walk.ends()) checkpoint.now_and_then([&] { return walk.standing(); });
  }
  return walk.results();
}

}  // namespace mollify::experiments::gsmooth_svrg_training
