#include <mollify/smoothing/loss/ask_tell.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/loss/population_gradient.h>

#include <cmath>
#include <limits>

namespace mollify::smoothing {
namespace {

using Sides = Population::Sides;

constexpr double kNone = std::numeric_limits<double>::infinity();

Tensor copy_of(const Tensor& x) { return concat({x.detach()}); }

const Tensor& part(const std::map<std::string, Tensor>& state, const char* name, const Tensor& like) {
  const auto found = state.find(name);
  require<ValueError>(found != state.end(), "ask_tell: the state has no '{}'; needs one", name);
  const Tensor& value = found->second;
  require<ValueError>(value.shape() == like.shape() && value.dtype() == like.dtype(),
                      "ask_tell: the state's '{}' is {} {}; needs {} {}", name, value.dtype(), value.shape(),
                      like.dtype(), like.shape());
  return value;
}

}  // namespace

// Of the losses that were told last.
class ToldGradient final : public PopulationGradient {
 public:
  ToldGradient(const Sigma& s, const FromValues& how) : PopulationGradient("ask_tell", s, how) {
    require<ValueError>(!how.share_linear_parts, "ask_tell: share_linear_parts given; needs the function for it");
  }

  int64_t members() const {
    return how().sides == Sides::two ? 2 * how().pairs : how().pairs + (how().sides == Sides::one ? 1 : 0);
  }

  Tensor rows(const Tensor& weights, int64_t step) {
    const Tensor s = next_scale(weights, step), number = Tensor::scalar(static_cast<double>(step), DType::i32);
    const Tensor noise = PopulationEstimate(how(), number, weights.size(), s).directions() * s;
    if (how().sides == Sides::two) return concat({weights + noise, weights - noise});
    const Tensor plus = weights + noise;
    return how().sides == Sides::one ? concat({reshape(weights, {1, weights.size()}), plus}) : plus;
  }

  void tell(const Tensor& values) { told_ = values; }

  optim::Evaluations evaluations() const override { return {.values = members(), .pairs = how().pairs}; }

 private:
  Members evaluate(const PopulationEstimate&, const Tensor&, const optim::Loss&, const Tensor&) override {
    const int64_t pairs = how().pairs;
    if (how().sides == Sides::two) return {slice(told_, 0, 0, pairs), slice(told_, 0, pairs, 2 * pairs), {}};
    if (how().sides == Sides::point) return {told_, {}, {}};
    return {slice(told_, 0, 1, pairs + 1), {}, reshape(slice(told_, 0, 0, 1), {})};
  }

  Tensor told_;
};

AskTell::AskTell(const Tensor& start, const Sigma& s, const FromValues& how, const Make& make) : best_value_(kNone) {
  require(start.rank() == 1 && start.size() > 0, "ask_tell: the start is {}; needs a vector of numbers", start.shape());
  require<TypeError>(start.dtype() == DType::f32 || start.dtype() == DType::f64,
                     "ask_tell: the start is {}; needs f32 or f64", start.dtype());
  weights_ = copy_of(start);
  auto gradient = std::make_unique<ToldGradient>(s, how);
  gradient_ = gradient.get();
  optimizer_ = make(std::move(gradient));
  require<ValueError>(optimizer_ && &optimizer_->source() == gradient_,
                      "ask_tell: an optimizer with another gradient; needs the one that it is given");
}

AskTell::~AskTell() = default;

int64_t AskTell::members() const { return gradient_->members(); }
int64_t AskTell::steps() const { return optimizer_->steps(); }
Tensor AskTell::center() const { return copy_of(weights_); }

int64_t AskTell::left_out() const {
  const Tensor number = gradient_->left_out();
  return number.defined() ? static_cast<int64_t>(number.item()) : 0;
}

Tensor AskTell::ask() {
  const NoGrad quiet;
  asked_ = true;
  return gradient_->rows(weights_, steps());
}

void AskTell::tell(const Tensor& values) {
  require<ValueError>(asked_, "ask_tell: losses told, but nothing asked since the last step; needs ask before tell");
  require<ValueError>(values.rank() == 1 && values.size() == members(), "ask_tell: losses {}; needs [{}]",
                      values.shape(), members());
  const NoGrad quiet;
  keep_best(values);
  gradient_->tell(cast(to(values.detach(), weights_.device()), weights_.dtype()));
  asked_ = false;
  optimizer_->step(weights_, [](const Tensor&) -> Tensor {
    throw ValueError("ask_tell: the optimizer evaluates the loss itself; needs one that takes its gradient alone");
  });
}

void AskTell::keep_best(const Tensor& values) {
  const std::vector<double> all = cast(to(values.detach(), Device::cpu), DType::f64).to_vector<double>();
  int64_t lowest = -1;
  for (size_t i = 0; i < all.size(); ++i)
    if (std::isfinite(all[i]) && all[i] < best_value_) {
      best_value_ = all[i];
      lowest = static_cast<int64_t>(i);
    }
  if (lowest < 0) return;
  const Tensor row = slice(gradient_->rows(weights_, steps()), 0, lowest, lowest + 1);
  best_ = copy_of(reshape(row, weights_.shape()));
}

std::map<std::string, Tensor> AskTell::state() const {
  std::map<std::string, Tensor> state = optimizer_->state();
  state["center"] = weights_;
  if (best_.defined()) {
    state["best"] = best_;
    state["best_value"] = Tensor::scalar(best_value_, DType::f64);
  }
  return state;
}

void AskTell::set_state(const std::map<std::string, Tensor>& state) {
  const Tensor center = part(state, "center", weights_);
  const bool has_best = state.contains("best");
  const Tensor best = has_best ? copy_of(to(part(state, "best", weights_), weights_.device())) : Tensor();
  const double best_value = has_best ? part(state, "best_value", Tensor::scalar(0, DType::f64)).item() : kNone;
  optimizer_->set_state(state);
  assign(weights_, to(center, weights_.device()));
  best_ = best;
  best_value_ = best_value;
  asked_ = false;
}

}  // namespace mollify::smoothing
