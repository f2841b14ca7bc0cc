// What the estimates from loss values share, whoever evaluates the losses: s, by a schedule or learned, and the step's
// gradient. A function of its own for each way of evaluation: gradient_from_values, AskTell.
#pragma once

#include <mollify/smoothing/loss/loss_gradients.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// s of each step as a schedule, which throws ValueError for one that is not above 0; a tensor's is its value. `name`
// begins errors.
optim::Schedule schedule_of(const char* name, const Sigma& s);

class PopulationGradient : public optim::Gradient {
 public:
  // Throws ValueError for pairs, rates and bounds that are none.
  PopulationGradient(const char* name, const Sigma& s, const FromValues& how);

  void attach(optim::Numbers& numbers) override;
  Estimate operator()(const Tensor& weights, const optim::Loss& loss) override;
  Tensor left_out() const override { return left_out_; }
  std::map<std::string, Tensor> state() const override;
  // A learned s that the state lacks starts anew.
  void set_state(const std::map<std::string, Tensor>& state) override;

  const FromValues& how() const { return how_; }
  Tensor next_scale(const Tensor& weights, int64_t step);  // s of a step that has not begun

 protected:
  // The losses of the members of `estimate`. The first evaluation is at the weights themselves, where there is one.
  virtual Members evaluate(const PopulationEstimate& estimate, const Tensor& weights, const optim::Loss& loss,
                           const Tensor& s) = 0;

 private:
  bool is_learned() const { return how_.scale != FromValues::Scale::scheduled; }
  Tensor learned(const Tensor& weights);
  void learn(const Tensor& s, const Tensor& gradient);

  FromValues how_;
  optim::Schedule schedule_;
  optim::Numbers* numbers_ = nullptr;
  size_t scheduled_ = 0;
  Tensor learned_, left_out_;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
