// Whether there is a GPU, which one, and how it multiplies matrices.
#pragma once

#include <string>

#pragma GCC visibility push(default)
namespace mollify::cuda {

// Whether this build has CUDA kernels and a device to run them; if not, `unavailable_reason` says why.
bool available();
std::string unavailable_reason();
std::string description();  // "NVIDIA H200, 132 multiprocessors, 139.8 GiB"; throws DeviceError without a device

// How large matrix products are computed: "cuBLASLt; tf32 is served as tf32, bf16 as tf32", or why by this library's
// own kernel. What is missing alone: empty where cuBLASLt is there. Both throw DeviceError without a device.
std::string products();
std::string missing_products();

// Waits for all work; throws what kernels found.
void synchronize();

// The stream that all work is on, a cudaStream_t, for libraries that hand memory over; null where there is no GPU.
void* work_stream();

}  // namespace mollify::cuda
#pragma GCC visibility pop
