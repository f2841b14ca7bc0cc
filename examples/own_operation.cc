// An operation of one's own with a kernel: the linear recurrence y_t = a_t·y_{t−1} + x_t along the last axis. Its
// backward rule is the recurrence itself, run from the end, so that there are derivatives of every order. Prints a
// gradient and Hessian–vector products beside finite differences, and what a captured step's bits are.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

Tensor recurrence(const Tensor& a, const Tensor& x);

void kernel(const KernelArguments& k) {  // reads packed rows, which threads share
  for_floating(k.out[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T *a = k.in[0].address<T>(), *x = k.in[1].address<T>();
    T* y = k.out[0].address<T>();
    const int64_t length = k.out[0].shape().back();
    cpu::parallel_for(k.out[0].size() / length, /*grain=*/64, [&](int64_t first, int64_t last) {
      for (int64_t i = first * length; i < last * length; ++i) y[i] = i % length ? a[i] * y[i - 1] + x[i] : x[i];
    });
  });
}

const Op recurrence_op{
    .name = "recurrence",
    .shape =
        [](const Op& op, Inputs in, const Attributes& attributes) {
          require(in[0].shape() == in[1].shape() && in[0].size() > 0,
                  "{}: a is {}, x is {}; needs one shape with numbers", op.name, in[0].shape(), in[1].shape());
          return broadcast_shape(op, in, attributes);
        },
    .cpu = kernel,
    .operands = packed_operands,
    .vjp = [](const VjpArguments& v) -> Tensors {  // to x_t: λ_t = g_t + a_{t+1}·λ_{t+1}; to a_t: λ_t·y_{t−1}
      const int64_t n = v.g.dim(-1);
      const Tensor next_a = pad(slice(v.in[0], -1, 1, n), -1, 0, 1),
                   last_y = pad(slice(v.out(), -1, 0, n - 1), -1, 1, 0);
      const Tensor lambda = flip(recurrence(flip(next_a, -1), flip(v.g, -1)), -1);
      return {lambda * last_y, lambda};
    }};

Tensor recurrence(const Tensor& a, const Tensor& x) { return apply(recurrence_op, {a, x}); }

int main() {
  const Tensor x = randn({3, 8}, 1, DType::f64), v = randn({3, 8}, 2, DType::f64), a = rand({3, 8}, 3, DType::f64);
  const auto loss = [&](const Tensor& decay) { return sum(sin(recurrence(decay, x))); };
  const Tensor step = v * 1e-5, along = sum(grad(loss)(a) * v), product = hvp(loss, a, v);
  const Tensor along_again = (loss(a + step) - loss(a - step)) / 2e-5;
  const Tensor product_again = (grad(loss)(a + step) - grad(loss)(a - step)) / 2e-5;
  std::cout << "gradient along v: " << along << ", by differences " << along_again
            << "\nHessian times v, first row: " << product[0] << "\nby differences:             " << product_again[0]
            << "\n";

  Captured captured = capture([&](const Tensors& in) -> Tensors { return hvp(loss, in[0], in[1]); });
  bool same = true;
  for (int call = 0; call < 3; ++call) same = same && all(captured({a, v})[0] == product).item();  // the last replays
  const Tensor f32 = recurrence(cast(a, DType::f32), cast(x, DType::f32));
  const double error = max(abs(product - product_again)).item() + abs(along - along_again).item(),
               rounding = max(abs(cast(f32, DType::f64) - recurrence(a, x))).item();
  std::cout << "captured, it has " << (same ? "the same" : "other") << " bits\n";
  return same && error < 1e-7 && rounding < 1e-5 ? 0 : 1;
}
