// What tests of attacks share: classifiers, inputs, and whether points lie in ball and box.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/attacks/attack.h>

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mollify::smoothing {

inline Tensor uniforms(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return uniform(shape, {23, stream}, Tensor::scalar(0, DType::i32), dtype);
}
inline Tensor normals(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return normal(shape, {23, stream}, Tensor::scalar(0, DType::i32), dtype);
}
inline Tensor list(const std::vector<double>& numbers, DType dtype = DType::f64) {
  return cast(Tensor::from(numbers, {static_cast<int64_t>(numbers.size())}), dtype);
}
inline Box unit_box(DType dtype) { return {Tensor::scalar(0, dtype), Tensor::scalar(1, dtype)}; }
inline std::vector<double> numbers(const Tensor& t) { return cast(t, DType::f64).to_vector<double>(); }

// A small convolutional classifier of images [N, 8, 8, 1], its inputs and the labels that it gives them.
struct Images {
  explicit Images(DType dtype, int64_t rows = 12)
      : network(nn::make("cnn3_tiny", {8, 8, 1}, 5)),
        weights(network.initial_weights(nn::Initialization::kaiming_normal, 5, dtype)),
        f([this](const Tensor& t) { return network(weights, t); }),
        x(uniforms({rows, 8, 8, 1}, 3, dtype)) {
    x = where(less(uniforms(x.shape(), 4, dtype), Tensor::scalar(0.2, dtype)), zeros_like(x), x);
    labels = argmax(f(x));
  }

  nn::Network network;
  Tensor weights;
  Function f;
  Tensor x, labels;
};

inline Function linear(const Tensor& weight, const Tensor& bias) {
  return [=](const Tensor& x) { return dense(x, weight, bias); };
}

inline void expect_within(const Tensor& x, const Tensor& inputs, Norm norm, double epsilon, bool boxed) {
  const std::vector<double> before = numbers(x), after = numbers(inputs);
  const size_t row = before.size() / static_cast<size_t>(x.dim(0));
  for (size_t i = 0; i < before.size(); i += row) {
    long double squares = 0;
    for (size_t j = i; j < i + row; ++j) {
      const long double moved = static_cast<long double>(after[j]) - before[j];
      squares += moved * moved;
      ASSERT_LE(std::abs(moved), epsilon);
      ASSERT_TRUE(!boxed || (after[j] >= 0 && after[j] <= 1));
    }
    if (norm == Norm::l2) { ASSERT_LE(std::sqrt(squares), epsilon * (1 + 1e-18L)); }
  }
}

}  // namespace mollify::smoothing
