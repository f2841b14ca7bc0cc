// The scale of the noise that something is smoothed with. Two conventions are in use; a Sigma says which it was made
// from.
#pragma once

#include <mollify/engine/tensor.h>
#include <mollify/optim/schedule.h>

#include <variant>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// Each coordinate's noise is N(0, s²). Made from a number, a schedule of the step, or a 0-d tensor that may carry a
// history.
class Sigma {
 public:
  // s itself (Cohen et al., Gaussian loss smoothing, zeroth-order methods). Throws ValueError for NaN, infinite and
  // negative numbers, ShapeError for a tensor of several. A tensor's value is checked on the CPU, and not while a step
  // is captured.
  static Sigma stddev(double s) { return Sigma(s, 1); }
  static Sigma stddev(optim::Schedule s) { return Sigma(std::move(s), 1); }
  static Sigma stddev(const Tensor& s) { return Sigma(s, 1); }
  // σ of Starnes & Webster: the weight of noise σu is π^(−d/2)·e^(−‖u‖²), so that s = σ/√2.
  static Sigma paper(double sigma) { return Sigma(sigma, kPaper); }
  static Sigma paper(optim::Schedule sigma) { return Sigma(std::move(sigma), kPaper); }
  static Sigma paper(const Tensor& sigma) { return Sigma(sigma, kPaper); }

  // The value of a step; numbers and tensors are themselves. Throws ValueError where the schedule gives no scale.
  Sigma at(int64_t step) const;

  // Read back in either convention; throws ValueError for a schedule: ask at(step).
  double stddev() const;
  double paper() const { return stddev() / kPaper; }

  bool is_none() const;  // made from the number 0; false for schedules and tensors

  // s for kernels: 0-d, with the history of the tensor that it was made from.
  Tensor tensor(DType dtype) const;

 private:
  static constexpr double kPaper = 0.70710678118654752;  // 1/√2

  Sigma(double value, double factor);
  Sigma(optim::Schedule schedule, double factor);
  Sigma(const Tensor& value, double factor);

  std::variant<double, optim::Schedule, Tensor> value_;
  double factor_;  // s = factor·value
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
