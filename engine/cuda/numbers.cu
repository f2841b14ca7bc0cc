// Single numbers of the CPU on the device: they travel as arguments of a launch.
#include <mollify/engine/cuda/device.h>
#include <mollify/engine/cuda/device.cuh>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

namespace mollify::cuda {
namespace {

constexpr int kNumbers = 256;  // of 8 bytes: within the 4 KiB of a launch's arguments
struct Numbers { uint64_t bits[kNumbers]; };

__global__ void write(Numbers numbers, int count, uint64_t* to) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) to[i] = numbers.bits[i];
}

// The numbers that eager operations have met, by value and dtype. A schedule brings ever new ones: beyond a limit all
// are forgotten.
class Known {
 public:
  Tensor find(uint64_t bits, DType dtype) {
    constexpr size_t kLimit = 1024;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (tensors_.size() >= kLimit) tensors_.clear();
    Tensor& tensor = tensors_[{bits, dtype}];
    if (!tensor.defined()) {
      const Tensor made =
          Tensor::empty(Layout::packed({}, dtype, Device::cuda));  // device blocks are never below 8 bytes
      write_numbers(&bits, 1, made.buffer().data());
      tensor = made;
    }
    return tensor;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<uint64_t, DType>, Tensor> tensors_;
};

Known& known() {
  static Known* made = new Known;
  return *made;
}

}  // namespace

void write_numbers(const uint64_t* numbers, int64_t count, void* to) {
  for (int64_t done = 0; done < count; done += kNumbers) {
    Numbers part;
    const auto n = static_cast<int>(std::min<int64_t>(kNumbers, count - done));
    std::memcpy(part.bits, numbers + done, static_cast<size_t>(n) * 8);
    launch("numbers", write, dim3(1), dim3(64), 0, part, n, static_cast<uint64_t*>(to) + done);
  }
}

Tensor number(const Tensor& x) {
  uint64_t bits = 0;
  std::memcpy(&bits, x.first_byte(), static_cast<size_t>(size_of(x.dtype())));
  return known().find(bits, x.dtype());
}

}  // namespace mollify::cuda
