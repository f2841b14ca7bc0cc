#include <mollify/optim/sharpness_aware.h>

#include <mollify/engine/ops.h>

#include <cmath>
#include <optional>

namespace mollify::optim {
namespace {

class SharpnessAware final : public Gradient {
 public:
  // An offset makes it adaptive.
  SharpnessAware(const char* name, double rho, std::optional<double> offset, std::unique_ptr<Gradient> inner)
      : rho_(rho), offset_(offset), inner_(inner ? std::move(inner) : exact_gradient()) {
    require<ValueError>(rho > 0 && std::isfinite(rho), "{}: rho {}; needs a finite number above 0", name, rho);
    require<ValueError>(!offset || (*offset >= 0 && std::isfinite(*offset)),
                        "{}: offset {}; needs a finite number from 0", name, offset.value_or(0));
  }

  void attach(Numbers& numbers) override { inner_->attach(numbers); }

  Estimate operator()(const Tensor& weights, const Loss& loss) override {
    const Estimate here = (*inner_)(weights, loss);
    const Tensor left_out = inner_->left_out();
    const Tensor gradient = (*inner_)(no_grad([&] { return climbed(weights, here.gradient); }), loss).gradient;
    left_out_ = left_out.defined() ? left_out + inner_->left_out() : Tensor();
    return {here.loss, gradient};
  }

  Evaluations evaluations() const override {
    const Evaluations once = inner_->evaluations();
    return {.values = 2 * once.values, .gradients = 2 * once.gradients, .pairs = 2 * once.pairs};
  }
  Tensor left_out() const override { return left_out_; }
  std::map<std::string, Tensor> state() const override { return inner_->state(); }
  void set_state(const std::map<std::string, Tensor>& state) override { inner_->set_state(state); }

 private:
  Tensor climbed(const Tensor& weights, const Tensor& g) const {
    constexpr double kTiny = 1e-12;  // in place of a norm of 0
    if (!offset_) return weights + g * (rho_ / (norm(g) + kTiny));
    const Tensor scale = abs(weights) + *offset_, scaled = scale * g;
    return weights + scale * scaled * (rho_ / (norm(scaled) + kTiny));
  }

  double rho_;
  std::optional<double> offset_;
  std::unique_ptr<Gradient> inner_;
  Tensor left_out_;
};

}  // namespace

std::unique_ptr<Gradient> sam(double rho, std::unique_ptr<Gradient> inner) {
  return std::make_unique<SharpnessAware>("sam", rho, std::nullopt, std::move(inner));
}

std::unique_ptr<Gradient> asam(const AsamOptions& options, std::unique_ptr<Gradient> inner) {
  return std::make_unique<SharpnessAware>("asam", options.rho, options.offset, std::move(inner));
}

}  // namespace mollify::optim
