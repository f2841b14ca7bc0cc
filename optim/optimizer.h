// One interface for every method: a step changes a flat weight vector, given the loss as a function of it.
#pragma once

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/optim/gradient.h>
#include <mollify/optim/schedule.h>

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#pragma GCC visibility push(default)
namespace mollify::optim {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Overwrites `weights` [d], which must be packed. Returns the loss before the step.
  Tensor step(const Tensor& weights, const Loss& loss) {
    advance(weights.dtype());
    return update(weights, loss);
  }
  // Its halves, for those who capture it. The host's: counts the step, and writes its numbers to the 0-d tensors that
  // kernels read.
  void advance(DType dtype);
  // All the rest, on tensors alone. The first update makes what later ones overwrite.
  virtual Tensor update(const Tensor& weights, const Loss& loss) = 0;

  // What to evaluate and to save while `weights` are trained: a new tensor, or `weights` themselves where a method has
  // no others.
  virtual Tensor evaluation_weights(const Tensor& weights) const { return weights; }

  int64_t steps() const { return steps_; }
  double learning_rate() const { return numbers_.value(kRate, steps_); }  // of the next step
  const Gradient& source() const { return *gradient_; }                   // of its gradients
  // For those whose loss reads further numbers that move with the steps, such as σ: added before the first step.
  Numbers& numbers() { return numbers_; }

  // What a checkpoint keeps, by name: the optimizer's own tensors, which its next step overwrites. Scalars are f64, as
  // exact as the step count.
  virtual std::map<std::string, Tensor> state() const;
  // Copies the values, into the tensors that captured updates know where there are any. Throws ValueError for a missing
  // name.
  virtual void set_state(const std::map<std::string, Tensor>& state);

 protected:
  // An empty gradient is the exact one.
  explicit Optimizer(Schedule learning_rate, std::unique_ptr<Gradient> gradient = nullptr);

  // The loss and its gradient, scaled down to the norm `clip_norm` where it is longer (0: never).
  Gradient::Estimate gradient(const Tensor& weights, const Loss& loss, double clip_norm);

  // For set_state: state[name] into `own`. Where the state has no such part, `own` is set to zeros if no step was
  // taken; else ValueError.
  static void restore(Tensor& own, const std::map<std::string, Tensor>& state, const char* name, int64_t steps);

  const Tensor& rate() const { return numbers_[kRate]; }  // learning rate of the step under way

 private:
  static constexpr size_t kRate = 0;

  Numbers numbers_;
  std::unique_ptr<Gradient> gradient_;
  int64_t steps_ = 0;
};

// g scaled to the norm `longest` where it is longer; NaN stays.
Tensor clip_norm(const Tensor& g, double longest);

// A number, or a schedule of it.
struct Scheduled {
  Scheduled(double number) : constant(number), at(optim::constant(number)) {}  // NOLINT: implicit, for options
  template <class F>
    requires std::is_invocable_r_v<double, F, int64_t>
  Scheduled(F schedule) : at(std::move(schedule)) {}  // NOLINT
  std::optional<double> constant;
  Schedule at;
};
// Its schedule, which throws ValueError for a number that is not from 0 to below `end`, for a constant one at once.
// `what` names it, such as "sgd: momentum".
Schedule checked(const char* what, const Scheduled& number, double end = std::numeric_limits<double>::infinity());

struct SgdOptions {
  Scheduled momentum = 0.0, weight_decay = 0.0;
  bool nesterov = false;
  double clip_norm = 0;  // 0: no clipping
};
// v ← momentum·v + g + decay·w, w ← w − rate·v (PyTorch's convention).
std::unique_ptr<Optimizer> sgd(Schedule learning_rate, const SgdOptions& options = {},
                               std::unique_ptr<Gradient> gradient = nullptr);

struct ClipUpOptions {
  Scheduled momentum = 0.9;
  double most_speed = 2;  // the velocity's largest norm, as a multiple of the rate
};
// v ← clip_norm(momentum·v + rate·g/‖g‖, most_speed·rate), w ← w − v (Toklu et al. 2020): a step's length does not
// depend on the gradient's, as estimates from few loss values need. A gradient of 0 or NaN only moves along v.
std::unique_ptr<Optimizer> clip_up(Schedule learning_rate, const ClipUpOptions& options = {},
                                   std::unique_ptr<Gradient> gradient = nullptr);

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  Scheduled weight_decay = 0.0;  // joins the gradient
  double clip_norm = 0;
  bool bias_correction = true;
  bool epsilon_inside = false;  // w ← w − rate·m/√(v + ε)
};
// Kingma & Ba 2015, algorithm 1. GSmoothAdam as printed has no bias correction and ε inside the root.
std::unique_ptr<Optimizer> adam(Schedule learning_rate, const AdamOptions& options = {},
                                std::unique_ptr<Gradient> gradient = nullptr);
// Loshchilov & Hutter 2019: the weights shrink by rate·weight_decay, apart from the gradient.
std::unique_ptr<Optimizer> adamw(Schedule learning_rate, AdamOptions options = {.weight_decay = 0.01},
                                 std::unique_ptr<Gradient> gradient = nullptr);

struct ScheduleFreeOptions {
  double momentum = 0.9;                 // β, above 0 and up to 1
  double beta2 = 0.999, epsilon = 1e-8;  // of AdamW alone
  Scheduled weight_decay = 0.0;
  double clip_norm = 0;
  double power = 0;  // of the step's number in the average's weights
};
// Schedule-free (Defazio et al. 2024): z ← z − rate·G(y), x ← (1 − c)·x + c·z, y = (1 − β)·z + β·x, with c the share of
// (step + 1)^power·(largest rate)² in their sum. What is trained is y; evaluation_weights are x, for which statistics
// of batch norm from y's passes are not right. G is the gradient, by Adam's second moment (bias-corrected in the rate),
// plus decay·y. Made for a rate that warms up and stays.
std::unique_ptr<Optimizer> schedule_free_sgd(Schedule learning_rate, const ScheduleFreeOptions& options = {},
                                             std::unique_ptr<Gradient> gradient = nullptr);
std::unique_ptr<Optimizer> schedule_free_adamw(Schedule learning_rate, const ScheduleFreeOptions& options = {},
                                               std::unique_ptr<Gradient> gradient = nullptr);

}  // namespace mollify::optim
#pragma GCC visibility pop
