// The largest curvatures of logistic regression, by Lanczos on Hessian–vector products, against the whole Hessian's.
#include <mollify/mollify.h>

#include <iostream>

using namespace mollify;

int main() {
  constexpr int64_t kFeatures = 30, kSteps = 12;
  const Tensor x = randn({200, kFeatures}, /*seed=*/1, DType::f64) * linspace(0.1, 3, kFeatures, DType::f64);
  const Tensor labels = cast(sum(x, 1) > 0.0, DType::f64);
  const auto loss = [&](const Tensor& w) {
    const Tensor logits = matmul(x, reshape(w, {-1, 1}))(all, 0);
    return mean(softplus(logits) - labels * logits);
  };
  Tensor w = zeros({kFeatures}, DType::f64);
  for (int i = 0; i < 50; ++i) w = w - grad(loss)(w) * 0.1;

  // An orthonormal basis of the Krylov space; T is the Hessian there, tridiagonal but for rounding.
  std::vector<Tensor> basis = {randn({kFeatures}, /*seed=*/2, DType::f64)};
  basis[0] /= norm(basis[0]);
  std::vector<Tensor> products;
  for (int64_t k = 0; k < kSteps; ++k) {
    products.push_back(hvp(loss, w, basis.back()));
    Tensor next = products.back();
    for (int twice = 0; twice < 2; ++twice)
      for (const Tensor& q : basis) next = next - q * sum(q * next);
    basis.push_back(next / norm(next));
  }
  basis.pop_back();
  const Tensor t =
      einsum("ik,jk->ij", {stack(std::span<const Tensor>(basis)), stack(std::span<const Tensor>(products))});
  std::cout << "five largest of " << kSteps << " products: " << eigh(t).values(Slice{.start = -5}) << "\n"
            << "of the whole Hessian:        " << eigh(hessian(loss, w)).values(Slice{.start = -5}) << "\n";
}
