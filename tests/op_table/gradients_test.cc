// First and second derivatives of every differentiable row against finite differences in f64, and the ways to ask for
// gradients.
#include "row_test.h"

#include <cmath>

namespace mollify::op_table {
namespace {

constexpr double kStep = 1e-5;       // central differences: error of about step² and 1e-16/step
constexpr double kTolerance = 1e-7;  // relative to the largest number in sight
constexpr int64_t kFull = 40;        // up to so many numbers in and out, every derivative is looked at one by one
constexpr int64_t kLargest = 400;    // cases beyond are left to the values' tests

int64_t total(const Tensors& tensors) {
  int64_t size = 0;
  for (const Tensor& t : tensors) size += t.size();
  return size;
}

// inputs + t·direction
Tensors moved(const Tensors& inputs, const Tensors& direction, double t) {
  Tensors out(inputs.size());
  for (size_t j = 0; j < inputs.size(); ++j) out[j] = inputs[j] + direction[j] * t;
  return out;
}

// One at one element of one input, zero elsewhere.
Tensors unit(const Tensors& like, int64_t number) {
  Tensors out(like.size());
  for (size_t j = 0; j < like.size(); ++j) {
    std::vector<double> values(static_cast<size_t>(like[j].size()), 0.0);
    if (number >= 0 && number < like[j].size()) values[static_cast<size_t>(number)] = 1;
    number -= like[j].size();
    out[j] = Tensor::from(values, like[j].shape());
  }
  return out;
}

class Gradients : public RowTest {
 protected:
  Tensors inputs(const Case& c) const { return tensors_of(sample(row(), c.shapes, DType::f64, 1)); }

  template <class F>
  void for_cases(const F& f) const {
    for (const Case& c : row().cases) {
      int64_t size = 0;
      for (const Shape& shape : c.shapes) size += shape.size();
      if (size > kLargest) continue;
      SCOPED_TRACE(describe(c.shapes));
      f(c);
    }
  }

  // Directions that are enough: all unit vectors, or three random ones.
  static std::vector<Tensors> directions(const Tensors& like) {
    std::vector<Tensors> out;
    if (total(like) <= kFull)
      for (int64_t i = 0; i < total(like); ++i) out.push_back(unit(like, i));
    else
      for (uint64_t seed : {101, 202, 303}) out.push_back(random_like(like, seed));
    return out;
  }

  void expect_near(double got, double wanted, double scale) const {
    EXPECT_NEAR(got, wanted, kTolerance * row().slack * std::max(1.0, scale));
  }
};
MOLLIFY_FOR_ROWS(Gradients, row.differentiable);

double largest_of(const Tensors& tensors) {
  double value = 0;
  for (const Tensor& t : tensors) value = std::max(value, largest(array_of(t)));
  return value;
}

// ⟨v, J u⟩ by differences against ⟨vᵀJ, u⟩: for unit vectors, the whole Jacobian.
TEST_P(Gradients, AreDifferencesOfValues) {
  for_cases([&](const Case& c) {
    const Tensors at = inputs(c);
    const Tensors start = floating_of(c.run(at));
    const std::vector<Tensors> us = directions(at), vs = directions(start);
    std::vector<Tensors> rows;
    for (const Tensors& v : vs) {
      const Tensors variables = variables_of(at);
      rows.push_back(vjp_of(floating_of(c.run(variables)), v, variables, false));
      for (size_t j = 0; j < at.size(); ++j) ASSERT_EQ(rows.back()[j].shape(), at[j].shape());
    }
    for (const Tensors& u : us) {
      const Tensors above = floating_of(c.run(moved(at, u, kStep))), below = floating_of(c.run(moved(at, u, -kStep)));
      Tensors slope(above.size());
      for (size_t i = 0; i < above.size(); ++i) slope[i] = (above[i] - below[i]) / (2 * kStep);
      for (size_t i = 0; i < vs.size(); ++i)
        expect_near(dot(rows[i], u), dot(slope, vs[i]), std::max(largest_of(rows[i]), largest_of(start)));
    }
  });
}

// Σ weights·output²: its gradient is not constant even where the operation is linear.
Tensor scalarised(const Case& c, const Tensors& at) {
  const Tensors outputs = floating_of(c.run(at)), weights = random_like(outputs, 7);
  Tensor sum_of_squares = Tensor::scalar(0, DType::f64);
  for (size_t i = 0; i < outputs.size(); ++i) sum_of_squares = sum_of_squares + sum(weights[i] * square(outputs[i]));
  return sum_of_squares;
}

Tensors gradient_at(const Case& c, const Tensors& variables, bool create_graph) {
  const Tensor value = scalarised(c, variables);
  return vjp_of({value}, {ones_like(value)}, variables, create_graph);
}

TEST_P(Gradients, HaveGradientsThatAreDifferencesOfGradients) {
  for_cases([&](const Case& c) {
    const Tensors at = inputs(c);
    const Tensors variables = variables_of(at);
    const Tensors gradients = gradient_at(c, variables, true);
    const std::vector<Tensors> us = directions(at);
    const bool full = total(at) <= kFull;
    std::vector<Tensors> products;  // Hessian times each direction
    for (const Tensors& v : us) products.push_back(vjp_of(gradients, v, variables, false));
    for (const Tensors& u : us) {
      const Tensors above = gradient_at(c, variables_of(moved(at, u, kStep)), false),
                    below = gradient_at(c, variables_of(moved(at, u, -kStep)), false);
      Tensors slope(above.size());
      for (size_t j = 0; j < above.size(); ++j) slope[j] = (above[j] - below[j]) / (2 * kStep);
      for (size_t i = 0; i < us.size(); ++i)
        expect_near(dot(products[i], u), dot(slope, us[i]),
                    std::max(largest_of(products[i]), largest_of(gradients)) * (full ? 1 : 10));
    }
  });
}

// The rules with and without a graph of the gradient are two texts in some operations.
TEST_P(Gradients, AreTheSameWithAndWithoutGraph) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Case& c : row().cases) {
      SCOPED_TRACE(describe(c.shapes) + " " + to_string(dtype));
      const Tensors at = tensors_of(sample(row(), c.shapes, dtype, 1));
      const Tensors variables = variables_of(at);
      const Tensors outputs = floating_of(c.run(variables));
      if (outputs.size() == 0) continue;
      const Tensor first_seed = random_like(outputs, 3)[0];  // of the first output only, as most uses do, then of all
      const Arrays plain = arrays_of(vjp_of({outputs[0]}, {first_seed}, variables, true)),
                   fast = arrays_of(vjp_of({outputs[0]}, {first_seed}, variables, false));
      const Arrays plain_all = arrays_of(pulled_back(c, at, 5, true)),
                   fast_all = arrays_of(pulled_back(c, at, 5, false));
      for (size_t j = 0; j < plain.size(); ++j) {
        EXPECT_EQ(difference(fast[j], plain[j], 4 * row().ulps, largest(plain[j]) + 1), "") << "input " << j;
        EXPECT_EQ(difference(fast_all[j], plain_all[j], 4 * row().ulps, largest(plain_all[j]) + 1), "")
            << "input " << j;
      }
    }
}

