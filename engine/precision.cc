#include <mollify/engine/precision.h>

#include <atomic>

namespace mollify {
namespace {

std::atomic<Precision> current{Precision::fp32};

}  // namespace

const char* to_string(Precision precision) {
  switch (precision) {
    case Precision::fp32: return "fp32";
    case Precision::tf32: return "tf32";
    case Precision::bf16: return "bf16";
  }
  return "?";
}

Precision precision() { return current.load(std::memory_order_relaxed); }
void set_precision(Precision precision) { current.store(precision, std::memory_order_relaxed); }

}  // namespace mollify
