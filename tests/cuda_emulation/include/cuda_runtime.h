// CUDA on the CPU, for tests: .cu files are compiled as C++20 against these headers (names and types as in CUDA 13) and
// linked with the sources one folder up, all with the same sanitizers; -Wno-unknown-pragmas for #pragma unroll. Kernels
// run on the calling thread, block after block; each thread of a block is a fiber, which another follows where it waits
// at a barrier or a warp operation.
//
// Found out: memory errors and undefined behaviour (by AddressSanitizer and UBSan; dynamic shared memory has its exact
// size), reads of fresh device memory and dynamic shared memory (full of NaN), barriers and warp operations that some
// thread never reaches or that threads reach at different places (aborts, naming them), what CUDA forbids while a
// stream captures, launches out of limits.
// Not modelled: the memory model (every write is seen at once, so races between threads and missing fences go unseen),
// warps in lock step, several devices, work that overlaps with the host (all of it is done when the call returns),
// limits of registers and of static shared memory, captures that fork to other streams, memory nodes of graphs,
// performance. Static __shared__ variables hold what the block before has left in them.
#pragma once

#define __global__ __attribute__((unused))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __align__(bytes) __attribute__((aligned(bytes)))

#include <cuda_runtime_api.h>
#include <device_emulation.h>
#include <emulation.h>
#include <mma_emulation.h>

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace emulation {

using Kernel = void (*)();  // any kernel, as a key

// Checks the launch and runs it, or records it where the stream captures. `invoke` runs one thread of the kernel.
cudaError_t launch(const cudaLaunchConfig_t& config, Kernel kernel, void (*invoke)(const void* arguments),
                   std::shared_ptr<const void> arguments);

cudaError_t set_attribute(Kernel kernel, cudaFuncAttribute attribute, int value);
cudaError_t attributes(cudaFuncAttributes* result, Kernel kernel);
cudaError_t occupancy(int* blocks, Kernel kernel, int block_threads, size_t shared_bytes);

template <class... Parameters>
struct Call {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> arguments;

  static void run(const void* call) {
    const Call& self = *static_cast<const Call*>(call);
    std::apply(self.kernel, self.arguments);
  }
};

}  // namespace emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel takes all of its arguments");
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "a kernel's arguments are copied as bytes");
  static_assert(!(std::is_reference_v<Parameters> || ...), "a kernel takes its arguments by value");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "a kernel's arguments fill at most 4 KB");
  using Call = emulation::Call<Parameters...>;
  if (config == nullptr) return emulation::launch({}, nullptr, nullptr, nullptr);
  return emulation::launch(
      *config, reinterpret_cast<emulation::Kernel>(kernel), &Call::run,
      std::shared_ptr<const void>(new Call{kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)},
                                  [](const void* call) { delete static_cast<const Call*>(call); }));
}

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return emulation::set_attribute(reinterpret_cast<emulation::Kernel>(kernel), attribute, value);
}

template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* result, void (*kernel)(Parameters...)) {
  return emulation::attributes(result, reinterpret_cast<emulation::Kernel>(kernel));
}

template <class... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*kernel)(Parameters...), int block_threads,
                                                          size_t shared_bytes) {
  return emulation::occupancy(blocks, reinterpret_cast<emulation::Kernel>(kernel), block_threads, shared_bytes);
}
