// The devices that tests run on: the CPU, and CUDA where this build has kernels and a device (or emulates one).
#pragma once

#include <mollify/engine/cuda/gpu.h>
#include <mollify/engine/tensor.h>

#include <gtest/gtest.h>

#include <vector>

namespace mollify {

inline std::vector<Device> devices() {
  if (cuda::available()) return {Device::cpu, Device::cuda};
  return {Device::cpu};
}

}  // namespace mollify

// For tests of CUDA alone: says why they do not run.
#define MOLLIFY_SKIP_WITHOUT_CUDA() \
  if (!::mollify::cuda::available()) GTEST_SKIP() << "CUDA: " << ::mollify::cuda::unavailable_reason()
