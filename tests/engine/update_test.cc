// The optimisers' passes against three steps computed in plain double.
#include <mollify/engine/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace mollify {
namespace {

using Numbers = std::vector<double>;

constexpr int64_t kCount = 37;  // whole vectors and a tail
constexpr int kSteps = 3;

double start(int64_t i) { return std::sin(static_cast<double>(i) + 1); }
double slope(int64_t i, int step) { return std::cos(static_cast<double>(3 * i + 7 * step)); }

Tensor made(DType dtype, const std::function<double(int64_t)>& f) {
  Numbers values;
  for (int64_t i = 0; i < kCount; ++i) values.push_back(f(i));
  return cast(Tensor::from(values, {kCount}), dtype);
}

Tensor number(double value, DType dtype) { return Tensor::scalar(value, dtype); }

void expect_near(const Tensor& got, const Numbers& expected) {
  const double tolerance = got.dtype() == DType::f32 ? 2e-6 : 1e-14;
  const Numbers values = cast(got, DType::f64).to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], tolerance) << "element " << i;
}

struct Sgd {
  double rate, momentum, decay;
  bool nesterov;
};

// PyTorch's convention: g ← g + decay·w; v ← momentum·v + g; w ← w − rate·(nesterov ? g + momentum·v : v).
void check_sgd(const Sgd& how, bool with_velocity, DType dtype) {
  const Tensor w = made(dtype, start), v = with_velocity ? zeros({kCount}, dtype) : Tensor();
  Numbers weights, velocity(kCount, 0.0);
  for (int64_t i = 0; i < kCount; ++i) weights.push_back(start(i));
  for (int step = 1; step <= kSteps; ++step) {
    sgd_step(w, made(dtype, [&](int64_t i) { return slope(i, step); }), v,
             {number(how.rate, dtype), number(how.momentum, dtype), number(how.decay, dtype), how.nesterov});
    for (size_t i = 0; i < weights.size(); ++i) {
      const double g = slope(static_cast<int64_t>(i), step) + how.decay * weights[i];
      velocity[i] = with_velocity ? how.momentum * velocity[i] + g : g;
      weights[i] -= how.rate * (how.nesterov ? g + how.momentum * velocity[i] : velocity[i]);
    }
    expect_near(w, weights);
    if (with_velocity) expect_near(v, velocity);
  }
}

TEST(Sgd, Plain) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const double decay : {0.0, 0.1}) check_sgd({0.05, 0, decay, false}, false, dtype);
}

TEST(Sgd, WithMomentum) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const double decay : {0.0, 0.1})
      for (const bool nesterov : {false, true}) check_sgd({0.05, 0.9, decay, nesterov}, true, dtype);
}

struct Adam {
  double rate, beta1, beta2, epsilon, decay, decoupled;
};

// Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019 for the decoupled decay, which shrinks the weights first.
void check_adam(const Adam& how, DType dtype) {
  const Tensor w = made(dtype, start), m = zeros({kCount}, dtype), v = zeros({kCount}, dtype);
  Numbers weights, first(kCount, 0.0), second(kCount, 0.0);
  for (int64_t i = 0; i < kCount; ++i) weights.push_back(start(i));
  for (int step = 1; step <= kSteps; ++step) {
    adam_step(w, made(dtype, [&](int64_t i) { return slope(i, step); }), m, v,
              {number(how.rate, dtype), number(how.beta1, dtype), number(how.beta2, dtype), number(how.epsilon, dtype),
               number(how.decay, dtype), number(how.decoupled, dtype), number(step, dtype)});
    for (size_t i = 0; i < weights.size(); ++i) {
      const double g = slope(static_cast<int64_t>(i), step) + how.decay * weights[i];
      first[i] = how.beta1 * first[i] + (1 - how.beta1) * g;
      second[i] = how.beta2 * second[i] + (1 - how.beta2) * g * g;
      const double first_hat = first[i] / (1 - std::pow(how.beta1, step)),
                   second_hat = second[i] / (1 - std::pow(how.beta2, step));
      weights[i] =
          weights[i] * (1 - how.rate * how.decoupled) - how.rate * first_hat / (std::sqrt(second_hat) + how.epsilon);
    }
    expect_near(m, first);
    expect_near(v, second);
    expect_near(w, weights);
  }
}

