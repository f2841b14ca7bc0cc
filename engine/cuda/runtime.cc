#include <mollify/engine/cuda/runtime.h>

#include <mollify/engine/cuda/device.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace mollify::cuda {
namespace {

// The device in use: the first that CUDA_VISIBLE_DEVICES leaves.
struct Context {
  cudaDeviceProp properties{};
  cudaStream_t stream = nullptr;
  Fault* fault = nullptr;
};

cudaError_t count_devices(int& count) {
  count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) (void)cudaGetLastError();  // the error stays with the runtime until it is read
  return status;
}

// Made once; never destroyed, as the driver may be gone before static objects are.
Context& context() {
  static Context* made = [] {
    require<DeviceError>(available(), "cuda: {}", unavailable_reason());
    auto* context = new Context;
    check(cudaGetDeviceProperties(&context->properties, 0), "cuda");
    check(cudaStreamCreateWithFlags(&context->stream, cudaStreamNonBlocking), "cuda");
    check(cudaMalloc(reinterpret_cast<void**>(&context->fault), sizeof(Fault)), "cuda");
    check(cudaMemsetAsync(context->fault, 0, sizeof(Fault), context->stream), "cuda");
    return context;
  }();
  return *made;
}

thread_local cudaStream_t recording_stream = nullptr;

std::string text_of(const Fault& found) {
  const auto kind = static_cast<FaultKind>(found.kind);
  const std::string needs = format("needs 0 to {}", found.limit - 1);
  switch (kind) {
    case FaultKind::gather: return format("gather: index {}; {}", found.value, needs);
    case FaultKind::scatter_add: return format("scatter_add: index {}; {}", found.value, needs);
    case FaultKind::one_hot: return format("one_hot: label {}; {}", found.value, needs);
    case FaultKind::cast_i32: return format("cast: {} to i32; needs a number in its range", found.value);
    case FaultKind::cast_u8: return format("cast: {} to u8; needs 0 to 255", found.value);
    case FaultKind::stream: return format("random: stream {}; needs at least 0", found.value);
    case FaultKind::none: break;
  }
  return "cuda: a kernel reported an unknown fault";
}

}  // namespace

void check(cudaError_t status, const char* operation) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  const std::string text =
      format("{}: CUDA reports {} ({})", operation, cudaGetErrorName(status), cudaGetErrorString(status));
  if (status == cudaErrorMemoryAllocation) throw MemoryError(text);
  throw DeviceError(text);
}

bool available() {
  int count;
  return count_devices(count) == cudaSuccess && count > 0;
}

std::string unavailable_reason() {
  int count;
  const cudaError_t status = count_devices(count);
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    return "no device is visible; needs an NVIDIA GPU";
  return format("no device can be used: {} ({})", cudaGetErrorName(status), cudaGetErrorString(status));
}

std::string description() {
  const cudaDeviceProp& p = properties();
  char memory[32];
  std::snprintf(memory, sizeof memory, "%.1f GiB", static_cast<double>(p.totalGlobalMem) / (1 << 30));
  return format("{}, {} multiprocessors, {}", static_cast<const char*>(p.name), p.multiProcessorCount,
                static_cast<const char*>(memory));
}

void* work_stream() { return stream(); }

cudaStream_t stream() { return recording_stream ? recording_stream : context().stream; }

RecordingStream::RecordingStream() {
  (void)context();
  check(cudaStreamCreateWithFlags(&recording_stream, cudaStreamNonBlocking), "capture");
}
RecordingStream::~RecordingStream() { (void)cudaStreamDestroy(std::exchange(recording_stream, nullptr)); }

const cudaDeviceProp& properties() { return context().properties; }
Fault* fault() { return context().fault; }

unsigned grid_for(int64_t work, int64_t block) {
  const int64_t blocks = (work + block - 1) / block, most = int64_t{16} * properties().multiProcessorCount;
  return static_cast<unsigned>(std::clamp<int64_t>(blocks, 1, most));
}

void synchronize() {
  const Context& device = context();
  Fault found;
  check(cudaMemcpyAsync(&found, device.fault, sizeof found, cudaMemcpyDeviceToHost, device.stream), "cuda");
  check(cudaStreamSynchronize(device.stream), "cuda");
  if (found.kind == 0) return;
  check(cudaMemsetAsync(device.fault, 0, sizeof(Fault), device.stream), "cuda");
  throw ValueError(text_of(found));
}

}  // namespace mollify::cuda
