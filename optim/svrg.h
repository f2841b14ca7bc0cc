// Stochastic variance-reduced gradient (Johnson & Zhang 2013).
#pragma once

#include <mollify/optim/optimizer.h>

#pragma GCC visibility push(default)
namespace mollify::optim {

struct SvrgOptions {
  // The next round's anchor: an inner iterate drawn uniformly from those of the round, or the last one.
  enum class Next { drawn, last } next = Next::last;
  uint64_t seed = 0;  // of the draw
};

// In rounds: with an anchor x̃ and the gradient μ̃ of the mean over all data there, each step moves by
// v = ∇loss(w) − ∇loss(x̃) + μ̃,  w ← w − rate·v.
class Svrg final : public Optimizer {
 public:
  explicit Svrg(Schedule learning_rate, const SvrgOptions& options = {});

  // The anchor that the options choose among the iterates since the last round (the first time: `weights`). `weights`
  // moves there.
  // full_loss: the mean over all data; it is differentiated at the anchor, once.
  void start_round(const Tensor& weights, const Loss& full_loss);

  // Needs a round; throws ValueError without. Whether the iterate becomes the candidate is the host's draw: not for
  // capture.
  Tensor update(const Tensor& weights, const Loss& loss) override { return update(weights, loss, loss); }
  using Optimizer::step;
  // With another function at the anchor.
  Tensor step(const Tensor& weights, const Loss& loss, const Loss& anchor_loss) {
    advance(weights.dtype());
    return update(weights, loss, anchor_loss);
  }

  // v at any weights, without a step. Needs a round.
  Tensor direction(const Tensor& weights, const Loss& loss, const Loss& anchor_loss) const;

  std::map<std::string, Tensor> state() const override;
  void set_state(const std::map<std::string, Tensor>& state) override;

 private:
  Tensor from_gradient(const Tensor& gradient, const Loss& anchor_loss) const;  // v
  Tensor update(const Tensor& weights, const Loss& loss, const Loss& anchor_loss);

  SvrgOptions options_;
  Tensor anchor_, full_gradient_;
  Tensor candidate_;            // the next anchor: a reservoir sample of the round's iterates
  int64_t inner_steps_ = 0;     // of the round
  SgdStep how_;
};

}  // namespace mollify::optim
#pragma GCC visibility pop
