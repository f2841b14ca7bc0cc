// The engine on CUDA: where tensors are, what mixes, memory, faults that kernels find, captured graphs. Values are the
// op table's.
#include "../devices.h"

#include <mollify/engine/fetch.h>
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>

#include <cmath>
#include <thread>

namespace mollify {
namespace {

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override { MOLLIFY_SKIP_WITHOUT_CUDA(); }
};

Tensor drawn(const Shape& shape, uint64_t stream, Device device = Device::cuda, DType dtype = DType::f32) {
  return normal(shape, {7, stream}, Tensor::from(std::vector<int32_t>{0}, {}), dtype, device);
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(CudaAvailability, IsDescribedEitherWay) {
  if (cuda::available()) EXPECT_NE(cuda::description().find("multiprocessors"), std::string::npos);
  else EXPECT_FALSE(cuda::unavailable_reason().empty());
}

TEST(CudaAvailability, WithoutADeviceTensorsOnItAreRefused) {
  if (cuda::available()) GTEST_SKIP() << "there is a device";
  EXPECT_THROW(zeros({2}, DType::f32, Device::cuda), DeviceError);
  EXPECT_THROW(to(zeros({2}), Device::cuda), DeviceError);
  EXPECT_EQ(memory_statistics(Device::cuda).live_bytes, 0);
}

TEST_F(Cuda, TensorsGoThereAndBack) {
  for (const DType dtype : {DType::f32, DType::f64, DType::i32, DType::u8}) {
    const Tensor x = cast(arange(100003, DType::f64) / 500.0, dtype), there = to(x, Device::cuda);
    EXPECT_EQ(there.device(), Device::cuda);
    EXPECT_EQ(cast(to(there, Device::cpu), DType::f64).to_vector<double>(), cast(x, DType::f64).to_vector<double>());
  }
  const Tensor strided = transpose(drawn({30, 20}, 1));
  EXPECT_EQ(strided.to_vector<float>(), transpose(to(drawn({30, 20}, 1), Device::cpu)).to_vector<float>());
  EXPECT_EQ(full({}, 2.5, DType::f64, Device::cuda).item(), 2.5);
}

TEST_F(Cuda, NumbersOfTheCpuGoWithAnything) {
  const Tensor x = drawn({5}, 1);
  EXPECT_EQ((x * Tensor::scalar(2)).to_vector<float>(), (x + x).to_vector<float>());
  EXPECT_EQ((Tensor::scalar(2) * x).device(), Device::cuda);
  EXPECT_NE(error_of([&] { x + drawn({5}, 1, Device::cpu); }).find("inputs on cuda and cpu"), std::string::npos);
  EXPECT_NE(error_of([&] { x.data<float>(); }).find("only the CPU"), std::string::npos);
  const Tensor number = zeros({});
  EXPECT_NE(error_of([&] { assign(number, sum(x)); }).find("needs both on one device"), std::string::npos);
  // The gradient of a number is where the number is.
  const Tensor g = grad([&](const Tensor& s) { return sum(x * s); })(Tensor::scalar(3));
  EXPECT_EQ(g.device(), Device::cpu);
  EXPECT_NEAR(g.item(), sum(x).item(), 1e-5);
}

TEST_F(Cuda, GradientsFlowBetweenDevices) {
  const Tensor x = drawn({4, 3}, 2, Device::cpu);
  const Tensor g = grad([](const Tensor& v) { return sum(to(square(to(v, Device::cuda)), Device::cpu)); })(x);
  EXPECT_EQ(g.to_vector<float>(), (x * 2.0).to_vector<float>());
}

TEST_F(Cuda, MemoryIsCountedCachedAndGivenBack) {
  release_cached_memory(Device::cuda);
  const MemoryStatistics before = memory_statistics(Device::cuda);
  {
    const Tensor x = zeros({1 << 20}, DType::f32, Device::cuda);
    EXPECT_EQ(memory_statistics(Device::cuda).live_bytes, before.live_bytes + (4 << 20));
    reset_peak_memory(Device::cuda);
    const Tensor y = x + 1.0;
    EXPECT_GE(memory_statistics(Device::cuda).peak_bytes, before.live_bytes + (8 << 20));
  }
  EXPECT_LE(memory_statistics(Device::cuda).live_bytes, before.live_bytes + 8);  // the number 1 stays there
  EXPECT_GE(memory_statistics(Device::cuda).cached_bytes, 8 << 20);
  release_cached_memory(Device::cuda);
  EXPECT_EQ(memory_statistics(Device::cuda).cached_bytes, 0);
}

TEST_F(Cuda, OutOfMemorySaysWhatWasAskedAndLeavesTheProcessUsable) {
  const std::string text = error_of([] { zeros({int64_t{1} << 43}, DType::u8, Device::cuda); });
  EXPECT_NE(text.find("8796093022208 bytes asked for on cuda"), std::string::npos) << text;
  EXPECT_NE(text.find("live"), std::string::npos);
  EXPECT_EQ(sum(ones({10}, DType::f32, Device::cuda)).item(), 10);
}

// Kernels cannot throw: what they find is thrown where the host next waits, once.
TEST_F(Cuda, FaultsAreThrownWhereTheHostWaits) {
  const Tensor x = drawn({4}, 1), indices = to(Tensor::from(std::vector<int32_t>{0, 9}, {2}), Device::cuda);
  const Tensor bad = take(x, indices);
  EXPECT_NE(error_of([&] { bad.to_vector<float>(); }).find("gather: index 9; needs 0 to 3"), std::string::npos);
  EXPECT_EQ(sum(ones({3}, DType::f32, Device::cuda)).item(), 3);
  EXPECT_NE(error_of([&] { cast(x * 1e20, DType::i32).to_vector<int32_t>(); }).find("cast"), std::string::npos);
  EXPECT_NE(error_of([&] { one_hot(indices, 5).to_vector<float>(); }).find("one_hot: label 9"), std::string::npos);
  const Tensor fine = sum(x);
  const Tensor worse = scatter_add({4}, indices, drawn({2}, 1), 0);
  const Fetch fetch(fine);
  EXPECT_NE(error_of([&] { fetch.item(); }).find("scatter_add"), std::string::npos);
}

TEST_F(Cuda, FetchedNumbersArriveLater) {
  std::vector<Fetch> fetches;
  for (int i = 0; i < 20; ++i) fetches.emplace_back(sum(full({100}, i, DType::f64, Device::cuda)));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(fetches[static_cast<size_t>(i)].item(), 100.0 * i);
  EXPECT_EQ(Fetch(Tensor::scalar(4)).item(), 4);
}

TEST_F(Cuda, DrawsAreTheCpus) {
  const Tensor step = Tensor::from(std::vector<int32_t>{3}, {});
  EXPECT_EQ(uniform({1000}, {1, 2}, step, DType::f32, Device::cuda).to_vector<float>(),
            uniform({1000}, {1, 2}, step).to_vector<float>());
  const auto a = drawn({1000}, 5).to_vector<float>(), b = drawn({1000}, 5, Device::cpu).to_vector<float>();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 4e-6 * std::max(1.0f, std::abs(b[i])));
}

// A step of a training: weights and schedule from before, numbers that the host moves, a graph.
TEST_F(Cuda, CapturedStepsReplayTheirGraph) {
  const auto run = [](bool captured) {
    const Tensor weights = drawn({3 * 8 + 8 + 8 * 2}, 1), first = zeros_like(weights), second = zeros_like(weights);
    const Tensor rate = Tensor::scalar(0), count = Tensor::scalar(0), draw = Tensor::from(std::vector<int32_t>{0}, {});
    AdamStep how{
        rate, Tensor::scalar(0.9), Tensor::scalar(0.999), Tensor::scalar(1e-8), Tensor::scalar(0), Tensor::scalar(0),
        count};
    const auto step = [&](const Tensors& in) -> Tensors {
      const auto [loss, g] = value_and_grad([&](const Tensor& w) {
        const Tensors parts = split(w, {24, 8, 16});
        const Tensor hidden = dropout(relu(dense(in[0], reshape(parts[0], {8, 3}), parts[1])), 0.25, {3, 1}, draw);
        return sum(cross_entropy(dense(hidden, reshape(parts[2], {2, 8}), {}), in[1])) / 16.0;
      })(weights);
      adam_step(weights, g, first, second, how);
      return loss;
    };
    Captured replay = capture(step);
    std::vector<double> losses;
    for (int i = 0; i < 30; ++i) {
      assign(rate, Tensor::scalar(0.1 / (1 + i)));
      assign(count, Tensor::scalar(i + 1));
      assign(draw, Tensor::from(std::vector<int32_t>{i}, {}));
      std::vector<int32_t> labels(16);
      for (size_t k = 0; k < labels.size(); ++k) labels[k] = static_cast<int32_t>((k + static_cast<size_t>(i)) % 2);
      const Tensors in{drawn({16, 3}, 100 + static_cast<uint64_t>(i)), to(Tensor::from(labels, {16}), Device::cuda)};
      losses.push_back((captured ? replay(in) : step(in))[0].item());
    }
    const std::vector<float> end = weights.to_vector<float>();
    losses.insert(losses.end(), end.begin(), end.end());
    return losses;
  };
  const std::vector<double> eager = run(false);
  EXPECT_EQ(run(true), eager);
  EXPECT_EQ(run(false), eager);
}

TEST_F(Cuda, CapturedFaultsAreThrownToo) {
  Captured captured = capture([](const Tensors& in) -> Tensors { return take(in[0], in[1]); });
  const auto list = [](int32_t last) { return to(Tensor::from(std::vector<int32_t>{0, last}, {2}), Device::cuda); };
  const Tensor x = drawn({4}, 1);
  for (int i = 0; i < 3; ++i) captured(Tensors{x, list(3)});
  EXPECT_THROW(captured(Tensors{x, list(4)})[0].to_vector<float>(), ValueError);
  EXPECT_EQ(captured(Tensors{x, list(2)})[0].to_vector<float>(), take(x, list(2)).to_vector<float>());
}

// What other threads do while one records stays out of its graph.
TEST_F(Cuda, ThreadsCaptureSideBySide) {
  std::vector<std::thread> threads;
  std::vector<double> sums(4);
  for (size_t i = 0; i < sums.size(); ++i)
    threads.emplace_back([&, i] {
      Captured captured = capture([](const Tensors& in) -> Tensors {
        Tensor x = in[0];
        for (int k = 0; k < 10; ++k) x = x * 1.5 - matmul(x, in[1]);
        return sum(x);
      });
      const Tensor x = full({8, 8}, static_cast<double>(i), DType::f64, Device::cuda),
                   half = full({8, 8}, 1.0 / 16, DType::f64, Device::cuda);
      for (int k = 0; k < 30; ++k) sums[i] = captured({x, half})[0].item();
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < sums.size(); ++i) EXPECT_NEAR(sums[i], 64.0 * static_cast<double>(i), 1e-9);
}

TEST_F(Cuda, OtherThreadsUseItToo) {
  std::vector<std::thread> threads;
  std::vector<double> sums(4);
  for (size_t i = 0; i < sums.size(); ++i)
    threads.emplace_back([&, i] {
      Tensor x = full({1000}, static_cast<double>(i), DType::f64, Device::cuda);
      for (int k = 0; k < 20; ++k) x = x + 1.0;
      sums[i] = sum(x).item();
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(sums[i], 1000.0 * (static_cast<double>(i) + 20));
}

}  // namespace
}  // namespace mollify
