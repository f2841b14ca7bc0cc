// What is live, what is reused, and what is refused.
#include <mollify/engine/grad.h>
#include <mollify/engine/memory.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>

#include <gtest/gtest.h>

#include <thread>

namespace mollify {
namespace {

int64_t live() { return memory_statistics().live_bytes; }
int64_t peak() { return memory_statistics().peak_bytes; }

TEST(Memory, CountsWhatIsLive) {
  const int64_t before = live();
  {
    const Tensor x = zeros({1000}, DType::f64);
    EXPECT_EQ(live(), before + 8000);
    const Tensor view = slice(x, 0, 10, 20), copy = x;
    EXPECT_EQ(live(), before + 8000);
  }
  EXPECT_EQ(live(), before);
}

TEST(Memory, ReturnsToTheStartWhenAGraphDies) {
  const auto loss = [](const Tensor& w) {
    const Tensor x = ones({20, 30});
    return sum(square(tanh(matmul(x, reshape(w, {30, 10})))));
  };
  const Tensor w = full({300}, 0.1);
  const int64_t before = live();
  for (int i = 0; i < 3; ++i) {
    { const auto [value, gradient] = value_and_grad(loss)(w); }
    EXPECT_EQ(live(), before);
    { const Tensor product = hvp(loss, w, w); }
    EXPECT_EQ(live(), before);
  }
}

TEST(Memory, ReturnsToTheStartAfterAnException) {
  const int64_t before = live();
  EXPECT_THROW(grad([](const Tensor& x) { return sum(matmul(exp(x), ones({7, 7}))); })(ones({4, 4})), ShapeError);
  EXPECT_EQ(live(), before);
}

TEST(Memory, OfAStepInALoopDoesNotGrow) {
  const Tensor w = full({64, 64}, 0.01);
  const auto step = [&] { grad([](const Tensor& x) { return sum(matmul(x, x)); })(w); };
  step();
  reset_peak_memory();
  step();
  const int64_t first = peak();
  for (int i = 0; i < 20; ++i) step();
  EXPECT_EQ(peak(), first);
}

TEST(Memory, PeakIsTheLargestSinceTheReset) {
  reset_peak_memory();
  const int64_t before = live();
  EXPECT_EQ(peak(), before);
  { const Tensor x = zeros({1 << 16}); }
  EXPECT_GE(peak(), before + (4 << 16));
  EXPECT_LE(peak(), before + (4 << 16) + 64);  // and the 0-d tensor that it is filled with
  EXPECT_EQ(live(), before);
  reset_peak_memory();
  EXPECT_EQ(peak(), before);
}

// The walk lets go of the record behind it: differentiating a chain needs hardly more than its values.
TEST(Memory, OfADeepChainIsFreedWhileWalking) {
  constexpr int64_t kBytes = 4 << 14;
  const Tensor x = full({1 << 14}, 0.5);
  reset_peak_memory();
  const int64_t before = live();
  grad([](const Tensor& v) {
    Tensor y = v;
    for (int i = 0; i < 20; ++i) y = sin(y);
    return sum(y);
  })(x);
  EXPECT_LE(peak() - before, 25 * kBytes);
}

TEST(Memory, IsReused) {
  const void* first;
  { first = zeros({123457}).buffer().data(); }
  EXPECT_EQ(zeros({123457}).buffer().data(), first);
  EXPECT_GT(memory_statistics().cached_bytes, 0);
  const int64_t cached = memory_statistics().cached_bytes;
  release_cached_memory();
  EXPECT_LT(memory_statistics().cached_bytes, cached);
}

TEST(Memory, IsAligned) {
  for (const int64_t count : {1, 3, 17, 1000, 100003})
    EXPECT_EQ(reinterpret_cast<uintptr_t>(zeros({count}).buffer().data()) % 64, 0u);
}

TEST(Memory, RefusesWhatCannotBe) {
  const int64_t before = live();
  EXPECT_THROW(zeros({int64_t{1} << 45}), MemoryError);
  EXPECT_THROW(Buffer::allocate(int64_t{1} << 50, Device::cpu), MemoryError);
  EXPECT_THROW(Buffer::allocate(-1, Device::cpu), MemoryError);
  EXPECT_EQ(live(), before);
  EXPECT_EQ(ones({2}).to_vector<float>(), (std::vector<float>{1, 1}));
}

TEST(Memory, FreedOnAnotherThread) {
  const int64_t before = live();
  Tensor x = zeros({1000});
  std::thread([moved = std::move(x)]() mutable { moved = {}; }).join();
  EXPECT_EQ(live(), before);
}

// What another library lends: seen in place, given back once, and never overwritten where it is for reading only.
struct Lent {
  float numbers[6] = {1, 2, 3, 4, 5, 6};
  int returned = 0;

