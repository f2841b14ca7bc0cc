#include <mollify/smoothing/sigma.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/recorder.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

double checked(double value) {
  require<ValueError>(value >= 0 && std::isfinite(value), "sigma: {} given; needs a finite number of at least 0",
                      value);
  return value;
}

}  // namespace

Sigma::Sigma(double value, double factor) : value_(checked(value)), factor_(factor) {}

Sigma::Sigma(optim::Schedule schedule, double factor) : value_(std::move(schedule)), factor_(factor) {
  require<ValueError>(static_cast<bool>(std::get<optim::Schedule>(value_)),
                      "sigma: an empty schedule given; needs a function of the step");
}

Sigma::Sigma(const Tensor& value, double factor) : value_(value), factor_(factor) {
  require(value.size() == 1 && value.rank() == 0, "sigma: a tensor {} given; needs a 0-d one", value.shape());
  require<TypeError>(is_floating(value.dtype()), "sigma: a tensor of {} given; needs f32 or f64", value.dtype());
  if (value.device() == Device::cpu && !Recorder::current()) checked(value.item());
}

Sigma Sigma::at(int64_t step) const {
  const auto* schedule = std::get_if<optim::Schedule>(&value_);
  return schedule ? Sigma((*schedule)(step), factor_) : *this;
}

double Sigma::stddev() const {
  require<ValueError>(!std::holds_alternative<optim::Schedule>(value_),
                      "sigma: a schedule has no single value; needs at(step)");
  const auto* tensor = std::get_if<Tensor>(&value_);
  return factor_ * (tensor ? tensor->item() : std::get<double>(value_));
}

bool Sigma::is_none() const {
  const auto* value = std::get_if<double>(&value_);
  return value && *value == 0;
}

Tensor Sigma::tensor(DType dtype) const {
  const auto* tensor = std::get_if<Tensor>(&value_);
  if (!tensor) return Tensor::scalar(stddev(), dtype);
  require<TypeError>(tensor->dtype() == dtype, "sigma: a tensor of {} is used with {}; they must be equal",
                     tensor->dtype(), dtype);
  return factor_ == 1 ? *tensor : *tensor * factor_;
}

}  // namespace mollify::smoothing