TEST(Adam, WithoutDecay) {
  for (const DType dtype : {DType::f32, DType::f64}) check_adam({0.01, 0.9, 0.999, 1e-8, 0, 0}, dtype);
}

TEST(Adam, WithCoupledDecay) {
  for (const DType dtype : {DType::f32, DType::f64}) check_adam({0.01, 0.8, 0.95, 1e-6, 0.1, 0}, dtype);
}

TEST(Adam, WithDecoupledDecay) {
  for (const DType dtype : {DType::f32, DType::f64}) check_adam({0.01, 0.9, 0.999, 1e-8, 0, 0.1}, dtype);
}

// Numbers that a schedule moves are read when the step runs.
TEST(Updates, ReadTheScheduleAnew) {
  const Tensor w = zeros({2}), rate = number(1, DType::f32), none = number(0, DType::f32);
  sgd_step(w, ones({2}), {}, {rate, none, none});
  assign(rate, number(0.5, DType::f32));
  sgd_step(w, ones({2}), {}, {rate, none, none});
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{-1.5f, -1.5f}));
}

TEST(Updates, ReadStridedGradientsAndPartsOfBuffers) {
  const Tensor all = zeros({6}), w = slice(all, 0, 2, 5), g = flip(arange(3), 0), none = number(0, DType::f32);
  sgd_step(w, g, {}, {number(1, DType::f32), none, none});
  EXPECT_EQ(all.to_vector<float>(), (std::vector<float>{0, 0, -2, -1, 0, 0}));
}

TEST(Updates, RefuseStridedTargets) {
  const Tensor none = number(0, DType::f32), strided = slice(zeros({6}), 0, 0, 6, 2), packed_one = zeros({3});
  EXPECT_THROW(sgd_step(strided, packed_one, {}, {none, none, none}), ShapeError);
  EXPECT_THROW(sgd_step(packed_one, packed_one, strided, {none, none, none}), ShapeError);
  EXPECT_THROW(sgd_step(expand(none, {3}), packed_one, {}, {none, none, none}), ShapeError);
  EXPECT_EQ(packed_one.to_vector<float>(), (std::vector<float>{0, 0, 0}));
}

TEST(Updates, RefuseOtherDtypesAndShapes) {
  const Tensor none = number(0, DType::f32), w = zeros({3});
  EXPECT_THROW(sgd_step(w, zeros({3}, DType::f64), {}, {none, none, none}), TypeError);
  EXPECT_THROW(sgd_step(w, w, {}, {number(0, DType::f64), none, none}), TypeError);
  EXPECT_THROW(sgd_step(w, zeros({4}), {}, {none, none, none}), ShapeError);
  EXPECT_THROW(adam_step(w, w, zeros({4}), w, {none, none, none, none, none, none, none}), ShapeError);
}

// What is read lies in the memory that is overwritten: as if it had been copied first.
TEST(Assign, FromAViewOfItsTarget) {
  const auto numbers = [](int64_t count) { return arange(count) + 0.0; };
  const Tensor x = numbers(7);
  assign(x, flip(x, 0));
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{6, 5, 4, 3, 2, 1, 0}));
  const Tensor w = reshape(numbers(9), {3, 3});
  assign(w, transpose(w));
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{0, 3, 6, 1, 4, 7, 2, 5, 8}));
  for (const bool forward : {true, false}) {
    const Tensor y = numbers(6), later = slice(y, 0, 1, 6), earlier = slice(y, 0, 0, 5);
    if (forward) assign(later, earlier);
    else assign(earlier, later);
    EXPECT_EQ(y.to_vector<float>(),
              forward ? (std::vector<float>{0, 0, 1, 2, 3, 4}) : (std::vector<float>{1, 2, 3, 4, 5, 5}));
  }
  const Tensor v = reshape(numbers(4), {2, 2});
  assign(v, slice(v, 0, 1, 2));  // its last row to both
  EXPECT_EQ(v.to_vector<float>(), (std::vector<float>{2, 3, 2, 3}));
  EXPECT_THROW(assign(expand(zeros({1}), {4}), ones({4})), ShapeError) << "one place for four numbers";
}

}  // namespace
}  // namespace mollify
