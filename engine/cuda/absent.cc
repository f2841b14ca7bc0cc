// The answers of a build without CUDA.
#include <mollify/engine/cuda/device.h>

namespace mollify::cuda {
namespace {

[[noreturn]] void absent() { throw DeviceError("cuda: " + unavailable_reason()); }

}  // namespace

bool available() { return false; }
std::string unavailable_reason() {
  return "this build has no CUDA kernels; needs one that was set up with nvcc (-Dcuda=enabled)";
}
std::string description() { absent(); }
std::string products() { absent(); }
std::string missing_products() { absent(); }

void* allocate(int64_t) { absent(); }
void free(void*, int64_t) {}
MemoryStatistics memory_statistics() { return {}; }
void reset_peak_memory() {}
void release_cached_memory() {}
void copy_to_device(void*, const void*, int64_t) { absent(); }
void copy_to_host(void*, const void*, int64_t) { absent(); }
void copy_within(void*, const void*, int64_t) { absent(); }
HostCopy::HostCopy(const void*, int64_t) : slot_(nullptr) { absent(); }
HostCopy::~HostCopy() = default;
HostCopy::HostCopy(HostCopy&&) noexcept = default;
const void* HostCopy::wait() const { return slot_; }
Tensor number(const Tensor&) { absent(); }
void write_numbers(const uint64_t*, int64_t, void*) { absent(); }
Graph::Graph(const std::function<void()>&) : executable_(nullptr), nodes_(0) { absent(); }
Graph::~Graph() = default;
void Graph::launch() const {
  if (!executable_) absent();
}
int64_t Graph::nodes() const { return nodes_; }
void synchronize() {}
void* work_stream() { return nullptr; }

}  // namespace mollify::cuda
