// Projected gradient ascent by Adam, as it finds α and β. Inner header of nn/bounds.
#pragma once

#include <mollify/engine/ops.h>

namespace mollify::nn::bounds {

class Ascent {
 public:
  // From `start` on, which stays as it is; numbers are kept in [0, highest]. Zeros are added for memory that a captured
  // step may overwrite, which constants are not on.
  Ascent(const Tensor& start, const Tensor& highest)
      : at_(zeros_like(start) + start), first_(zeros_like(at_)), second_(zeros_like(at_)), highest_(highest) {}

  const Tensor& at() const { return at_; }
  // Against the gradient of what is to fall.
  void step(const Tensor& gradient, double rate) {
    const auto number = [&](double value) { return Tensor::scalar(value, at_.dtype()); };
    adam_step(at_, gradient, first_, second_,
              {.learning_rate = number(rate),
               .beta1 = number(0.9),
               .beta2 = number(0.999),
               .epsilon = number(1e-8),
               .weight_decay = number(0),
               .decoupled_decay = number(0),
               .step = number(static_cast<double>(++steps_))});
    assign(at_, clip(at_, number(0), highest_));
  }

 private:
  Tensor at_, first_, second_, highest_;
  int64_t steps_ = 0;
};

}  // namespace mollify::nn::bounds