TEST_P(Gradients, OfASubsetOfInputs) {
  for_cases([&](const Case& c) {
    const Tensors at = inputs(c);
    const Tensors all = pulled_back(c, at, 11);
    for (size_t j = 0; j < at.size(); ++j) {
      Tensors mixed(at.size());
      for (size_t k = 0; k < at.size(); ++k) mixed[k] = k == j ? variable(at[k]) : at[k];
      const Tensors outputs = floating_of(c.run(mixed));
      const Tensors alone = vjp_of(outputs, random_like(outputs, 11), {mixed[j]}, false);
      EXPECT_EQ(difference(array_of(alone[0]), array_of(all[j]), 4, largest_of(all)), "") << "input " << j;
    }
  });
}

TEST_P(Gradients, OfTheSameTensorTwice) {
  for_cases([&](const Case& c) {
    if (c.shapes.size() < 2) return;
    for (const Shape& shape : c.shapes)
      if (!(shape == c.shapes[0])) return;
    const Domain &first = row().domain(0), &second = row().domain(1);
    Row shared{.name = row().name,
               .label = row().label,
               .domains = {{std::max(first.low, second.low), std::min(first.high, second.high), first.kinks}}};
    for (double kink : second.kinks) shared.domains[0].kinks.push_back(kink);
    const Tensor at = tensor_of(sample(shared, {c.shapes[0]}, DType::f64)[0]);
    const auto run = [&](const Tensor& x) {
      Tensors copies(c.shapes.size());
      for (Tensor& copy : copies) copy = x;
      return floating_of(c.run(copies));
    };
    const Tensor x = variable(at);
    const Tensors outputs = run(x), seeds = random_like(outputs, 13);
    const Tensor gradient = vjp_of(outputs, seeds, {x}, false)[0];
    const Tensor direction = random_like({at}, 17)[0];
    const double slope =
        (dot(run(at + direction * kStep), seeds) - dot(run(at - direction * kStep), seeds)) / (2 * kStep);
    expect_near(dot({gradient}, {direction}), slope, 10 * std::max(largest_of({gradient}), largest_of(outputs)));
  });
}

// The gradients of two uses add up, given as two seeds or through the record.
TEST_P(Gradients, OfAnOutputUsedTwice) {
  for_cases([&](const Case& c) {
    const Tensors at = inputs(c);
    const Tensors variables = variables_of(at);
    const Tensors outputs = floating_of(c.run(variables));
    if (outputs.size() == 0) return;
    const Tensor y = outputs[0], one = random_like({y}, 19)[0], other = random_like({y}, 23)[0];
    const Tensors wanted = vjp_of({y}, {one + other}, variables, false);
    const Tensors by_seeds = vjp_of({y, y}, {one, other}, variables, false);
    const Tensor z = sum(y * one) + sum(y * other);
    const Tensors by_record = vjp_of({z}, {ones_like(z)}, variables, false);
    for (size_t j = 0; j < at.size(); ++j) {
      const double scale = largest_of(wanted) + 1;
      EXPECT_EQ(difference(array_of(by_seeds[j]), array_of(wanted[j]), 64, scale), "");
      EXPECT_EQ(difference(array_of(by_record[j]), array_of(wanted[j]), 64, scale), "");
    }
  });
}

}  // namespace
}  // namespace mollify::op_table
