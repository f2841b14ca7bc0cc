// Places of numbers in a flat vector, such as the weights that a mask leaves active: known to the host and to kernels.
#pragma once

#include <mollify/engine/tensor.h>

#include <memory>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify {

class Positions {
 public:
  // In a vector of `size` numbers, at most 2³¹ − 1. Throws ValueError unless they rise, from 0 to below `size`.
  Positions(std::vector<int64_t> list, int64_t size, Device device = Device::cpu);

  int64_t count() const { return static_cast<int64_t>(list_->size()); }
  int64_t size() const { return size_; }  // of the vector
  const std::vector<int64_t>& list() const { return *list_; }
  const std::shared_ptr<const std::vector<int64_t>>& shared() const { return list_; }
  const Tensor& indices() const { return indices_; }  // i32 [count], on the device

 private:
  std::shared_ptr<const std::vector<int64_t>> list_;
  int64_t size_;
  Tensor indices_;
};

}  // namespace mollify
#pragma GCC visibility pop
