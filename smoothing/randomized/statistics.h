// What counts of votes under Gaussian noise N(0, σ²I) prove about a classifier (Cohen, Rosenfeld & Kolter 2019): shares
// p of the votes give ℓ2 radii within which the smoothed classifier's answer stays. All throw ValueError for arguments
// out of range. Accuracy: a few ulp.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// One-sided Clopper–Pearson bounds of a share of which `successes` of `trials` draws were seen: with probability at
// least 1 − alpha the share is no smaller (greater). Quantiles of Beta(k, n − k + 1) and Beta(k + 1, n − k); 0 for no
// success, 1 for nothing else.
double clopper_pearson_lower(int64_t successes, int64_t trials, double alpha);
double clopper_pearson_upper(int64_t successes, int64_t trials, double alpha);

// Of the two most frequent classes, first ≥ second: min(1, 2·P[Bin(first + second, ½) ≥ first]), the two-sided test of
// whether both are as likely (Hung & Fithian 2019). PREDICT answers where this is at most alpha.
double equal_shares_p_value(int64_t first, int64_t second);
// The fewest draws of which PREDICT can answer: where all give one class, 2^(1 − n) ≤ alpha.
int64_t fewest_predicting_draws(double alpha);

// Radii; what is proven where they are above 0, and nothing elsewhere.
//
// The most frequent class stays it: σ·Φ⁻¹(p), where `lower` bounds its share from below.
double certified_radius(double lower, double sigma);
// The same by a bound on the runner-up's share, too: (σ/2)·(Φ⁻¹(p_A) − Φ⁻¹(p_B)).
double certified_radius_of_two(double lower, double runner_up_upper, double sigma);
// A class stays among the k most frequent ones: (σ/2)·(Φ⁻¹(p) − Φ⁻¹((1 − p)/k)), since k others would have to overtake
// it, and the least of them has at most (1 − p)/k.
double certified_radius_in_top(double lower, int64_t k, double sigma);

// What all votes for one class would give: σ·Φ⁻¹(α^{1/n}).
double largest_certified_radius(int64_t trials, double alpha, double sigma);

// For an exact Gaussian average v of a function with values in [0, 1], with the label's value and the largest of the
// others: ‖δ‖ ≥ σ√(π/2)·(label − other) where the order turns (Campbell, Finlay & Oberman 2020), and the tighter
// (σ/2)·(Φ⁻¹(label) − Φ⁻¹(other)). Of a network that was only trained to be an average both are estimates.
double average_radius(double label, double other, double sigma);
double tighter_average_radius(double label, double other, double sigma);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
