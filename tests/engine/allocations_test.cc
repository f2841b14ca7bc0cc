// A replay takes no memory: neither operator new nor aligned_alloc, which the engine's pool asks the system with, is
// called.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/optim/optimizer.h>

#include <gtest/gtest.h>

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> allocations{0};

void* counted(size_t bytes, size_t alignment) {
  ++allocations;
  void* memory = memalign(alignment, bytes);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // all of them end in memalign and free
void* operator new(size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) { return counted(bytes, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) { return counted(bytes, alignment); }
#pragma GCC diagnostic pop
#endif

namespace mollify {
namespace {

TEST(Replay, TakesNoMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer has its own operator new";
#endif
  const nn::Network network = nn::make("cnn", {28, 28, 1}, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::fan_in_uniform, 1),
               state = network.initial_state();
  const auto optimizer = optim::adam(optim::constant(0.01));
  Captured step = capture([&](const Tensors& in) -> Tensors {
    return optimizer->update(weights, [&](const Tensor& w) {
      return nn::mean_cross_entropy(network(w, state, in[0], nn::Mode::train).output, in[1]);
    });
  });
  const Tensor images = normal({16, 28, 28, 1}, {1, 2}, Tensor::scalar(0, DType::i32));
  const Tensor labels = cast(arange(16, DType::f64) / 2.0, DType::i32);
  const auto taken_by = [&](int calls) {
    int64_t taken = 0;
    for (int i = 0; i < calls; ++i) {
      optimizer->advance(DType::f32);
      const int64_t before = allocations;
      step(Tensors{images, labels});
      taken += allocations - before;
    }
    return taken;
  };
  set_num_threads(1);
  EXPECT_GT(taken_by(1), 0);
  taken_by(5);
  EXPECT_EQ(taken_by(20), 0);
  // A thread takes its scratch memory when it first has a part in a kernel, which may be in any call.
  set_num_threads(4);
  EXPECT_LT(taken_by(300), 100) << "the number does not grow with the calls";
}

}  // namespace
}  // namespace mollify
