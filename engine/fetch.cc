#include <mollify/engine/fetch.h>

#include <mollify/engine/cuda/device.h>

#include <cstring>

namespace mollify {

struct Fetch::Copy {
  cuda::HostCopy copy;
};

Fetch::Fetch(const Tensor& number) : number_(number.detach()) {
  require(number.size() == 1, "fetch: the tensor has shape {}; needs exactly one element", number.shape());
  if (number.device() == Device::cuda) {
    copy_.reset(new Copy{cuda::HostCopy(number.first_byte(), size_of(number.dtype()))});
  }
}
Fetch::~Fetch() = default;
Fetch::Fetch(Fetch&&) noexcept = default;
Fetch& Fetch::operator=(Fetch&&) noexcept = default;

double Fetch::item() const {
  if (!copy_) return number_.item();
  const Tensor value = Tensor::empty(Layout::packed({}, number_.dtype()));
  std::memcpy(value.buffer().data(), copy_->copy.wait(), static_cast<size_t>(size_of(number_.dtype())));
  return value.item();
}

}  // namespace mollify
