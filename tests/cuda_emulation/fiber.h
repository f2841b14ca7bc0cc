// Stacks of their own between which one thread of the host switches. A switch costs a few nanoseconds and no system
// call.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace emulation {

class Fiber {
 public:
  // A stack on which `body(argument)` runs when the fiber is first switched to; it must never return.
  Fiber(size_t number, void (*body)(void* argument), void* argument);
  Fiber();  // stands for the stack that the host's thread came with
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Leaves this fiber, which must be the running one, and goes on where `next` was left. Returns when another one
  // switches back.
  void switch_to(Fiber& next);

 private:
  static void enter(unsigned high, unsigned low);

  void* registers_[5] = {};  // of __builtin_setjmp
  ucontext_t context_;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool started_ = true;
  void* mapping_ = nullptr;
  const void* stack_ = nullptr;  // its lowest address
  size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
};

}  // namespace emulation
