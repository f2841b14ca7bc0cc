#include <mollify/optim/gradient.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

namespace mollify::optim {
namespace {

class Exact final : public Gradient {
 public:
  Estimate operator()(const Tensor& weights, const Loss& loss) override {
    auto [value, g] = value_and_grad(loss)(weights);
    return {value, g};
  }
};

}  // namespace

size_t Numbers::add(Schedule schedule) {
  require<ValueError>(static_cast<bool>(schedule), "optimizer: an empty schedule; needs a function of the step");
  all_.push_back({std::move(schedule), {}});
  return all_.size() - 1;
}

void Numbers::advance(int64_t step, DType dtype) {
  if (!step_.defined()) step_ = zeros({}, DType::i32);
  assign(step_, static_cast<double>(step));
  for (Moving& moving : all_) {
    if (!moving.number.defined() || moving.number.dtype() != dtype) moving.number = zeros({}, dtype);
    assign(moving.number, moving.schedule(step));
  }
}

std::unique_ptr<Gradient> exact_gradient() { return std::make_unique<Exact>(); }

}  // namespace mollify::optim
