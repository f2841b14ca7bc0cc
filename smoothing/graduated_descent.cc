#include <mollify/smoothing/graduated_descent.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/loss/population_gradient.h>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

// The gradient of the loss smoothed by the step's s.
class Smoothed : public optim::Gradient {
 public:
  Smoothed(const char* name, const Sigma& s) : schedule_(schedule_of(name, s)) {}

  void attach(optim::Numbers& numbers) override {
    numbers_ = &numbers;
    scheduled_ = numbers.add(schedule_);
  }

  Estimate operator()(const Tensor& weights, const optim::Loss& loss) override {
    const Tensor center = no_grad([&] { return loss(weights); }), s = (*numbers_)[scheduled_];
    return {center, grad([&](const Tensor& w) { return smoothed(w, s, numbers_->step()); })(weights)};
  }

 private:
  virtual Tensor smoothed(const Tensor& weights, const Tensor& s, const Tensor& step) const = 0;

  optim::Schedule schedule_;
  optim::Numbers* numbers_ = nullptr;
  size_t scheduled_ = 0;
};

class FromForm final : public Smoothed {
 public:
  FromForm(SmoothedLoss form, const Sigma& s) : Smoothed("gradient_from_form", s), form_(std::move(form)) {
    require<ValueError>(static_cast<bool>(form_), "gradient_from_form: an empty form; needs a function");
  }
  optim::Evaluations evaluations() const override { return {.values = 1, .gradients = 1}; }

 private:
  Tensor smoothed(const Tensor& weights, const Tensor& s, const Tensor&) const override {
    return form_(weights, Sigma::stddev(s));
  }

  SmoothedLoss form_;
};

class FromRows final : public Smoothed {
 public:
  FromRows(Tensor (*function)(const Tensor&), const Sigma& s, int64_t samples, uint64_t seed)
      : Smoothed("gradient_from_rows", s), function_(function), samples_(samples), seed_(seed) {
    require<ValueError>(function && samples >= 2 && samples % 2 == 0,
                        "gradient_from_rows: {} samples of {}; needs whole pairs of a function", samples,
                        function ? "a function" : "none");
  }
  optim::Evaluations evaluations() const override { return {.values = 1, .gradients = samples_}; }

 private:
  Tensor smoothed(const Tensor& weights, const Tensor& s, const Tensor& step) const override {
    const RandomKey key{seed_, stream_of(Purpose::monte_carlo)};
    const Tensor streams = arange(samples_ / 2, DType::i32, weights.device());
    const Tensor noise = normal_rows({samples_ / 2, weights.size()}, key, streams, step, weights.dtype()) * s;
    return mean(function_(concat({weights + noise, weights - noise})));
  }

  Tensor (*function_)(const Tensor&);
  int64_t samples_;
  uint64_t seed_;
};

}  // namespace

Sigma graduated_sigma(const GraduatedLevels& how) {
  require<ValueError>(
      how.last > 0 && how.first >= how.last && std::isfinite(how.first) && how.levels >= 1 && how.steps >= 1 &&
          (how.levels > 1 || how.first == how.last),
      "graduated_sigma: from {} to {} over {} levels of {} steps; needs a first scale ≥ the last one > 0 "
      "and levels and steps for them",
      how.first, how.last, how.levels, how.steps);
  return Sigma::stddev(optim::Schedule([how](int64_t step) {
    const int64_t level = std::min(step / how.steps, how.levels - 1);
    if (level == how.levels - 1) return how.last;
    return how.first * std::pow(how.last / how.first, static_cast<double>(level) / static_cast<double>(how.levels - 1));
  }));
}

std::unique_ptr<optim::Gradient> gradient_from_form(SmoothedLoss form, const Sigma& s) {
  return std::make_unique<FromForm>(std::move(form), s);
}

std::unique_ptr<optim::Gradient> gradient_from_rows(Tensor (*function)(const Tensor&), const Sigma& s, int64_t samples,
                                                    uint64_t seed) {
  return std::make_unique<FromRows>(function, s, samples, seed);
}

std::unique_ptr<optim::Optimizer> graduated_descent(double rate, const Sigma& s,
                                                    std::unique_ptr<optim::Gradient> gradient) {
  require<ValueError>(rate > 0 && std::isfinite(rate), "graduated_descent: rate {}; needs a positive number", rate);
  const optim::Schedule scale = schedule_of("graduated_descent", s);
  return optim::sgd([rate, scale](int64_t step) { return rate * scale(step); }, {}, std::move(gradient));
}

}  // namespace mollify::smoothing
