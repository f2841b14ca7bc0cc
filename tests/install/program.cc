#include <mollify/mollify.h>

#include <cstdio>

int main() {
  using namespace mollify;
  const auto f = [](const Tensor& x) { return sum(square(x) * x); };
  const Tensor x = Tensor::from(std::vector<double>{1, 2, 3}, {3});
  std::printf("%g\n", sum(hvp(f, x, ones_like(x))).item());  // Σ 6x = 36
  return sum(hvp(f, x, ones_like(x))).item() == 36 ? 0 : 1;
}
