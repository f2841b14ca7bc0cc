// A value on its way from the device to the host: asked for now, waited for later, so that work can be launched in
// between.
#pragma once

#include <mollify/engine/tensor.h>

#include <memory>

#pragma GCC visibility push(default)
namespace mollify {

class Fetch {
 public:
  // Queues the copy of a single number. On the CPU it is there at once.
  explicit Fetch(const Tensor& number);
  ~Fetch();
  Fetch(Fetch&&) noexcept;
  Fetch& operator=(Fetch&&) noexcept;

  // Waits for the number, and throws what the device found wrong on the way to it.
  double item() const;

 private:
  struct Copy;
  Tensor number_;
  std::unique_ptr<Copy> copy_;
};

}  // namespace mollify
#pragma GCC visibility pop
