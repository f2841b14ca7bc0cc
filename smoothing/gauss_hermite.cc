#include <mollify/smoothing/activations.h>

#include <cmath>
#include <map>
#include <mutex>

namespace mollify::smoothing {
namespace {

// The normalised Hermite functions He_n(z)/√n!, n and n − 1, by h_{k+1} = (z h_k − √k h_{k−1})/√(k+1): no overflow.
std::pair<long double, long double> hermite(int n, long double z) {
  long double before = 0, value = 1;
  for (int k = 0; k < n; ++k) {
    const long double next =
        (z * value - std::sqrt(static_cast<long double>(k)) * before) / std::sqrt(static_cast<long double>(k + 1));
    before = value;
    value = next;
  }
  return {value, before};
}

// The root of He_n between low and high, where it changes sign: Newton's steps, halving where they leave the bracket.
// h_n' = √n h_{n−1}.
long double root_between(int n, long double low, long double high) {
  const bool rises = hermite(n, high).first > 0;
  long double z = (low + high) / 2;
  for (int i = 0; i < 100; ++i) {
    const auto [value, before] = hermite(n, z);
    ((value > 0) == rises ? high : low) = z;
    long double next = z - value / (std::sqrt(static_cast<long double>(n)) * before);
    if (!(next > low && next < high)) next = (low + high) / 2;
    if (std::abs(next - z) < 1e-18L * z) return next;
    z = next;
  }
  return z;
}

// The roots of He_n are separated by those of He_{n−1}: degree by degree, each root is bracketed by two of the degree
// below.
GaussHermite computed_rule(int nodes) {
  std::vector<long double> roots;  // of the degree so far, those >= 0, rising
  for (int n = 1; n <= nodes; ++n) {
    const bool odd = n % 2 == 1;  // then 0 is a root
    std::vector<long double> next;
    if (odd) next.push_back(0);
    for (size_t i = 0; i < roots.size(); ++i)
      next.push_back(root_between(
          n, roots[i], i + 1 < roots.size() ? roots[i + 1] : 2 * std::sqrt(static_cast<long double>(n)) + 1));
    roots = std::move(next);
  }
  GaussHermite rule;
  for (size_t i = roots.size(); i-- > 0;) {
    const long double before = hermite(nodes, roots[i]).second;
    rule.nodes.push_back(static_cast<double>(roots[i]));
    rule.weights.push_back(static_cast<double>(1 / (nodes * before * before)));
  }
  return rule;
}

// f(x + s z_i), f(x − s z_i) and their weight, for the pairs of the rule that count.
template <class F>
void for_pairs(const Function& function, const Tensor& x, const Tensor& s, int nodes, const F& f) {
  constexpr double kNegligible = 1e-20;
  const GaussHermite& rule = gauss_hermite(nodes);
  for (size_t i = 0; i < rule.nodes.size(); ++i) {
    if (rule.weights[i] < kNegligible) continue;
    const Tensor offset = s * rule.nodes[i];
    f(function(x + offset), function(x - offset), rule.weights[i]);
  }
}

Tensor added(const Tensor& sum, const Tensor& term) { return sum.defined() ? sum + term : term; }

}  // namespace

const GaussHermite& gauss_hermite(int nodes) {
  require<ValueError>(nodes >= 2 && nodes <= 256 && nodes % 2 == 0,
                      "gauss_hermite: {} nodes given; needs an even number from 2 to 256", nodes);
  static std::mutex mutex;
  static std::map<int, GaussHermite> rules;
  const std::lock_guard lock(mutex);
  const auto found = rules.find(nodes);
  return found != rules.end() ? found->second : rules.emplace(nodes, computed_rule(nodes)).first->second;
}

Tensor gauss_hermite_smoothed(const Function& function, const Tensor& x, const Tensor& s, int nodes) {
  const Tensor centre = function(x);
  Tensor excess;
  for_pairs(function, x, s, nodes, [&](const Tensor& above, const Tensor& below, double weight) {
    excess = added(excess, ((above - centre) + (below - centre)) * weight);
  });
  return centre + excess;
}

// The variance about f(x) less the square of the mean's distance from it: no cancellation for small s.
Moments gauss_hermite_moments(const Function& function, const Tensor& x, const Tensor& s, int nodes) {
  const Tensor centre = function(x);
  Tensor excess, squares;
  for_pairs(function, x, s, nodes, [&](const Tensor& above, const Tensor& below, double weight) {
    const Tensor rise = above - centre, fall = below - centre;
    excess = added(excess, (rise + fall) * weight);
    squares = added(squares, (square(rise) + square(fall)) * weight);
  });
  return {centre + excess, maximum(squares - square(excess), Tensor::scalar(0, x.dtype()))};
}

}  // namespace mollify::smoothing
