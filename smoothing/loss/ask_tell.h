// Minimises what only the caller can evaluate, such as a simulation: the caller asks for points, evaluates them where
// and when it can, and tells the losses. Steps are those of an optimizer with gradient_from_values on the same losses.
#pragma once

#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/loss/loss_gradients.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

class ToldGradient;

class AskTell {
 public:
  // Makes the optimizer of the gradient that it is given, such as
  // [](auto gradient) { return optim::adam(optim::constant(0.01), {}, std::move(gradient)); }.
  using Make = std::function<std::unique_ptr<optim::Optimizer>(std::unique_ptr<optim::Gradient>)>;

  // From w = `start` [d], f32 or f64. Throws ValueError for options that are none (those of gradient_from_values), for
  // shared linear parts, which need the function, and for an optimizer with another gradient.
  AskTell(const Tensor& start, const Sigma& s, const FromValues& how, const Make& make);
  ~AskTell();

  // The step's population, [members(), d]: w + s·z_j for j = 0 … pairs − 1, followed by w − s·z_j where both sides
  // count; w itself comes first where one side counts. A function of (seed, step, w, s): asked again before the losses
  // are told, or after set_state, the same rows.
  Tensor ask();
  int64_t members() const;

  // The losses of the rows, [members()], f32 or f64: one step of the optimizer. Pairs with a loss that is not finite
  // are left out; where all are, the gradient is 0, and the optimizer moves by what else moves it (momentum, decay).
  // Throws ValueError for another number of losses, and where nothing was asked since the last step.
  void tell(const Tensor& values);

  Tensor center() const;  // w, a copy
  int64_t steps() const;
  int64_t left_out() const;  // pairs left out of the last step
  // The row with the lowest loss so far as it was told, whether ranks count or not; only finite ones count. Empty and
  // infinite before there was one.
  const Tensor& best() const { return best_; }
  double best_value() const { return best_value_; }

  // The optimizer's, w and the best row; not what was asked: ask again. set_state throws ValueError for what is missing
  // or belongs to another number of weights.
  std::map<std::string, Tensor> state() const;
  void set_state(const std::map<std::string, Tensor>& state);

 private:
  void keep_best(const Tensor& values);

  Tensor weights_;
  ToldGradient* gradient_;  // the optimizer's
  std::unique_ptr<optim::Optimizer> optimizer_;
  bool asked_ = false;
  Tensor best_;
  double best_value_;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