  Tensor tensor(const Layout& layout, bool read_only) {
    const auto give_back = [](void* owner) { ++static_cast<Lent*>(owner)->returned; };
    Buffer* buffer = Buffer::foreign(numbers, sizeof numbers, Device::cpu, read_only, give_back, this);
    const Tensor made = Tensor::on(buffer, layout);
    buffer->release();
    return made;
  }
};

Layout backwards(const Shape& shape, int64_t step, int64_t first) {
  Layout layout = Layout::packed(shape, DType::f32);
  layout.strides[0] = -step;
  layout.offset = first;
  return layout;
}

TEST(Memory, OfOthersIsSeenInPlaceAndGivenBackOnce) {
  Lent lent;
  const int64_t before = live();
  Tensor x = lent.tensor(Layout::packed({2, 3}, DType::f32), false);
  EXPECT_EQ(live(), before);  // it is theirs
  EXPECT_EQ(x.data<float>(), lent.numbers);
  x += 1.0;
  EXPECT_EQ(lent.numbers[5], 7);
  lent.numbers[0] = 10;
  EXPECT_EQ(x(0, 0).item(), 10);
  Tensor view = x[1];
  x = {};
  EXPECT_EQ(lent.returned, 0);  // a view holds it
  EXPECT_EQ(view(2).item(), 7);
  view = {};
  EXPECT_EQ(lent.returned, 1);
}

TEST(Memory, OfOthersMayRunBackwards) {
  Lent lent;
  const Tensor x = lent.tensor(backwards({3}, 2, 5), false);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{6, 4, 2}));
  EXPECT_EQ(sum(x).item(), 12);
}

TEST(Memory, OfOthersMayBeLentTwice) {
  Lent lent;
  const Tensor forward = lent.tensor(Layout::packed({6}, DType::f32), false);
  const Tensor backward = lent.tensor(backwards({6}, 1, 5), false);
  assign(forward, backward);
  EXPECT_EQ(forward.to_vector<float>(), (std::vector<float>{6, 5, 4, 3, 2, 1}));
  const auto steps = [](const Tensor& x, const Tensor& y) {
    assign(x, y * 2.0);
    assign(x, y + x);
  };
  Captured captured([&](const Tensors& in) {
    steps(in[0], in[1]);
    return Tensors();
  });
  for (int call = 0; call < 4; ++call) {
    std::fill(lent.numbers, lent.numbers + 6, 1.0f);
    captured({forward, backward});
    EXPECT_EQ(forward(3).item(), 4);
  }
}

TEST(Memory, ForReadingOnlyIsNotOverwritten) {
  Lent lent;
  Tensor x = lent.tensor(Layout::packed({6}, DType::f32), true);
  EXPECT_THROW(x += 1.0, ValueError);
  EXPECT_THROW(assign(x(Slice{1, 3}), 0.0), ValueError);
  Captured twice([](const Tensors& in) -> Tensors {
    assign(in[0], in[0] * 2.0);
    return in[0] + 0.0;
  });
  for (int call = 0; call < 3; ++call) EXPECT_THROW(twice({x}), ValueError);
  for (int call = 0; call < 3; ++call) EXPECT_EQ(twice({ones({6})})[0](0).item(), 2);
  EXPECT_THROW(twice({x}), ValueError);  // a replay, too
  EXPECT_EQ(lent.numbers[0], 1);
  EXPECT_EQ(sum(x).item(), 21);
}

}  // namespace
}  // namespace mollify
