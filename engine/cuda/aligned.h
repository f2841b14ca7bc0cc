// Operands at addresses from which 16 bytes can be read at once, so that no algorithm depends on where a tensor lies.
#pragma once

#include <mollify/engine/cuda/runtime.h>

#include <cstdint>

namespace mollify::cuda {

inline bool aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// `count` numbers: themselves, or a copy.
template <class T>
class Aligned {
 public:
  Aligned(const T* data, int64_t count) : data_(data), copy_(aligned16(data) ? 0 : count) {
    if (aligned16(data)) return;
    check(
        cudaMemcpyAsync(copy_.data(), data, static_cast<size_t>(count) * sizeof(T), cudaMemcpyDeviceToDevice, stream()),
        "copy");
    data_ = copy_.data();
  }
  const T* data() const { return data_; }

 private:
  const T* data_;
  Scratch<T> copy_;
};

}  // namespace mollify::cuda
