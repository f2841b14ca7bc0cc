// The setting of who multiplies: what asks for it, when, and what it does not change.
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>
#include <mollify/engine/products.h>

#include "../backends.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mollify {
namespace {

class ProductsSetting : public ::testing::Test {
 protected:
  ~ProductsSetting() override { set_products(Products::own); }

  static Tensor by(Products products, const std::function<Tensor()>& f) {
    set_products(products);
    const Tensor out = f();
    set_products(Products::own);
    return out;
  }
};

bool same_bits(const Tensor& a, const Tensor& b) { return a.to_vector<float>() == b.to_vector<float>(); }

TEST_F(ProductsSetting, IsOwnUntilChosenAndSaysWhatIsMissing) {
  EXPECT_EQ(products(), Products::own);
  EXPECT_STREQ(to_string(Products::own), "own");
  EXPECT_STREQ(to_string(Products::openblas), "openblas");
  const std::string missing = use_openblas();
  EXPECT_EQ(products(), missing.empty() ? Products::openblas : Products::own);
  EXPECT_TRUE(missing.empty() || missing.find("libopenblas-dev") != std::string::npos) << missing;
}

// Sums of so many terms hardly end in the same bits in another order; an operation whose bits change asked OpenBLAS.
TEST_F(ProductsSetting, ReachesProductsAndNotConvolutions) {
  MOLLIFY_USE_OPENBLAS();
  const Tensor a = randn({40, 3000}, 1), b = randn({3000, 50}, 2), w = randn({50, 3000}, 3), bias = randn({50}, 4);
  const std::pair<const char*, std::function<Tensor()>> calls[] = {
      {"matmul", [&] { return matmul(a, b); }},
      {"dense", [&] { return dense(a, w, bias); }},
      {"batch", [&] { return matmul(reshape(a, {4, 10, 3000}), b); }},
      {"einsum", [&] { return einsum("ik,kj->ij", {a, b}); }}};
  for (const auto& [name, call] : calls) {
    const Tensor own = by(Products::own, call), other = by(Products::openblas, call);
    EXPECT_FALSE(same_bits(own, other)) << name;
    EXPECT_LT(max(abs(own - other)).item(), 1e-3) << name;
    EXPECT_TRUE(same_bits(other, by(Products::openblas, call))) << name;
  }
  const auto convolution = [&] { return conv2d(reshape(a, {1, 40, 60, 50}), reshape(w, {50, 1, 60, 50}), {}); };
  EXPECT_TRUE(same_bits(by(Products::own, convolution), by(Products::openblas, convolution)));
}

TEST_F(ProductsSetting, IsReadAtEachReplayOfACapturedStep) {
  MOLLIFY_USE_OPENBLAS();
  set_products(Products::own);
  const Tensor a = randn({40, 3000}, 1), b = randn({3000, 50}, 2);
  Captured captured = capture([](const Tensors& in) -> Tensors { return matmul(in[0], in[1]); });
  for (int i = 0; i < 3; ++i) captured({a, b});
  for (const Products products : {Products::openblas, Products::own, Products::openblas}) {
    const Tensor replayed = by(products, [&] { return captured({a, b})[0]; });
    EXPECT_TRUE(same_bits(replayed, by(products, [&] { return matmul(a, b); }))) << to_string(products);
  }
}

}  // namespace
}  // namespace mollify
