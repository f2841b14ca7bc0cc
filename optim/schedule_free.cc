// With d = z − y in place of z, whose start is 0, a step of y ← (1 − β)z + βx is
// y ← y + c·d − rate·(1 − β(1 − c))·G,  d ← (1 − c)·(d − rate·β·G),  and x = y + (1 − 1/β)·d.
#include <mollify/optim/optimizer.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace mollify::optim {
namespace {

// c of each step: its weight (step + 1)^power·(largest rate so far)² as a share of the sum of all weights so far; 0
// where all rates so far are 0.
Schedule share_of(Schedule rate, double power) {
  struct Kept {
    double largest = 0, sum = 0;
    std::vector<double> shares;
  };
  return [rate = std::move(rate), power, kept = std::make_shared<Kept>()](int64_t step) {
    while (static_cast<int64_t>(kept->shares.size()) <= step) {
      const auto k = static_cast<int64_t>(kept->shares.size());
      kept->largest = std::max(kept->largest, rate(k));
      const double weight = std::pow(static_cast<double>(k + 1), power) * kept->largest * kept->largest;
      kept->sum += weight;
      kept->shares.push_back(kept->sum > 0 ? weight / kept->sum : 0);
    }
    return kept->shares[static_cast<size_t>(step)];
  };
}

class ScheduleFree final : public Optimizer {
 public:
  ScheduleFree(const char* name, bool adam, const Schedule& learning_rate, const ScheduleFreeOptions& options,
               std::unique_ptr<Gradient> gradient)
      : Optimizer(learning_rate, std::move(gradient)),
        adam_(adam),
        options_(options),
        weight_decay_(numbers().add(checked("schedule-free: weight decay", options.weight_decay))) {
    const double beta = adam ? options.beta2 : 0;
    require<ValueError>(options.momentum > 0 && options.momentum <= 1 && beta >= 0 && beta < 1,
                        "{}: momentum {}, beta2 {}; needs 0 < momentum ≤ 1 and 0 ≤ beta2 < 1", name, options.momentum,
                        beta);
    require<ValueError>(options.epsilon >= 0 && options.clip_norm >= 0 && options.power >= 0,
                        "{}: epsilon {}, clip norm {}, power {}; need at least 0", name, options.epsilon,
                        options.clip_norm, options.power);
    // Adam's bias correction, of the second moment alone, is part of the rate.
    const Schedule rate = [learning_rate, beta](int64_t step) {
      return learning_rate(step) * std::sqrt(1 - std::pow(beta, static_cast<double>(step + 1)));
    };
    rate_ = numbers().add(rate);
    share_ = numbers().add(share_of(rate, options.power));
  }

  Tensor update(const Tensor& weights, const Loss& loss) override {
    const auto [value, g] = gradient(weights, loss, options_.clip_norm);
    start(difference_, weights);
    const NoGrad quiet;
    Tensor push = g;
    if (adam_) {
      start(second_, weights);
      assign(second_, second_ * options_.beta2 + square(g) * (1 - options_.beta2));
      push = g / (sqrt(second_) + options_.epsilon);
    }
    push = push + weights * numbers()[weight_decay_];
    const Tensor &share = numbers()[share_], &rate = numbers()[rate_], kept = 1.0 - share;
    const Tensor moved = weights + difference_ * share - push * (rate * (1.0 - kept * options_.momentum));
    assign(difference_, (difference_ - push * (rate * options_.momentum)) * kept);
    assign(weights, moved);
    return value;
  }

  Tensor evaluation_weights(const Tensor& weights) const override {
    return difference_.defined() ? weights + to(difference_, weights.device()) * (1 - 1 / options_.momentum) : weights;
  }

  std::map<std::string, Tensor> state() const override {
    auto state = Optimizer::state();
    if (difference_.defined()) state["difference"] = difference_;
    if (second_.defined()) state["second"] = second_;
    return state;
  }

  void set_state(const std::map<std::string, Tensor>& state) override {
    Optimizer::set_state(state);
    restore(difference_, state, "difference", steps());
    if (adam_) restore(second_, state, "second", steps());
  }

 private:
  static void start(Tensor& own, const Tensor& weights) {
    if (own.defined() && own.device() == weights.device()) return;
    own = own.defined() ? to(own, weights.device()) : zeros_like(weights);
  }

  bool adam_;
  ScheduleFreeOptions options_;
  size_t weight_decay_, rate_ = 0, share_ = 0;  // among the numbers
  Tensor difference_, second_;
};

}  // namespace

std::unique_ptr<Optimizer> schedule_free_sgd(Schedule learning_rate, const ScheduleFreeOptions& options,
                                             std::unique_ptr<Gradient> gradient) {
  return std::make_unique<ScheduleFree>("schedule_free_sgd", false, learning_rate, options, std::move(gradient));
}

std::unique_ptr<Optimizer> schedule_free_adamw(Schedule learning_rate, const ScheduleFreeOptions& options,
                                               std::unique_ptr<Gradient> gradient) {
  return std::make_unique<ScheduleFree>("schedule_free_adamw", true, learning_rate, options, std::move(gradient));
}

}  // namespace mollify::optim
