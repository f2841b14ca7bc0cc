// What certified objectives share: an upper bound of the loss over a ball around every image, from bounds of the
// margins, mixed with the natural loss and a regulariser.
#pragma once

#include <mollify/experiments/training/objectives/ball.h>

namespace mollify::experiments {

class BoundedObjective : public BallObjective {
 public:
  // `regularizer`: its weight where none is given.
  BoundedObjective(const char* name, nn::bounds::Method training, nn::bounds::Method certifying, double regularizer);

  const char* name() const override { return name_; }
  Options options() override;
  void resolve(RunOptions& run) override;
  void require_epochs(const RunOptions& run) const override;
  void prepare(const Setting& setting) override;
  nn::bounds::Method certifying() const override { return certifying_; }

  void advance(int64_t step) override;
  int64_t phase() const override;
  // On the CPU bounds that walk ask which neurons can be on either side of their kink, and walk for those only: much
  // less work, and not for capture, as the host reads it.
  bool can_be_captured() const override { return !(phase_.walked && finds_stable_neurons_); }
  const char* uncaptured() const override;
  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override;

 protected:
  // What one objective does in its own way.
  virtual double walked_share(double /*grown*/) const { return 1; }  // of the method's margins; the rest is IBP's
  virtual nn::bounds::Box box(const Tensors& inputs) const;
  virtual nn::bounds::Options bounds_options() const;
  virtual Tensor mixed(const Tensor& bound, const Tensor& /*weights*/, const Tensors& /*inputs*/) const {
    return bound;
  }

  Option fusion_option();  // of those whose margins can be one row
  bool fusion() const { return fusion_; }

  bool is_bounded() const { return phase_.bounded; }  // the step under way
  int64_t step() const { return step_; }
  double radius_now() const { return radius_; }

 private:
  Tensor loss_of_margins(const nn::bounds::Bounds& bounds, const Tensor& rows) const;
  Tensor bounded_loss(const Tensor& weights, const Tensors& inputs) const;

  const char* name_;
  nn::bounds::Method training_, certifying_;
  double usual_regularizer_, kappa_ = 0;
  std::optional<double> kappa_start_, regularizer_;
  bool fusion_ = false, finds_stable_neurons_ = false;

  int64_t step_ = 0;
  double radius_ = 0;
  // Which operations a step consists of: terms of the loss; margins of the bounded term by the method, by interval
  // arithmetic, or mixed; the regulariser.
  struct Phase {
    bool natural = false, bounded = false, walked = false, boxed = false, regularized = false;
  } phase_;
  struct Numbers {                      // 0-d, of the step
    Tensor radius;                      // of the bounded term
    Tensor natural, bounded;            // shares of the terms
    Tensor walked, boxed, regularizer;  // shares of the margins, weight of the regulariser
  } numbers_;
};

}  // namespace mollify::experiments
