#include "fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif
#ifdef EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace emulation {
namespace {

constexpr size_t kPage = 4096;
// Not a power of two, and each fiber starts at another offset, so that the stacks' hot lines do not fall into the same
// cache sets.
constexpr size_t kStack = 65 * kPage, kOffset = 9 * 64, kOffsets = 28;

}  // namespace

Fiber::Fiber() {
#ifdef EMULATION_ASAN
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* stack = nullptr;
  pthread_attr_getstack(&attributes, &stack, &stack_bytes_);
  pthread_attr_destroy(&attributes);
  stack_ = stack;
#endif
}

Fiber::Fiber(size_t number, void (*body)(void* argument), void* argument)
    : body_(body), argument_(argument), started_(false) {
  mapping_ = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping_, kPage, PROT_NONE);  // an overflow ends in a fault, not in another stack
  stack_ = static_cast<char*>(mapping_) + kPage;
  stack_bytes_ = kStack - number % kOffsets * kOffset;
  getcontext(&context_);
  context_.uc_stack.ss_sp = const_cast<void*>(stack_);
  context_.uc_stack.ss_size = stack_bytes_;
  context_.uc_link = nullptr;
  const auto self = reinterpret_cast<uintptr_t>(this);
  makecontext(&context_, reinterpret_cast<void (*)()>(reinterpret_cast<void*>(&Fiber::enter)), 2,
              static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
#ifdef EMULATION_ASAN
  __asan_unpoison_memory_region(stack_,
                                stack_bytes_);  // of the frames that never returned; the addresses will be used again
#endif
  munmap(mapping_, kPage + kStack);
}

void Fiber::enter(unsigned high, unsigned low) {
  Fiber& self = *reinterpret_cast<Fiber*>(static_cast<uintptr_t>(high) << 32 | low);
#ifdef EMULATION_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  self.body_(self.argument_);
}

// Not instrumented: AddressSanitizer would take the jump for one that unwinds this stack.
__attribute__((noinline, no_sanitize("address"))) void Fiber::switch_to(Fiber& next) {
#ifdef EMULATION_ASAN
  __sanitizer_start_switch_fiber(&fake_stack_, next.stack_, next.stack_bytes_);
#endif
  const bool start = !next.started_;
  next.started_ = true;
#ifdef __x86_64__
  if (__builtin_setjmp(registers_) == 0) {
    if (start) setcontext(&next.context_);
    __builtin_longjmp(next.registers_, 1);
  }
#else
  (void)start;
  swapcontext(&context_, &next.context_);
#endif
#ifdef EMULATION_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace emulation
