// The operations that overwrite, on copies of the inputs.
#include "rows.h"

#include <cmath>

namespace mollify::op_table {
namespace {

using In = const Tensor&;

Tensor copy_of(In x) { return concat(Tensors{x}); }
Tensor number(double value, In like) {
  return Tensor::scalar(value, is_floating(like.dtype()) ? like.dtype() : DType::f32);
}

Case assign_case(const Shape& target, const Shape& value) {
  return of_many(
      {target, value},
      [](const Tensors& in) {
        Tensor out = in[0].rank() ? copy_of(in[0]) : zeros_like(in[0]);
        assign(out, in[1]);
        return out;
      },
      [=](const Arrays& in) {
        return build(target, [&](const Index& index) {
          Index at(index.end() - value.rank(), index.end());
          for (int axis = 0; axis < value.rank(); ++axis)
            if (value[axis] == 1) at[static_cast<size_t>(axis)] = 0;
          return in[1].at(at);
        });
      });
}

constexpr double kRate = 0.125, kMomentum = 0.75, kDecay = 0.25, kBeta1 = 0.75, kBeta2 = 0.875, kEpsilon = 0.0625,
                 kDecoupled = 0.5;
constexpr int kStep = 3;

// in: weights, gradient, velocity
Case sgd_case(int64_t count, bool momentum, bool nesterov) {
  const std::vector<Shape> shapes(momentum ? 3 : 2, Shape{count});
  return {shapes,
          [=](const Tensors& in) {
            const Tensor w = copy_of(in[0]), v = momentum ? copy_of(in[2]) : Tensor();
            sgd_step(w, in[1], v, {number(kRate, w), number(kMomentum, w), number(kDecay, w), nesterov});
            return momentum ? Tensors{w, v} : Tensors{w};
          },
          [=](const Arrays& in) {
            Array w = in[0], v = momentum ? in[2] : in[0];
            for (size_t i = 0; i < w.values.size(); ++i) {
              const double g = in[1].values[i] + kDecay * w.values[i];
              v.values[i] = momentum ? kMomentum * v.values[i] + g : g;
              w.values[i] -= kRate * (nesterov ? g + kMomentum * v.values[i] : v.values[i]);
            }
            return momentum ? Arrays{w, v} : Arrays{w};
          }};
}

// in: weights, gradient, first and second moment
Tensors run_adam(const Tensors& in) {
  const Tensor w = copy_of(in[0]), m = copy_of(in[2]), v = copy_of(in[3]);
  adam_step(w, in[1], m, v,
            {number(kRate, w), number(kBeta1, w), number(kBeta2, w), number(kEpsilon, w), number(kDecay, w),
             number(kDecoupled, w), number(kStep, w)});
  return {w, m, v};
}

Case adam_case(int64_t count) {
  return {std::vector<Shape>(4, Shape{count}), run_adam, [](const Arrays& in) {
            Array w = in[0], m = in[2], v = in[3];
            for (size_t i = 0; i < w.values.size(); ++i) {
              const double g = in[1].values[i] + kDecay * w.values[i];
              m.values[i] = kBeta1 * m.values[i] + (1 - kBeta1) * g;
              v.values[i] = kBeta2 * v.values[i] + (1 - kBeta2) * g * g;
              const double m_hat = m.values[i] / (1 - std::pow(kBeta1, kStep)),
                           v_hat = v.values[i] / (1 - std::pow(kBeta2, kStep));
              w.values[i] = w.values[i] * (1 - kRate * kDecoupled) - kRate * m_hat / (std::sqrt(v_hat) + kEpsilon);
            }
            return Arrays{w, m, v};
          }};
}

}  // namespace

Rows update_rows() {
  Rows rows;
  rows.push_back(general("assign", {assign_case({}, {}), assign_case({17}, {17}), assign_case({3, 5}, {5}),
                                    assign_case({3, 5}, {3, 1}), assign_case({0}, {1})})
                     .constant()
                     .of_integers_too()
                     .refusing({misfit_many({{2, 3}, {3, 2}}, [](const Tensors& in) {
                       assign(in[0], in[1]);
                       return in[0];
                     })}));
  rows.push_back(
      general("sgd_step", {sgd_case(1, false, false), sgd_case(17, false, false), sgd_case(16, true, false),
                           sgd_case(1500, true, true), sgd_case(0, true, false)})
          .constant()
          .with_large(
              {{.shapes = std::vector<Shape>(3, Shape{100003}), .run = sgd_case(1, true, true).run, .reference = {}}})
          .refusing({{.shapes = {{3}, {4}}, .run = sgd_case(1, false, false).run}}));
  rows.push_back(general("adam_step", {adam_case(1), adam_case(15), adam_case(17), adam_case(1500), adam_case(0)},
                         {{}, {}, {}, {0, 3}})
                     .constant()
                     .with_large({{.shapes = std::vector<Shape>(4, Shape{100003}), .run = run_adam, .reference = {}}})
                     .refusing({{.shapes = {{3}, {4}, {3}, {3}}, .run = run_adam}}));
  return rows;
}

}  // namespace mollify::op_table
