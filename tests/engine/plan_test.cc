// Captured functions: bits of the eager run, memory, results that stay, errors for what a replay would get wrong.
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>

#include <gtest/gtest.h>

#include <cmath>
#include <exception>
#include <thread>

namespace mollify {
namespace {

Tensor random(const Shape& shape, uint64_t stream, DType dtype = DType::f32) {
  return normal(shape, {7, stream}, Tensor::from(std::vector<int32_t>{0}, {}), dtype);
}

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(cast(a, DType::f64).to_vector<double>(), cast(b, DType::f64).to_vector<double>());
}

TEST(Captured, ReplaysLongChainsOfElementwiseOperations) {
  const auto f = [](const Tensors& in) -> Tensors {
    const Tensor &x = in[0], &bias = in[1];
    Tensor y = tanh(x + bias) * 2.0;
    const Tensor mask = greater(y, Tensor::scalar(0.5));
    y = where(mask, exp(-square(y)), y * x);
    const Tensor z = gelu(y) + sum(y, {1}, true);
    return {z, sum(z), cast(mask, DType::f32) * z};
  };
  Captured captured = capture(f);
  for (uint64_t i = 0; i < 6; ++i) {
    const Tensor x = random({301, 70}, i), bias = random({70}, 100 + i);
    const Tensors got = captured(Tensors{x, bias}), wanted = f({x, bias});
    for (size_t k = 0; k < 3; ++k) expect_same(got[k], wanted[k]);
  }
  ASSERT_EQ(captured.plans().size(), 1u);
  EXPECT_LT(captured.plans()[0].kernels, captured.plans()[0].operations);
}

TEST(Captured, KeepsOnePlanForEachSetOfShapes) {
  Captured captured = capture([](const Tensors& in) -> Tensors { return sum(in[0] * 2.0, {1}); });
  for (int round = 0; round < 3; ++round)
    for (const int64_t rows : {4, 9, 1, 0}) {
      const Tensor x = random({rows, 5}, static_cast<uint64_t>(round));
      expect_same(captured(x)[0], sum(x * 2.0, {1}));
    }
  EXPECT_EQ(captured.plans().size(), 4u);
}

TEST(Captured, OverwritesWeightsFromBefore) {
  Tensor weights = random({1000}, 1), eager = zeros({1000}), rate = Tensor::scalar(0.1);
  assign(eager, weights);
  const auto step = [](const Tensor& w, const Tensor& rate, const Tensor& target) {
    const auto [loss, g] = value_and_grad([&](const Tensor& v) { return sum_of_squares(v - target); })(w);
    sgd_step(w, g, {}, {rate, Tensor::scalar(0), Tensor::scalar(0)});
    return loss;
  };
  Captured captured = capture([&](const Tensors& in) -> Tensors { return step(weights, rate, in[0]); });
  for (uint64_t i = 0; i < 1000; ++i) {
    const Tensor target = random({1000}, 10 + i);
    const double number = 0.1 / (1 + static_cast<double>(i));  // a schedule moves it between the replays
    assign(rate, Tensor::scalar(number));
    expect_same(captured(target)[0], step(eager, Tensor::scalar(number), target));
  }
  expect_same(weights, eager);
}

TEST(Captured, ResultsStayWhileSomebodyHoldsThem) {
  Captured captured = capture([](const Tensors& in) -> Tensors { return in[0] + 1.0; });
  std::vector<Tensor> results;
  for (int i = 0; i < 5; ++i) results.push_back(captured(full({8}, i))[0]);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(results[static_cast<size_t>(i)].to_vector<float>()[3], static_cast<float>(i) + 1);
}

TEST(Captured, ReturnsInputsAndWhatItWasGiven) {
  const Tensor kept = random({3}, 1);
  Captured captured = capture([&](const Tensors& in) -> Tensors {
    return {in[0], transpose(in[0]), kept, slice(in[0], 0, 1, 2)};
  });
  for (uint64_t i = 0; i < 3; ++i) {
    const Tensor x = random({2, 3}, i);
    const Tensors got = captured(x);
    expect_same(got[0], x);
    expect_same(got[1], transpose(x));
    expect_same(got[2], kept);
    expect_same(got[3], slice(x, 0, 1, 2));
  }
}

TEST(Captured, TakesStridedInputsAndTheSameTensorTwice) {
  Captured captured = capture([](const Tensors& in) -> Tensors { return in[0] * in[1] + in[0]; });
  for (uint64_t i = 0; i < 3; ++i) {
    const Tensor x = random({5, 4}, i), y = transpose(random({4, 5}, 50 + i));
    expect_same(captured(Tensors{y, x})[0], y * x + y);
    expect_same(captured(Tensors{x, x})[0], x * x + x);
  }
}

TEST(Captured, WritesGradientsWhereTheyBelong) {
  const std::vector<int64_t> extents{12, 3, 20, 5};
  const auto f = [&](const Tensors& in) -> Tensors {
    return grad([&](const Tensor& w) {
      const Tensors parts = split(w, extents);
      const Tensor first = dense(in[1], reshape(parts[0], {3, 4}), parts[1]);
      return sum_of_squares(dense(tanh(first), transpose(reshape(slice(parts[2], 0, 0, 15), {3, 5})), parts[3]));
    })(in[0]);
  };
  Captured captured = capture(f);
  for (uint64_t i = 0; i < 4; ++i) {
    const Tensor w = random({40}, i), x = random({6, 4}, 20 + i);
    expect_same(captured(Tensors{w, x})[0], f({w, x})[0]);
  }
  EXPECT_GE(captured.plans()[0].copies_elided, 3);
}

TEST(Captured, UsesMemoryAgain) {
  const auto f = [](const Tensors& in) -> Tensors {
    Tensor x = in[0];
    for (int i = 0; i < 20; ++i) x = matmul(x, in[0]);
    return sum(x);
  };
  Captured captured = capture(f);
  for (int i = 0; i < 3; ++i) captured(random({64, 64}, 1) * 0.1);
  EXPECT_LE(captured.plans()[0].arena_bytes, 2 * 64 * 64 * 4);
}

TEST(Captured, DrawsNewNumbersAsItsStepMoves) {
  const Tensor step = Tensor::from(std::vector<int32_t>{0}, {});
  Captured captured = capture([&](const Tensors& in) -> Tensors { return in[0] + normal({100}, {3, 4}, step); });
  for (int i = 0; i < 4; ++i) {
    assign(step, Tensor::from(std::vector<int32_t>{i}, {}));
    expect_same(captured(zeros({100}))[0], normal({100}, {3, 4}, Tensor::from(std::vector<int32_t>{i}, {})));
  }
}

TEST(Captured, OverwritesItsInputs) {
  Captured captured = capture([](const Tensors& in) -> Tensors {
    const Tensor before = in[0] * 1.0;
    assign(in[0], in[1] * 2.0);
    return {before, in[0] + before};
  });
  for (uint64_t i = 0; i < 5; ++i) {
    const Tensor x = random({30, 40}, i), y = random({30, 40}, 50 + i), old = x * 1.0;
    const Tensor target = i % 2 ? x : transpose(transpose(x) * 1.0);  // strided as well
    const Tensors got = captured(Tensors{target, y});
    expect_same(got[0], old);
    expect_same(got[1], y * 2.0 + old);
    expect_same(target, y * 2.0);
  }
}

// An input may be memory that the function knows by another name: of another input, or from outside.
TEST(Captured, TakesInputsThatShareMemory) {
  const Tensor outside = random({30, 40}, 7);
  const auto f = [&](const Tensors& in) -> Tensors {
    const Tensor before = in[1] * 1.0;
    assign(in[0], transpose(reshape(in[1] * 3.0, {40, 30})));
    return {before + in[1], outside + in[0]};
  };
  const Tensor kept = outside * 1.0;
  Captured captured = capture(f);
  for (int i = 0; i < 4; ++i) captured(Tensors{random({30, 40}, 1), random({30, 40}, 2)});
  for (int which = 0; which < 3; ++which) {
    const auto inputs = [&]() -> Tensors {
      const Tensor x = random({30, 40}, 3), y = random({30, 40}, 4);
      return which == 0   ? Tensors{x, x}
             : which == 1 ? Tensors{outside, y}
                          : Tensors{transpose(reshape(x, {40, 30})), reshape(x, {30, 40})};
    };
    assign(outside, kept);
    const Tensors eager_inputs = inputs(), wanted = f(eager_inputs);
    const Tensor first = wanted[0] * 1.0, second = wanted[1] * 1.0, overwritten = eager_inputs[0] * 1.0;
    assign(outside, kept);
    const Tensors replay_inputs = inputs(), got = captured(replay_inputs);
    expect_same(got[0], first);
    expect_same(got[1], second);
    expect_same(replay_inputs[0], overwritten);
  }
  assign(outside, kept);
}

TEST(Captured, MayCallItself) {
  Captured* self = nullptr;
  Captured captured = capture([&](const Tensors& in) -> Tensors {
    return in[0].dim(0) == 1 ? in[0] * 2.0
                             : concat(Tensors{(*self)(slice(in[0], 0, 1, in[0].dim(0)))[0], slice(in[0], 0, 0, 1)});
  });
  self = &captured;
  const Tensor x = random({4, 3}, 1),
               wanted =
                   concat(Tensors{slice(x, 0, 3, 4) * 2.0, slice(x, 0, 2, 3), slice(x, 0, 1, 2), slice(x, 0, 0, 1)});
  for (int i = 0; i < 4; ++i) expect_same(captured(x)[0], wanted);
}

TEST(Captured, KeepsThePlansThatWereUsedLast) {
  int runs = 0;  // of the function itself: the first two calls with new shapes
  Captured captured = capture([&](const Tensors& in) -> Tensors { return ++runs, sum(in[0] * 2.0); });
  const auto call = [&](int64_t rows) {
    expect_same(captured(ones({rows}))[0], Tensor::scalar(2.0 * static_cast<double>(rows)));
  };
  const int64_t most = Captured::kMostPlans;
  for (int64_t rows = 1; rows <= 3 * most; ++rows)
    for (int i = 0; i < 3; ++i) call(rows);
  EXPECT_EQ(captured.plans().size(), Captured::kMostPlans);
  const int before = runs;
  for (int64_t rows = 2 * most + 1; rows <= 3 * most; ++rows) call(rows);
  EXPECT_EQ(runs, before) << "the last ones are replayed";
  call(1);
  EXPECT_EQ(runs, before + 1) << "the first is met anew";
}

TEST(Captured, MayHoldAnotherOne) {
  Captured inner = capture([](const Tensors& in) -> Tensors { return exp(in[0]); });
  Captured outer = capture([&](const Tensors& in) -> Tensors { return inner(in[0] * 2.0)[0] - 1.0; });
  for (uint64_t i = 0; i < 4; ++i) expect_same(outer(random({30}, i))[0], exp(random({30}, i) * 2.0) - 1.0);
}

// Calls f often enough to be captured, and returns what it throws.
template <class F>
std::string error_of(const F& f, const Tensor& x) {
  Captured captured = capture(f);
  try {
    for (int i = 0; i < 3; ++i) captured(x);
  } catch (const GraphError& error) {
    return error.what();
  }
  return "";
}

TEST(CapturedErrors, NameWhatAReplayWouldGetWrong) {
  const Tensor x = random({3}, 1), given = Tensor::scalar(1);
  EXPECT_NE(
      error_of([](const Tensors& in) -> Tensors { return in[0] * sum(in[0]).item(); }, x).find("read by the host"),
      std::string::npos);
  EXPECT_NE(error_of([&](const Tensors& in) -> Tensors { return in[0] * given.item(); }, x).find("read by the host"),
            std::string::npos);
  Tensor kept;
  EXPECT_NE(
      error_of([&](const Tensors& in) -> Tensors { return kept = in[0] * 2.0, in[0] + 1.0; }, x).find("still held"),
      std::string::npos);
  EXPECT_NE(error_of([&](const Tensors& in) -> Tensors {
              const Tensor own = Tensor::scalar(0);
              assign(own, sum(in[0]));
              return own + 0.0;
            }, x).find("makes itself"), std::string::npos);
  Captured captured = capture([](const Tensors& in) -> Tensors { return in[0] * 2.0; });
  EXPECT_THROW(captured(variable(x)), GraphError);
}

TEST(CapturedErrors, NameWorkOfOtherThreadsAndHistoriesFromBefore) {
  const Tensor x = random({3}, 1), weights = random({3}, 2), learned = variable(weights);
  const auto elsewhere = [](auto&& work) {
    std::exception_ptr failure;
    std::thread([&] {
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
    }).join();
    if (failure) std::rethrow_exception(failure);
  };
  EXPECT_NE(error_of([&](const Tensors& in) -> Tensors {
              Tensor y;
              elsewhere([&] { y = exp(in[0]); });
              return y * 2.0;
            }, x).find("another thread captures"), std::string::npos);
  EXPECT_NE(error_of([&](const Tensors& in) -> Tensors {
              Tensor y;
              elsewhere([&] { y = exp(weights); });
              return in[0] + y;
            }, x).find("another thread made"), std::string::npos);
  EXPECT_NE(error_of([&](const Tensors& in) -> Tensors { return in[0] * learned; }, x).find("history from before"),
            std::string::npos);
}

TEST(CapturedErrors, LeaveTheFunctionUsable) {
  bool fails = true;
  Captured captured = capture([&](const Tensors& in) -> Tensors {
    const Tensor y = in[0] * 2.0;
    require<ValueError>(!fails, "test: fails");
    return y;
  });
  const Tensor x = random({3}, 1);
  for (int i = 0; i < 3; ++i) EXPECT_THROW(captured(x), ValueError);
  fails = false;
  for (int i = 0; i < 3; ++i) expect_same(captured(x)[0], x * 2.0);
}

TEST(Captured, ErrorsOfKernelsReachTheCaller) {
  Captured captured = capture([](const Tensors& in) -> Tensors { return take(in[0], in[1]); });
  const auto list = [](int32_t last) { return Tensor::from(std::vector<int32_t>{0, last}, {2}); };
  for (int i = 0; i < 3; ++i) captured(Tensors{random({4}, 1), list(3)});
  EXPECT_THROW(captured(Tensors{random({4}, 1), list(4)}), ValueError);
  expect_same(captured(Tensors{random({4}, 1), list(2)})[0], take(random({4}, 1), list(2)));
}

// What a thread makes while another one captures is no constant of the capture that starts next.
TEST(Captured, KnowsWhatWasMadeWhileAnotherThreadCaptured) {
  const Tensor x = full({5}, 3);
  const auto made_meanwhile = [&] {
    Tensor made;
    Captured other = capture([&](const Tensors& in) -> Tensors {
      std::thread([&] { made = full({5}, 1); }).join();
      return {in[0] * 2.0};
    });
    for (int call = 0; call < 2; ++call) other(Tensors{x});  // the second one captures
    return made;
  };
  const auto same_as_eager = [&](const auto& f) {
    const Tensor weights = made_meanwhile(), others = full({5}, 1);
    Captured captured = capture([&](const Tensors& in) -> Tensors { return {f(weights, in[0])}; });
    for (int call = 0; call < 4; ++call) {
      expect_same(captured(Tensors{x})[0], f(others, x));
      for (const Tensor& each : {weights, others}) assign(each, each + 1.0);
    }
  };
  same_as_eager([](const Tensor& weights, const Tensor& in) { return in + weights * 2.0; });
  same_as_eager([](const Tensor& weights, const Tensor& in) {
    assign(weights, weights + in);
    return weights + 0.0;
  });
}

}  // namespace
}  // namespace mollify
