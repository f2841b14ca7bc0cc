// What works on the rows of a batch needs again and again.
#pragma once

#include <mollify/engine/ops.h>

#include <vector>

namespace mollify::smoothing {

// [n] as [n, 1].
inline Tensor column(const Tensor& list) { return reshape(list, {list.size(), 1}); }

// i32 [n] on the device.
inline Tensor index_list(const std::vector<int32_t>& numbers, Device device) {
  return to(Tensor::from(numbers, {static_cast<int64_t>(numbers.size())}), device);
}

}  // namespace mollify::smoothing
