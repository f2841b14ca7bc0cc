// Copies between host and device, through page-locked memory: only from there can the device copy while the host goes
// on.
#include <mollify/engine/cuda/device.h>
#include <mollify/engine/cuda/runtime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <vector>

namespace mollify::cuda {
namespace {

constexpr int64_t kSlotBytes = int64_t{4} << 20;
constexpr int kSlots = 4;

// A ring of page-locked slots. A slot is taken again when the copy that last used it is through.
class Staging {
 public:
  Staging() {
    for (Slot& slot : slots_) {
      check(cudaMallocHost(&slot.memory, kSlotBytes), "copy");
      check(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "copy");
    }
  }

  void send(void* to, const void* from, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int64_t done = 0; done < bytes; done += kSlotBytes) {
      const auto part = static_cast<size_t>(std::min(kSlotBytes, bytes - done));
      Slot& slot = next();
      std::memcpy(slot.memory, static_cast<const char*>(from) + done, part);
      check(cudaMemcpyAsync(static_cast<char*>(to) + done, slot.memory, part, cudaMemcpyHostToDevice, stream()),
            "copy");
      check(cudaEventRecord(slot.done, stream()), "copy");
    }
  }

  void fetch(void* to, const void* from, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int64_t done = 0; done < bytes; done += kSlotBytes) {
      const auto part = static_cast<size_t>(std::min(kSlotBytes, bytes - done));
      Slot& slot = next();
      check(cudaMemcpyAsync(slot.memory, static_cast<const char*>(from) + done, part, cudaMemcpyDeviceToHost, stream()),
            "copy");
      check(cudaStreamSynchronize(stream()), "copy");
      std::memcpy(static_cast<char*>(to) + done, slot.memory, part);
    }
  }

 private:
  struct Slot {
    void* memory = nullptr;
    cudaEvent_t done = nullptr;
  };

  Slot& next() {
    Slot& slot = slots_[next_++ % kSlots];
    check(cudaEventSynchronize(slot.done), "copy");
    return slot;
  }

  std::mutex mutex_;
  std::array<Slot, kSlots> slots_;
  size_t next_ = 0;
};

// Never destroyed, as the driver may be gone before static objects are.
Staging& staging() {
  static Staging* made = new Staging;
  return *made;
}

}  // namespace

void copy_to_device(void* to, const void* from, int64_t bytes) {
  (void)stream();
  if (bytes > 0) staging().send(to, from, bytes);
}

void copy_to_host(void* to, const void* from, int64_t bytes) {
  synchronize();
  if (bytes > 0) staging().fetch(to, from, bytes);
}

namespace {

// Page-locked room for a HostCopy and the fault record behind it. Slots are kept and used again; never destroyed, as
// above.
struct HostSlot {
  char* memory = nullptr;
  cudaEvent_t done = nullptr;
};

class HostSlots {
 public:
  HostSlot* take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      auto* slot = new HostSlot;
      check(cudaMallocHost(reinterpret_cast<void**>(&slot->memory), HostCopy::kMostBytes + sizeof(Fault)), "copy");
      check(cudaEventCreateWithFlags(&slot->done, cudaEventDisableTiming), "copy");
      return slot;
    }
    HostSlot* slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void put(HostSlot* slot) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(slot);
  }

 private:
  std::mutex mutex_;
  std::vector<HostSlot*> free_;
};

HostSlots& host_slots() {
  static HostSlots* made = new HostSlots;
  return *made;
}

}  // namespace

HostCopy::HostCopy(const void* from, int64_t bytes) : slot_(nullptr) {
  require<ValueError>(bytes <= kMostBytes, "copy: {} bytes; needs at most {}", bytes, kMostBytes);
  HostSlot* slot = host_slots().take();
  slot_ = slot;
  check(cudaMemcpyAsync(slot->memory, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream()), "copy");
  check(cudaMemcpyAsync(slot->memory + kMostBytes, fault(), sizeof(Fault), cudaMemcpyDeviceToHost, stream()), "copy");
  check(cudaEventRecord(slot->done, stream()), "copy");
}

HostCopy::HostCopy(HostCopy&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}

HostCopy::~HostCopy() {
  if (!slot_) return;
  auto* slot = static_cast<HostSlot*>(slot_);
  (void)cudaEventSynchronize(slot->done);  // the copy may still be under way
  host_slots().put(slot);
}

const void* HostCopy::wait() const {
  const auto* slot = static_cast<const HostSlot*>(slot_);
  check(cudaEventSynchronize(slot->done), "copy");
  Fault found;
  std::memcpy(&found, slot->memory + kMostBytes, sizeof found);
  if (found.kind != 0) synchronize();  // throws it, and clears the record
  return slot->memory;
}

void copy_within(void* to, const void* from, int64_t bytes) {
  if (bytes > 0)
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream()), "copy");
}

}  // namespace mollify::cuda
