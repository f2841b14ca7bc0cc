// Where an optimizer's gradient comes from: differentiation, unless it is given an estimate.
#pragma once

#include <mollify/engine/tensor.h>
#include <mollify/optim/schedule.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::optim {

// The loss of the step's batch at some weights: a scalar. First-order methods differentiate it once; zeroth-order and
// variance-reduced methods evaluate it at several points.
using Loss = std::function<Tensor(const Tensor& weights)>;

// The numbers that move with the steps, each a 0-d tensor that kernels read: captured steps see every new value.
class Numbers {
 public:
  // `schedule` gives the number of each step, counted from 0. Returns where it is found.
  size_t add(Schedule schedule);
  const Tensor& operator[](size_t i) const { return all_[i].number; }  // of the step under way; empty before the first
  double value(size_t i, int64_t step) const { return all_[i].schedule(step); }
  const Tensor& step() const { return step_; }  // of the step under way, i32, from 0

  void advance(int64_t step, DType dtype);  // the host's: writes the numbers of a step

 private:
  struct Moving { Schedule schedule; Tensor number; };
  std::vector<Moving> all_;
  Tensor step_;
};

// What an estimate costs a step.
struct Evaluations {
  int64_t values = 0, gradients = 0;  // of the loss
  int64_t pairs = 0;                  // of values that are compared, where they are
};

class Gradient {
 public:
  virtual ~Gradient() = default;
  // Once, before the first step: an estimate adds the numbers that it moves, and may keep `numbers` for the step.
  virtual void attach(Numbers& /*numbers*/) {}
  // The loss at the weights, and the gradient there or an estimate of it; on tensors alone, so that it can be captured.
  struct Estimate { Tensor loss, gradient; };
  // The first evaluation is at the weights themselves.
  virtual Estimate operator()(const Tensor& weights, const Loss& loss) = 0;
  virtual Evaluations evaluations() const { return {.gradients = 1}; }
  // Of the last estimate: pairs that were left out for a loss that is not finite, 0-d; empty where there are no pairs.
  virtual Tensor left_out() const { return {}; }
  // As an optimizer's: what a checkpoint keeps, by name.
  virtual std::map<std::string, Tensor> state() const { return {}; }
  virtual void set_state(const std::map<std::string, Tensor>& /*state*/) {}
};
std::unique_ptr<Gradient> exact_gradient();

}  // namespace mollify::optim
#pragma GCC visibility pop
