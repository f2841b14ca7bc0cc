// GSmoothSGD, GSmoothAdam and GSmoothSVRG (Starnes & Webster 2023): optimizers on ∇f_σ instead of ∇f, σ a schedule. The
// paper's Theorem 5.1 promises no rate here: its hypotheses cannot be met together.
#pragma once

#include <mollify/optim/optimizer.h>
#include <mollify/optim/svrg.h>
#include <mollify/smoothing/sigma.h>

#include <optional>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// The loss of the step's batch at some weights, smoothed with a scale: of a smoothed network, by Monte Carlo, or a
// formula.
using SmoothedLoss = std::function<Tensor(const Tensor& weights, const Sigma& sigma)>;

// SLGH's second rule (Iwakiri et al. 2022): s ← max(min(s − rate·∂f_s/∂s, decay·s), least) after each step. Its first
// rule, s ← decay·s, is the schedule step_decay(s, decay, 1).
struct SlghRule { double rate, decay = 0.999, least = 0; };

// Any optimizer, on the smoothed loss: GSmoothSGD and GSmoothAdam.
class GSmooth {
 public:
  GSmooth(std::unique_ptr<optim::Optimizer> optimizer, Sigma sigma);
  GSmooth(std::unique_ptr<optim::Optimizer> optimizer, Sigma start, const SlghRule& rule);

  // Overwrites `weights` [d]; returns the smoothed loss before the step.
  Tensor step(const Tensor& weights, const SmoothedLoss& loss) {
    advance(weights.dtype());
    return update(weights, loss);
  }
  // Its halves, for those who capture it, as the optimizer's: the host's numbers, and all the rest on tensors alone.
  void advance(DType dtype);
  Tensor update(const Tensor& weights, const SmoothedLoss& loss);

  Sigma sigma() const;  // of the next step
  optim::Optimizer& optimizer() { return *optimizer_; }

  std::map<std::string, Tensor> state() const;
  void set_state(const std::map<std::string, Tensor>& state);

 private:
  std::unique_ptr<optim::Optimizer> optimizer_;
  Sigma sigma_;
  std::optional<SlghRule> rule_;
  size_t number_;  // of σ among the optimizer's
  Tensor s_;       // with a rule: f64, where the weights are, and from one step to the next
};

// GSmoothSVRG: SVRG whose round s uses σ_s, and at the anchor τ = σ_s or 0.
class GSmoothSvrg {
 public:
  enum class Anchor { smoothed, plain };
  // sigma is a schedule of the round, not increasing.
  GSmoothSvrg(optim::Schedule learning_rate, Sigma sigma, Anchor anchor = Anchor::smoothed,
              const optim::SvrgOptions& options = {});

  // Starts a round at the anchor that the options choose (the first: `weights`), to which it moves `weights`.
  // full_loss is the mean over all data.
  void start_round(const Tensor& weights, const SmoothedLoss& full_loss);
  Tensor step(const Tensor& weights, const SmoothedLoss& loss);
  Tensor direction(const Tensor& weights,
                   const SmoothedLoss& loss) const;  // along which a step would go, times the rate; no step
  int64_t rounds() const { return rounds_; }

  std::map<std::string, Tensor> state() const;
  void set_state(const std::map<std::string, Tensor>& state);  // throws ValueError for a missing name

 private:
  Sigma anchor_sigma() const;

  optim::Svrg svrg_;
  Sigma sigma_, round_sigma_;
  Anchor anchor_;
  int64_t rounds_ = 0;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
