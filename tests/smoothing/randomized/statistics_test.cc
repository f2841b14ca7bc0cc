// Confidence bounds and radii: values to 45 digits of the definitions, and the identities between them.
#include <mollify/engine/error.h>
#include <mollify/smoothing/randomized/statistics.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

// At α = .001: p solves P[Bin(n, p) ≥ k] = α, and z = Φ⁻¹(p).
constexpr struct {
  int64_t n, k;
  double p, z;
} kBounds[] = {
    {100, 1, 0.00001000495328595638, -4.264780224300},       {100, 50, 0.34479800642531775659, -0.399403367789},
    {100, 66, 0.50164995133687264033, 0.004135826463},       {100, 75, 0.59739315519378688278, 0.246605316529},
    {100, 99, 0.91137311129604242868, 1.349259038810},       {100, 100, 0.93325430079699104353, 1.500475024121},
    {1000, 550, 0.50067596009255776156, 0.001694381491},     {1000, 900, 0.86746401802574832423, 1.114483162280},
    {1000, 999, 0.99080450236461240756, 2.357650570595},     {1000, 1000, 0.99311604842093377158, 2.463262614781},
    {10000, 5156, 0.50009996822658849502, 0.000250583186},   {10000, 9000, 0.89040973367490643826, 1.228710061030},
    {10000, 9999, 0.99907703866933948769, 3.113963592183},   {10000, 10000, 0.99930946300258992169, 3.198577514738},
    {100000, 50490, 0.50000894877440355938, 0.000022431251}, {100000, 60000, 0.59520104729458454595, 0.240944792235},
    {100000, 75000, 0.74574684213556671313, 0.661165293912}, {100000, 90000, 0.89703649622382910775, 1.264844690337},
    {100000, 99000, 0.98898934037747475920, 2.289999955214}, {100000, 99900, 0.99865099244675306327, 3.000200987668},
    {100000, 99990, 0.99975867734359116249, 3.490207680147}, {100000, 99999, 0.99990766966626544598, 3.739126668543},
    {100000, 100000, 0.99993092483300939297, 3.811456563390}};

TEST(ClopperPearson, HasItsValues) {
  for (const auto& row : kBounds) {
    const double p = clopper_pearson_lower(row.k, row.n, 0.001);
    EXPECT_NEAR(p, row.p, 1e-12 * row.p) << row.k << " of " << row.n;
    EXPECT_NEAR(certified_radius(p, 1), row.z, 1e-12 + 5e-13 * std::abs(row.z)) << row.k << " of " << row.n;
    EXPECT_NEAR(clopper_pearson_upper(row.n - row.k, row.n, 0.001), 1 - row.p, 1e-12);
  }
  // One vote short of a certificate: no rounding up to ½.
  for (const auto& [n, k] : {std::pair{100, 65}, {1000, 549}, {10000, 5155}, {100000, 50489}})
    EXPECT_LT(certified_radius(clopper_pearson_lower(k, n, 0.001), 0.25), 0) << k << " of " << n;
  EXPECT_EQ(clopper_pearson_lower(0, 7, 0.05), 0);
  EXPECT_EQ(clopper_pearson_upper(7, 7, 0.05), 1);
}

TEST(EqualShares, HasItsPValuesAndLeastCounts) {
  for (const auto& [a, p] : {std::pair{60, .0568879336}, {66, .00178993039}, {67, .000873719837}, {70, .0000785013965}})
    EXPECT_NEAR(equal_shares_p_value(a, 100 - a), p, 1e-8 * p) << a;
  EXPECT_EQ(equal_shares_p_value(5, 5), 1);
  for (const auto& [n, least] : {std::pair{11, 11}, {100, 67}, {1000, 553}}) {
    EXPECT_LE(equal_shares_p_value(least, n - least), 0.001);
    EXPECT_GT(equal_shares_p_value(least - 1, n - least + 1), 0.001);
  }
  EXPECT_EQ(equal_shares_p_value(10, 0), 0.001953125);
  EXPECT_EQ(fewest_predicting_draws(0.001), 11);
  EXPECT_EQ(fewest_predicting_draws(0.001953125), 10);  // 2⁻⁹ exactly
  EXPECT_EQ(fewest_predicting_draws(0.99), 2);          // one vote has the p-value 1
  EXPECT_THROW(fewest_predicting_draws(1), ValueError);
  EXPECT_THROW(fewest_predicting_draws(0), ValueError);
}

TEST(Radii, AgreeWhereTheyMeet) {
  for (const double p : {0.1, 0.5, 0.7, 0.999, 1 - 1e-9}) {
    EXPECT_NEAR(certified_radius_in_top(p, 1, 0.5), certified_radius(p, 0.5), 1e-12);
    EXPECT_NEAR(certified_radius_of_two(p, 1 - p, 0.5), certified_radius(p, 0.5), 1e-12);
    EXPECT_GT(certified_radius_in_top(p, 2, 0.5), certified_radius(p, 0.5));
    EXPECT_NEAR(certified_radius(p, 2), 4 * certified_radius(p, 0.5), 1e-12);
  }
  EXPECT_NEAR(certified_radius_in_top(1 / 3., 2, 1), 0, 1e-12);  // three classes alike
  EXPECT_NEAR(largest_certified_radius(100000, 0.001, 1), 3.81145656339, 1e-10);
  EXPECT_NEAR(largest_certified_radius(100000, 0.01, 1), 3.91051, 5e-6);
  EXPECT_EQ(certified_radius(1, 0.1), INFINITY);
  EXPECT_EQ(certified_radius(0, 0.1), -INFINITY);
}

// The tighter radius of an average is never below the plain one: Φ⁻¹ has slope √(2π) and more.
TEST(Radii, OfAverages) {
  EXPECT_NEAR(average_radius(1, 0, 0.1), 0.12533141373155, 1e-14);
  for (double label = 0.05; label < 1; label += 0.09)
    for (double other = 0; other <= 1 - label; other += 0.07)
      EXPECT_GE(std::abs(tighter_average_radius(label, other, 0.3)),
                std::abs(average_radius(label, other, 0.3)) - 1e-12);
}

TEST(Statistics, RefuseWhatIsOutOfRange) {
  EXPECT_THROW(clopper_pearson_lower(3, 2, 0.1), ValueError);
  EXPECT_THROW(clopper_pearson_lower(0, 0, 0.1), ValueError);
  EXPECT_THROW(clopper_pearson_upper(-1, 2, 0.1), ValueError);
  for (const double alpha : {0.0, 1.0, -0.1, std::nan("")})
    EXPECT_THROW(clopper_pearson_lower(1, 2, alpha), ValueError);
  for (const double sigma : {0.0, -1.0, double(INFINITY), std::nan("")})
    EXPECT_THROW(certified_radius(0.7, sigma), ValueError);
  for (const double share : {-0.1, 1.1, std::nan("")}) EXPECT_THROW(certified_radius(share, 1), ValueError);
  EXPECT_THROW(certified_radius_in_top(0.7, 0, 1), ValueError);
  EXPECT_THROW(equal_shares_p_value(3, 4), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
