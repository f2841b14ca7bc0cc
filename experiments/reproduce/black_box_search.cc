#include <mollify/experiments/reproduce/black_box_search.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/random.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/smoothing/loss/ask_tell.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace mollify::experiments::black_box_search {
namespace {

constexpr int64_t kSampled = 10000;  // points of the mean over the box
constexpr int kCounts = 60;
// Indices of streams under one seed.
constexpr uint64_t kMean = 0, kStart = 1;
constexpr const char *kEvaluations = "evaluations", *kPoint = "point";  // in checkpoints alone

Tensor uniform_points(const Shape& shape, uint64_t seed, uint64_t stream) {
  return uniform(shape, {seed, stream_of(Purpose::caller, stream)}, Tensor::scalar(0, DType::i32), DType::f64);
}

// From `first` to a thousandth of it along the steps.
optim::Schedule falling(double first, int64_t steps) {
  return [=](int64_t step) { return first * std::pow(1e-3, static_cast<double>(step) / static_cast<double>(steps)); };
}

// Takes one step of a method and says what it evaluated.
class Stepper {
 public:
  virtual ~Stepper() = default;
  virtual std::vector<double> step() = 0;
  virtual CellCheckpoint::Standing standing() const = 0;
  virtual void go_on_from(const CellCheckpoint::Standing& standing) = 0;
};

class ByPopulation final : public Stepper {
 public:
  ByPopulation(const Method& method, const Problem& problem, uint64_t seed, const Setting& setting)
      : problem_(problem), search_(problem.start(seed), scale(setting), options(method, seed, setting), [&](auto g) {
          const double d = static_cast<double>(problem.dimension());
          if (method.optimizer == Method::Optimizer::clip_up)
            return optim::clip_up(falling(0.01 * std::sqrt(d), steps(setting)), {}, std::move(g));
          return optim::adam(falling(0.02, steps(setting)), {}, std::move(g));
        }) {}

  std::vector<double> step() override {
    const Tensor values = problem_(search_.ask());
    search_.tell(values);
    return values.to_vector<double>();
  }
  CellCheckpoint::Standing standing() const override { return {{}, search_.state(), {}}; }
  void go_on_from(const CellCheckpoint::Standing& standing) override { search_.set_state(standing.optimizer); }

 private:
  static int64_t steps(const Setting& setting) { return setting.budget / (2 * setting.pairs) + 1; }
  static smoothing::Sigma scale(const Setting& setting) {
    return smoothing::Sigma::stddev(falling(0.1, steps(setting)));
  }
  static smoothing::FromValues options(const Method& method, uint64_t seed, const Setting& setting) {
    smoothing::FromValues how{{.pairs = setting.pairs, .ranks = method.ranks, .seed = seed}};
    if (method.learned) how.scale = smoothing::FromValues::Scale::learned;
    how.scale_rate = 0.003;
    how.least = 1e-4;
    how.most = 0.3;
    return how;
  }

  const Problem& problem_;
  smoothing::AskTell search_;
};

class ByGradient final : public Stepper {
 public:
  ByGradient(const Problem& problem, uint64_t seed, const Setting& setting)
      : problem_(problem),
        point_(problem.start(seed)),
        optimizer_(optim::sgd(
            falling(0.005 * static_cast<double>(problem.dimension()), setting.budget / (1 + setting.gradient_cost) + 1),
            {.momentum = 0.9})) {}

  std::vector<double> step() override {
    return {optimizer_->step(point_, [this](const Tensor& u) { return problem_(u); }).item()};
  }
  CellCheckpoint::Standing standing() const override { return {{{kPoint, point_}}, optimizer_->state(), {}}; }
  void go_on_from(const CellCheckpoint::Standing& standing) override {
    assign(point_, standing.tensors.at(kPoint));
    optimizer_->set_state(standing.optimizer);
  }

 private:
  const Problem& problem_;
  const Tensor point_;
  const std::unique_ptr<optim::Optimizer> optimizer_;
};

// Best values by the number of evaluations.
class Tally {
 public:
  explicit Tally(const Setting& setting) : setting_(setting), counts_(counts(setting.budget)) {
    results_.numbers = {{kEvaluations, 0}, {kBest, NAN}, {kReached, NAN}};
  }
  void go_on_from(const Results& results) { results_ = results; }

  bool is_full() const { return evaluations() >= setting_.budget; }
  // A value after `cost` evaluations more; what is beyond the budget does not count.
  void add(double value, int64_t cost) {
    std::vector<double>& series = results_.series[kBestSoFar];
    double &best = results_.numbers[kBest], &reached = results_.numbers[kReached];
    const int64_t after = evaluations() + cost;
    results_.numbers[kEvaluations] = static_cast<double>(after);
    while (series.size() < counts_.size() && counts_[series.size()] < after) series.push_back(best);
    if (after > setting_.budget) return;
    if (std::isfinite(value) && !(value >= best)) best = value;
    if (std::isnan(reached) && best < setting_.target) reached = static_cast<double>(after);
    if (series.size() < counts_.size() && counts_[series.size()] == after) series.push_back(best);
  }
  const Results& so_far() const { return results_; }
  Results results() const {
    Results results = results_;
    results.numbers.erase(kEvaluations);
    results.series[kBestSoFar].resize(counts_.size(), results.numbers[kBest]);
    return results;
  }

 private:
  int64_t evaluations() const { return static_cast<int64_t>(results_.at(kEvaluations)); }

  const Setting& setting_;
  const std::vector<int64_t> counts_;
  Results results_;
};

}  // namespace

Problem::Problem(const smoothing::TestFunction& function, int64_t dimension)
    : function_(&function), dimension_(dimension) {
  const Tensor mean_value = mean((*this)(uniform_points({kSampled, dimension}, 0, kMean)));
  unit_ = mean_value.item();
}

Tensor Problem::operator()(const Tensor& u) const {
  return function_->function(u * (function_->high - function_->low) + function_->low) / unit_;
}

Tensor Problem::start(uint64_t seed) const { return uniform_points({dimension_}, seed, kStart); }

std::vector<int64_t> counts(int64_t budget) {
  std::vector<int64_t> out;
  for (int i = 0; i <= kCounts; ++i) {
    const auto count = std::llround(std::pow(static_cast<double>(budget), static_cast<double>(i) / kCounts));
    if (out.empty() || count > out.back()) out.push_back(count);
  }
  return out;
}

Results search(const Method& method, const Problem& problem, uint64_t seed, const Setting& setting,
               CellCheckpoint checkpoint) {
  const bool exact = method.optimizer == Method::Optimizer::sgd;
  std::unique_ptr<Stepper> stepper;
  if (exact)
    stepper = std::make_unique<ByGradient>(problem, seed, setting);
  else
    stepper = std::make_unique<ByPopulation>(method, problem, seed, setting);
  Tally tally(setting);
  if (const auto standing = checkpoint.read(Device::cpu)) {
    stepper->go_on_from(*standing);
    tally.go_on_from(standing->results);
  }
  while (!tally.is_full()) {
    stop_if_interrupted();
    for (const double value : stepper->step()) tally.add(value, exact ? 1 + setting.gradient_cost : 1);
    checkpoint.now_and_then([&] {
      CellCheckpoint::Standing standing = stepper->standing();
      standing.results = tally.so_far();
      return standing;
    });
  }
  return tally.results();
}

}  // namespace mollify::experiments::black_box_search
