// The thread pool, and gradients from many threads at once.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace mollify {
namespace {

class Threads : public ::testing::Test {
 protected:
  Threads() { set_num_threads(4); }
  ~Threads() override { set_num_threads(before_); }

 private:
  int before_ = num_threads();
};

TEST_F(Threads, CoverEveryIndexOnce) {
  for (const int threads : {1, 2, 4, 7}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    for (const int64_t count : {0, 1, 2, 9, 10, 11, 1000})
      for (const int64_t grain : {0, 1, 3, 10, 2000}) {
        std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
        std::atomic<int> wrong{0};
        cpu::parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          const int64_t size = std::max<int64_t>(1, grain);
          if (begin % size != 0 || end != std::min(count, begin + size)) ++wrong;
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(wrong, 0);
        for (const auto& visit : visits) EXPECT_EQ(visit, 1);
      }
  }
}

// Each range waits until the other has begun.
TEST_F(Threads, TwoShareTheWork) {
  if (num_threads() < 2) GTEST_SKIP() << "this machine has one thread";
  std::atomic<int> begun{0};
  std::atomic<bool> alone{false};
  cpu::parallel_for(2, 1, [&](int64_t, int64_t) {
    ++begun;
    const auto start = std::chrono::steady_clock::now();
    while (begun < 2 && !alone)
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(20)) alone = true;
  });
  EXPECT_FALSE(alone);
}

TEST_F(Threads, RunNestedWorkInline) {
  std::atomic<int> elsewhere{0};
  std::atomic<int64_t> visited{0};
  cpu::parallel_for(8, 1, [&](int64_t, int64_t) {
    const auto self = std::this_thread::get_id();
    cpu::parallel_for(100, 7, [&](int64_t begin, int64_t end) {
      if (std::this_thread::get_id() != self) ++elsewhere;
      visited += end - begin;
    });
  });
  EXPECT_EQ(elsewhere, 0);
  EXPECT_EQ(visited, 800);
}

TEST_F(Threads, PassExceptionsOnAndGoOnWorking) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    for (const int64_t bad : {0, 57, 99}) {
      EXPECT_THROW(cpu::parallel_for(100, 1,
                                     [&](int64_t begin, int64_t) {
                                       if (begin == bad) throw std::runtime_error("test");
                                     }),
                   std::runtime_error);
    }
    std::atomic<int64_t> total{0};
    cpu::parallel_for(100, 3, [&](int64_t begin, int64_t end) { total += end - begin; });
    EXPECT_EQ(total, 100);
  }
}

TEST_F(Threads, PassAnExceptionThroughANestedCall) {
  EXPECT_THROW(
      cpu::parallel_for(
          4, 1, [](int64_t, int64_t) { cpu::parallel_for(4, 1, [](int64_t, int64_t) { throw ValueError("test"); }); }),
      ValueError);
  std::atomic<bool> several{false};  // the pool is not taken for a worker afterwards
  const auto self = std::this_thread::get_id();
  for (int repeat = 0; repeat < 200 && !several; ++repeat)
    cpu::parallel_for(64, 1, [&](int64_t, int64_t) {
      if (std::this_thread::get_id() != self) several = true;
      std::this_thread::yield();
    });
  EXPECT_TRUE(several);
}

TEST_F(Threads, RefuseANumberBelowOne) {
  EXPECT_THROW(set_num_threads(0), ValueError);
  EXPECT_THROW(set_num_threads(-3), ValueError);
  EXPECT_EQ(num_threads(), 4);
}

Tensor network(const Tensor& w, const Tensor& x) {
  const Tensors parts = split(w, {64 * 32, 32 * 8});
  return mean(logsumexp(matmul(gelu(matmul(x, reshape(parts[0], {64, 32}))), reshape(parts[1], {32, 8}))));
}

std::vector<float> gradient(int stream) {
  const RandomKey key{9, static_cast<uint64_t>(stream)};
  const Tensor step = Tensor::scalar(0, DType::i32);
  const Tensor w = normal({64 * 32 + 32 * 8}, key, step) * 0.1, x = normal({300, 64}, {10, 0}, step);
  return grad([&](const Tensor& v) { return network(v, x); })(w).to_vector<float>();
}

TEST_F(Threads, ManyCallersGetTheRightGradients) {
  constexpr int kCallers = 12, kRepeats = 5;
  std::vector<std::vector<float>> expected;
  for (int i = 0; i < kCallers; ++i) expected.push_back(gradient(i));
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i)
    callers.emplace_back([&, i] {
      for (int repeat = 0; repeat < kRepeats; ++repeat)
        if (gradient(i) != expected[static_cast<size_t>(i)]) ++wrong;
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

// Several threads differentiate the same record: nodes and buffers are counted atomically.
TEST_F(Threads, ManyCallersShareARecord) {
  const Tensor x = variable(full({1000}, 0.5, DType::f64));
  const Tensor y = sum(exp(sin(x)));
  const Tensor one = Tensor::scalar(1, DType::f64);
  const std::vector<double> expected = vjp_of({y}, {one}, {x}, false)[0].to_vector<double>();
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 20; ++repeat)
        if (vjp_of({y}, {one}, {x}, false)[0].to_vector<double>() != expected) ++wrong;
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Threads, RecordingIsPerThread) {
  NoGrad guard;
  bool elsewhere = false;
  std::thread([&] { elsewhere = is_recording(); }).join();
  EXPECT_TRUE(elsewhere);
  EXPECT_FALSE(is_recording());
}

TEST_F(Threads, DoNotChangeAGradient) {
  set_num_threads(1);
  const std::vector<float> alone = gradient(3);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_EQ(gradient(3), alone) << threads;
  }
}

// A child has none of its parent's threads: it computes alone, and ends.
TEST_F(Threads, AForkComputesAndEnds) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "LeakSanitizer waits for threads that a fork does not have";
#endif
  set_num_threads(4);
  const Tensor x = ones({1 << 20});
  const double wanted = sum(exp(x)).item();
  const pid_t child = fork();
  if (child == 0) std::exit(sum(exp(x)).item() == wanted ? 0 : 1);
  int status = -1;
  for (int i = 0; i < 2000 && waitpid(child, &status, WNOHANG) == 0; ++i) usleep(5'000);
  kill(child, SIGKILL);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace mollify
