#include <mollify/smoothing/activation_variances.h>

#include <mollify/smoothing/activations.h>

#include <cmath>
#include <span>

namespace mollify::smoothing::detail {
namespace {

Tensor number(double value, const Tensor& like) { return Tensor::scalar(value, like.dtype()); }
Tensor not_negative(const Tensor& x) { return maximum(x, number(0, x)); }

// ---- For small noise: with h'' the second derivative and Y, Y_t of means x, variances s² and correlation t,
//   Var h = s²·h_s'² + s⁴ ∫₀¹ (1 − t)·E[h''(Y) h''(Y_t)] dt,
// by Price's theorem twice (∂/∂t of E[h(Y)h(Y_t)] is s²·E[h'(Y)h'(Y_t)]). Both terms are positive.

// Gauss–Legendre on [0, 1]. With 6 points the rule is off by 1e-8 s², with 12 by 1e-15 s², for s ≤ 1.
struct Node { double place, weight; };
constexpr Node kSix[] = {{0.033765242898423986, 0.085662246189585173}, {0.16939530676686774, 0.1803807865240693},
                         {0.38069040695840155, 0.23395696728634552},   {0.61930959304159845, 0.23395696728634552},
                         {0.83060469323313226, 0.1803807865240693},    {0.96623475710157601, 0.085662246189585173}};
constexpr Node kTwelve[] = {{0.0092196828766403747, 0.023587668193255914}, {0.047941371814762572, 0.053469662997659215},
                            {0.11504866290284766, 0.080039164271673113},   {0.20634102285669128, 0.10158371336153296},
                            {0.3160842505009099, 0.1167462682691774},      {0.43738329574426554, 0.12457352290670139},
                            {0.56261670425573446, 0.12457352290670139},    {0.6839157494990901, 0.1167462682691774},
                            {0.79365897714330872, 0.10158371336153296},    {0.88495133709715234, 0.080039164271673113},
                            {0.95205862818523743, 0.053469662997659215},   {0.99078031712335963, 0.023587668193255914}};

template <class F>
Tensor integral(DType dtype, const F& f) {
  Tensor sum;
  for (const Node& node : dtype == DType::f32 ? std::span<const Node>(kSix) : std::span<const Node>(kTwelve)) {
    const Tensor term = f(node.place) * node.weight;
    sum = sum.defined() ? sum + term : term;
  }
  return sum;
}

Tensor small_noise_variance(const Tensor& s, const Tensor& slope, const Tensor& curvature) {
  return square(s * slope) + square(square(s)) * curvature;
}

// ---- gelu

Tensor gelu_slope(const Tensor& x, const Tensor& s) {
  const Tensor q = widened_scale(s, 1);
  return relu_smoothed(x, q, 1) - relu_smoothed(x, q, 3);
}

// ∫ (1 − t) E[h''(Y)h''(Y_t)] dt for h'' = (2 − y²)φ(y). In U, V = (Y ± Y_t)/√2, independent with variances a, b = s²(1
// ± t), it is an integral of a polynomial: with A = a/(1 + a), B = b/(1 + b) and m² = 2x²/(1 + a)²,
// e^{−x²/(1+a)}/(2π√((1+a)(1+b)))·(4 − 2(m² + A + B) + (m⁴ + 6m²A + 3A² − 2(m² + A)B + 3B²)/4).
Tensor gelu_curvature(const Tensor& x, const Tensor& s) {
  const Tensor y = square(clip(x, -100, 100)), variance = square(s);  // beyond, the exponential is 0
  return integral(x.dtype(), [&](double t) {
    const Tensor a = variance * (1 + t), b = variance * (1 - t), one_a = a + 1.0, one_b = b + 1.0, A = a / one_a,
                 B = b / one_b;
    const Tensor m2 = y * (2.0 / square(one_a));
    const Tensor constant = 4.0 - (A + B) * 2.0 + (square(A) * 3.0 - A * B * 2.0 + square(B) * 3.0) * 0.25,
                 linear = A * 1.5 - B * 0.5 - 2.0;
    const Tensor factor = (0.15915494309189534 * (1 - t)) / sqrt(one_a * one_b);
    return exp(y / -one_a) * ((m2 * 0.25 + linear) * m2 + constant) * factor;
  });
}

// (x² + s²)G + 2xs²G' + s⁴G'' (Stein twice), G = (Φ²)_s = Φ(r) − 2T(r, a), r = x/√(1 + s²), a = 1/√(1 + 2s²): G' =
// 2φ(r)Φ(ar)/q.
Tensor gelu_square(const Tensor& x, const Tensor& s) {
  const Tensor variance = square(s), q = widened_scale(s, 1),
               a = 0.70710678118654752 / widened_scale(s, 0.70710678118654752), r = x / q, ratio = variance / q;
  const Tensor density = normal_pdf(r), lower = normal_cdf(a * r);
  const Tensor g = normal_cdf(r) - owens_t(r, a) * 2.0;
  const Tensor first = density * lower * 2.0,
               second = density * (a * normal_pdf(a * r) - r * lower) * 2.0;  // times q and q²
  return not_negative((square(x) + variance) * g + x * ratio * first * 2.0 + square(ratio) * second);
}

// For s ≥ 1, where (h²)_s − h_s² cancels little for x ≤ 0; at the right gelu(y) = y + gelu(−y), whose covariance is by
// Stein's lemma.
Tensor gelu_variance_of_large_noise(const Tensor& x, const Tensor& s) {
  const Tensor mirrored = greater(x, number(0, x)), left = where(mirrored, -x, x);
  const Tensor variance = not_negative(gelu_square(left, s) - square(gelu_smoothed(left, s)));
  return where(mirrored, square(s) * (1.0 - gelu_slope(left, s) * 2.0) + variance, variance);
}

// ---- elu

// 2∫ u³ E[h''(Y)h''(Y_t)] du, t = 1 − u², for h'' = eʸ1{y < 0}: e^{2x+s²(1+t)}Φ₂(−α, −α; t) with α = (x + s²(1 + t))/s,
// and Φ₂(h, h; t) = Φ(h) − 2T(h, √((1 − t)/(1 + t))). In u it is smooth, up to correlation 1.
Tensor elu_curvature(const Tensor& x, const Tensor& s) {
  const Tensor divisor = where(less(s, number(1e-20, s)), number(1e-20, s), s);
  const Tensor bounded = minimum(x, divisor * 10.0);  // beyond, both are never below 0
  return integral(x.dtype(), [&](double u) {
    const double t = 1 - u * u;
    const Tensor alpha = bounded / divisor + s * (1 + t);
    const Tensor both = not_negative(normal_cdf(-alpha) - owens_t(alpha, number(u / std::sqrt(1 + t), x)) * 2.0);
    return exp(bounded * 2.0 + square(s) * (1 + t)) * both * (2 * u * u * u);
  });
}

// Mean and mean square of (eˣ − 1)·1{x < 0}.
struct ExponentialPart { Tensor mean, square; };
ExponentialPart elu_left(const Tensor& x, const Tensor& s) {
  const Tensor below = exp_below_smoothed(x, s), share = step_smoothed(-x, s);
  return {below - share, exp_below_smoothed(x * 2.0, s * 2.0) - below * 2.0 + share};
}

// relu and the exponential part are never both other than 0.
Tensor elu_variance_of_large_noise(const Tensor& x, const Tensor& s) {
  const Moments right = relu_moments(x, s);
  const ExponentialPart left = elu_left(x, s);
  return not_negative(right.variance + (left.square - square(left.mean)) - right.mean * left.mean * 2.0);
}

// The one for s < 1, or the other. Each is given a scale of its own range, so that nothing infinite flows back from the
// one not taken.
template <class Small, class Large>
Tensor chosen(const Tensor& s, const Small& small, const Large& large) {
  const Tensor is_small = less(s, number(1, s));
  return where(is_small, small(where(is_small, s, number(1, s))), large(where(is_small, number(1, s), s)));
}

}  // namespace

// 8(T(r, 1) − T(r, a)) with r = x/√(s² + ½), a = 1/√(1 + 4s²), as E[Φ(Y)²] = Φ(·) − 2T(·, a) and Φ² = Φ − 2T(·, 1).
Moments erf_moments(const Tensor& x, const Tensor& s) {
  const Tensor wide = widened_scale(s, 0.5);
  const Tensor width = square(s / wide) / (0.5 / wide + 1.0);  // 1 − a
  return {erf_smoothed(x, s), owens_t_to_one(x / widened_scale(s, 0.70710678118654752), width) * 8.0};
}

Moments gelu_moments(const Tensor& x, const Tensor& s) {
  const Tensor variance = chosen(
      s,
      [&](const Tensor& small) { return small_noise_variance(small, gelu_slope(x, small), gelu_curvature(x, small)); },
      [&](const Tensor& large) { return gelu_variance_of_large_noise(x, large); });
  return {gelu_smoothed(x, s), variance};
}

Moments elu_moments(const Tensor& x, const Tensor& s) {
  const Tensor variance = chosen(
      s,
      [&](const Tensor& small) {
        return small_noise_variance(small, step_smoothed(x, small) + exp_below_smoothed(x, small),
                                    elu_curvature(x, small));
      },
      [&](const Tensor& large) { return elu_variance_of_large_noise(x, large); });
  return {elu_smoothed(x, s), variance};
}

}  // namespace mollify::smoothing::detail
