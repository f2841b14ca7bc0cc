// What a test can ask of the emulated device and set in it. All functions may be called from any thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace emulation {

// Device memory that cudaMalloc can hand out, 16 GiB at first. Allocations that exist stay.
void set_memory_limit(size_t bytes);

int64_t allocation_count();  // successful allocations of device memory so far
size_t allocated_bytes();    // device memory allocated and not freed
int64_t launch_count();      // kernels run so far, those of graphs each time the graph is launched

// Products of f32 in bf16, which not every GPU and version of cuBLASLt has.
void offer_bf16_products(bool offered);

}  // namespace emulation
