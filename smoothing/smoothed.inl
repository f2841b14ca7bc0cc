// Functions smoothed with Gaussian noise of standard deviation s: values only, each formula written once over an
// arithmetic policy M as in engine/ops/special.inl, whose helpers it uses and after which it is included. Where s = 0
// the values are those of the function itself; a negative, infinite or NaN scale gives NaN. With a = x/s and b = |a|,
//   all rests on the moments W_j(b) = e^{b²/2} E[(z − b)^j; z > b],  j = 0, 1, 2,  z standard normal:
// Φ(−b) = e^{−b²/2} W_0, relu_s(x) = max(x, 0) + s e^{−b²/2} W_1, and W_0 = W_2 + b W_1. Nothing is lost to
// cancellation, and one word is enough: rounding a costs a relative a² units of the last place in the result, whatever
// comes after.

inline constexpr double kPhiAtZero = 0.3989422804014327;
inline constexpr double kInfinite = std::numeric_limits<double>::infinity(),
                        kNotANumber = std::numeric_limits<double>::quiet_NaN();

// The scale to divide by: s; 1 where s is 0; NaN where it is no scale.
template <class M, class V>
MOLLIFY_FN V divisor_of(M m, V s) {
  const V infinity = m.set(kInfinite);
  const V other = m.select(m.eq(s, m.zero()), m.one(), m.set(kNotANumber));
  return m.select(m.both(m.gt(s, m.zero()), m.lt(s, infinity)), s, other);
}

// What hot kernels multiply by: as s is mostly one number, the division is done apart, once.
struct ScaleReciprocal : Pointwise<ScaleReciprocal, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V s) {
    return m.min(m.one() / divisor_of(m, s),
                 m.set(kSinglePrecision<M> ? 0x1.fffffep127 : 0x1.fffffffffffffp1023));  // finite for subnormal s
  }
};

// s, and NaN where it is no scale.
struct CheckedScale : Pointwise<CheckedScale, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V s) {
    return m.select(m.both(m.ge(s, m.zero()), m.lt(s, m.set(kInfinite))), s, m.set(kNotANumber));
  }
};

// √(s² + h²) for h > 0, also where squares overflow or vanish; NaN where s is no scale.
struct WidenedScale : Pointwise<WidenedScale, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V s, V h) {
    const V scale = CheckedScale::f(m, s), large = m.max(scale, h), ratio = m.min(scale, h) / large;
    return large * m.sqrt(m.fma(ratio, ratio, m.one()));
  }
};

// `limit` where s is 0 and `value` is a number; else `value`.
template <class M, class V>
MOLLIFY_FN V at_zero_scale(M m, V s, V value, V limit) {
  const auto is_zero = m.eq(s, m.zero());
  if (!m.any(is_zero)) return value;
  return m.select(m.is_nan(value), value, m.select(is_zero, limit, value));
}

// |a|, cut off where e^{−a²/2} s vanishes for every finite s: the range of the fits below. NaN stays NaN.
template <class M, class V>
MOLLIFY_FN V bounded_distance(M m, V a) {
  return m.min(m.abs(a), m.set(kSinglePrecision<M> ? 18.6 : 53.2));
}

template <class M, class V>
MOLLIFY_FN V half_square_exponent(M m, V b) {
  return b * b * m.set(-0.5);
}

template <class M, class V>
MOLLIFY_FN V times_exp(M m, V factor, V exponent) {
  return m.exp_times(factor, m.zero(), exponent, m.zero());
}

// `factor`, which is at most of the order of s; 0 where its product with e^{−b²/2} would be subnormal, which takes
// processors long.
template <class M, class V>
MOLLIFY_FN V unless_negligible(M m, V b, V s, V factor) {
  const V limit =
      m.select(m.gt(s, m.one()), m.set(kSinglePrecision<M> ? 18.6 : 53.2), m.set(kSinglePrecision<M> ? 13.3 : 37.8));
  return m.select(m.ge(b, limit), m.zero(), factor);
}

// c0 + x c1 + x² c2 + … as two chains in x², half as long: kernels here wait for results rather than for execution
// units.
template <class M, class V>
MOLLIFY_FN V every_other(M m, V, double c) {
  return m.set(c);
}
template <class M, class V>
MOLLIFY_FN V every_other(M m, V, double c, double) {
  return m.set(c);
}
template <class M, class V, class... Rest>
MOLLIFY_FN V every_other(M m, V z, double c, double, Rest... rest) {
  return m.fma(every_other(m, z, rest...), z, m.set(c));
}
template <class M, class V, class... Rest>
MOLLIFY_FN V poly_in_two(M m, V x, double c, Rest... rest) {
  const V z = x * x;
  return m.fma(every_other(m, z, rest...), x, every_other(m, z, c, rest...));
}

// W_j(b) for 0 <= b <= bounded_distance's limit: u^{j+1} P(t), u = k/(b + k), t linear in u on [-1, 1]; P interpolates
// at Chebyshev points. Relative error of W_0, W_1, W_2 at most 5e-8, 3e-8, 2e-7 (float) and 3e-16, 7e-16, 3e-15
// (double), growing with b.
template <int j, class M, class V>
MOLLIFY_FN V tail_moment(M m, V b) {
  const V k = m.set(kSinglePrecision<M> ? 4.0 : 5.0);
  const V u = k / (b + k);
  V p;
  if constexpr (kSinglePrecision<M>) {
    const V t = m.fma(u, m.set(2.427807486631016), m.set(-1.427807486631016));
    if constexpr (j == 0) {
      p = poly_in_two(m, t, 0.218876064, 0.157150388, 0.0843784958, 0.0322849192, 0.00749756768, 0.000271202764,
                      -0.000411708112, -7.55152432e-05, 2.42291553e-05, 5.96112932e-06, -1.59899923e-06);
    } else if constexpr (j == 1) {
      p = poly_in_two(m, t, 0.110814139, 0.138813317, 0.0978562608, 0.0429899469, 0.00985689089, -0.000474481058,
                      -0.000912018528, -8.32853329e-05, 7.72837739e-05, 1.09977072e-05, -5.99216082e-06,
                      -7.85748171e-07);
    } else {
      p = poly_in_two(m, t, 0.104956746, 0.173969924, 0.143892348, 0.0678115934, 0.0139379157, -0.00278626289,
                      -0.00203027157, 4.00468889e-05, 0.000226147502, 1.39759629e-06, -2.00011382e-05, 4.16575062e-07);
    }
  } else {
    const V t = m.fma(u, m.set(2.1872659176029963), m.set(-1.1872659176029963));
    if constexpr (j == 0) {
      p = poly_in_two(m, t, 0.16599947353031763, 0.13853336587135931, 0.097580075865100174, 0.05739661205367267,
                      0.027537002068087683, 0.010256731583079525, 0.0026180076844446701, 0.00024579618030877231,
                      -0.00012038765030621624, -5.1257138786737793e-05, -4.328622129783886e-07, 4.7840406875458384e-06,
                      7.200727749703995e-07, -4.3085931998889768e-07, -1.1324873448186923e-07, 4.4716760022948213e-08,
                      1.4461678833108047e-08, -5.5379930784845756e-09, -1.5867570794330647e-09, 7.0231278115953496e-10,
                      1.1317471965071698e-10, -5.9648738726959607e-11);
    } else if constexpr (j == 1) {
      p = poly_in_two(m, t, 0.066095083456041731, 0.10175474567324262, 0.099435070285384244, 0.072072284865688382,
                      0.03971446990267935, 0.016038003453998317, 0.0040737663568153728, 0.00016458244824638752,
                      -0.00032623830767424471, -0.00010354215847581406, 1.154354594971843e-05, 1.3533622125207972e-05,
                      5.4217315678813547e-07, -1.5831425043804539e-06, -1.8047492931220783e-07, 1.9838400852401348e-07,
                      2.6816768603793414e-08, -2.7003712573895205e-08, -2.8639202567530515e-09, 3.4775568819147137e-09,
                      1.7956183666700435e-10, -2.8817897348155356e-10, -3.9574815262235343e-13);
    } else {
      p = poly_in_two(m, t, 0.050600021680857012, 0.10827519538966353, 0.13088943668320682, 0.10979359410660133,
                      0.066698738769858559, 0.028257177577071198, 0.0067915905665850811, -0.00032348218180320941,
                      -0.00087375445316707409, -0.00020038230759559478, 6.3054643187635486e-05, 3.6732675161272234e-05,
                      -3.3705390946284899e-06, -5.3505040258011428e-06, 1.3244636299281543e-07, 7.785606360452867e-07,
                      -1.6976658728899089e-08, -1.1757053395757461e-07, 8.1081608214419348e-09, 1.7566489466854124e-08,
                      -2.6612712353603617e-09, -2.2517188184990389e-09, 5.5531610284524891e-10, 1.7474209208366493e-10,
                      -5.8030925417710825e-11);
    }
  }
  V power = u;
  for (int i = 0; i < j; ++i) power = power * u;
  return power * p;
}

// s e^{−b²/2} W_1(b): what noise adds to a kink of slope 1 at distance b s.
template <class M, class V>
MOLLIFY_FN V smoothed_kink(M m, V b, V s) {
  return times_exp(m, unless_negligible(m, b, s, s * tail_moment<1>(m, b)), half_square_exponent(m, b));
}

// Φ(a) without regard to the case s = 0.
template <class M, class V>
MOLLIFY_FN V smoothed_step(M m, V a) {
  const V b = bounded_distance(m, a);
  const V lower = times_exp(m, unless_negligible(m, b, m.one(), tail_moment<0>(m, b)), half_square_exponent(m, b));
  return m.select(m.gt(a, m.zero()), m.one() - lower, lower);
}

template <class M, class V>
MOLLIFY_FN V step(M m, V x) {
  return m.select(m.gt(x, m.zero()), m.one(), m.zero());
}

// ---- Hot: relu_s, its gradient and its moments. e^{−b²/2} is carried times 2^kLift, so that no subnormal number
// arises on the way (each costs processors a hundred cycles): what would be subnormal in the end is 0.

template <class M>
inline constexpr int kLift = kSinglePrecision<M> ? 60 : 500;

// From this distance on the limits are taken: what is left out is no normal number for s up to kLarge, beyond which
// there is another way.
template <class M>
inline constexpr double kFar = kSinglePrecision<M> ? 15.0 : 44.0;
template <class M>
inline constexpr double kLarge = kSinglePrecision<M> ? 0x1p20 : 0x1p160;

// 2^−kLift q; 0 where that is subnormal.
template <class M, class V>
MOLLIFY_FN V unlifted(M m, V q) {
  const V least = m.set(kSinglePrecision<M> ? 0x1p-66 : 0x1p-522);
  return m.select(m.lt(m.abs(q), least), m.zero(), q) * m.set(kSinglePrecision<M> ? 0x1p-60 : 0x1p-500);
}

// 2^−kLift c q, likewise; a large c is scaled first, so that only a result that is too large overflows.
template <class M, class V>
MOLLIFY_FN V unlifted_product(M m, V c, V q) {
  const V value = unlifted(m, c * q);
  const auto is_large = m.gt(m.abs(c), m.set(0x1p40));
  return m.any(is_large) ? m.select(is_large, (c * m.set(kSinglePrecision<M> ? 0x1p-60 : 0x1p-500)) * q, value) : value;
}

template <class M, class V>
struct KinkTerms {
  V b, lifted;  // |a| up to kFar, 2^kLift e^{−b²/2}
  MOLLIFY_FN KinkTerms(M m, V x, V reciprocal)
      : b(m.min(m.abs(x * reciprocal), m.set(kFar<M>))),
        lifted(m.template exp_lifted<kLift<M>>(half_square_exponent(m, b))) {
    lifted = m.select(m.ge(b, m.set(kFar<M>)), m.zero(), lifted);
  }
};

// W_1 = φ(0) − b W_0 where W_0 is at hand: it loses a relative b² units of the last place, as rounding a does.
template <class M, class V>
MOLLIFY_FN V first_from(M m, V b, V zeroth) {
  return m.fma(m.neg(b), zeroth, m.set(kPhiAtZero));
}

// What noise adds to a kink, from what a lifted formula gives, which is taken for s up to kLarge.
template <class M, class V>
MOLLIFY_FN V kink_of(M m, V x, V s, V reciprocal, V lifted) {
  const V near = unlifted(m, s * lifted);
  const auto is_large = m.gt(s, m.set(kLarge<M>));
  return m.any(is_large) ? m.select(is_large, smoothed_kink(m, bounded_distance(m, x * reciprocal), s), near) : near;
}

// in: x, s, 1/s
struct ReluSmoothed : Pointwise<ReluSmoothed, 3> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s, V reciprocal) {
    const KinkTerms<M, V> k(m, x, reciprocal);
    return m.max(x, m.zero()) + kink_of(m, x, s, reciprocal, tail_moment<1>(m, k.b) * k.lifted);
  }
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    return f(m, x, s, ScaleReciprocal::f(m, s));
  }
};

// g Φ(a): what relu_smoothed passes back, in one pass. in: g, x, s, 1/s
struct ReluSmoothedGradient : Pointwise<ReluSmoothedGradient, 4> {
  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V g = in[0], x = in[1], s = in[2];
    const KinkTerms<M, V> k(m, x, in[3]);
    const V lower = unlifted_product(m, g, tail_moment<0>(m, k.b) * k.lifted);
    const V value = m.select(m.gt(x, m.zero()), g - lower, lower);
    out[0] = at_zero_scale(m, s, value, g * step(m, x));
  }
};

// Mean and variance; in: x, s, 1/s. The variance in units of s², with c = Φ(−b) and r = e^{−b²/2} W_1: e^{−b²/2} W_2 −
// r² at the left, (1 − c) − r (b + r) at the right.
struct ReluMoments : Pointwise<ReluMoments, 3, 2> {
  template <class M, class V>
  static MOLLIFY_FN V variance_at_large_scale(M m, V b, V s, V r) {
    return s *
           times_exp(m, s * m.fma(m.neg(r), tail_moment<1>(m, b), tail_moment<2>(m, b)), half_square_exponent(m, b));
  }

  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V x = in[0], s = in[1], reciprocal = in[2];
    const KinkTerms<M, V> k(m, x, reciprocal);
    const V first = tail_moment<1>(m, k.b), second = tail_moment<2>(m, k.b);
    const V lifted_r = first * k.lifted, r = unlifted(m, lifted_r),
            c = unlifted(m, m.fma(k.b, first, second) * k.lifted);
    const V lifted_left = k.lifted * m.fma(m.neg(r), first, second);
    V left = unlifted(m, s * (s * lifted_left));
    const auto is_large = m.gt(s, m.set(kLarge<M>));
    if (m.any(is_large))
      left = m.select(is_large, variance_at_large_scale(m, bounded_distance(m, x * reciprocal), s, r), left);
    const V right = s * (s * ((m.one() - c) - r * (k.b + r)));
    out[0] = m.max(x, m.zero()) + kink_of(m, x, s, reciprocal, lifted_r);
    out[1] = m.select(m.gt(x, m.zero()), right, left);
  }
};

// The same for where only the sum of the variances is wanted: s² (Φ(a) − r (b + r)) loses a relative b⁴ units where it
// is tiny, and counts as 0 below 2^−80 s² (float), 2^−500 s² (double).
struct ReluTotalVariance : PointwiseSum<ReluTotalVariance, 3, 2> {
  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V x = in[0], s = in[1];
    const KinkTerms<M, V> k(m, x, in[2]);
    const V zeroth = tail_moment<0>(m, k.b), c = unlifted(m, zeroth * k.lifted);
    const V lifted_r = first_from(m, k.b, zeroth) * k.lifted, r = unlifted(m, lifted_r);
    const V variance = m.select(m.gt(x, m.zero()), m.one() - c, c) - r * (k.b + r);
    out[0] = m.max(x, m.zero()) + kink_of(m, x, s, in[2], lifted_r);
    out[1] = s * (s * m.select(m.lt(variance, m.set(kSinglePrecision<M> ? 0x1p-80 : 0x1p-500)), m.zero(), variance));
  }
};

// g_mean Φ(a) + 2 g_variance relu_s(x) Φ(−a); in: g_mean, g_variance, x, s, 1/s. Computed again from x: on processors
// of today that takes less time than to write and read what the forward pass knew.
struct ReluMomentsGradient : Pointwise<ReluMomentsGradient, 5> {
  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V g_mean = in[0], g_variance = in[1], x = in[2], s = in[3];
    const KinkTerms<M, V> k(m, x, in[4]);
    const V zeroth = tail_moment<0>(m, k.b), c = at_zero_scale(m, s, zeroth * k.lifted, m.zero());
    const V r = first_from(m, k.b, zeroth) * k.lifted;
    const V mean = m.max(x, m.zero()) + kink_of(m, x, s, in[4], r), rest = m.one() - unlifted(m, c);
    const auto is_positive = m.gt(x, m.zero());
    const V of_mean = m.select(is_positive, g_mean * rest, unlifted_product(m, g_mean, c));
    const V twice = g_variance + g_variance;
    V of_variance = unlifted_product(m, twice * m.select(is_positive, mean, s * rest), m.select(is_positive, c, r));
    const auto is_large = m.gt(s, m.set(kLarge<M>));
    if (m.any(is_large))
      of_variance = m.select(m.both(is_large, m.le(x, m.zero())), twice * (mean * rest), of_variance);
    out[0] = of_mean + of_variance;
  }
};

// ---- The others of relu's family

// (x² + s²)/2 Φ(a) + x s φ(a)/2: at the left s² e^{−b²/2} W_2/2, at the right (x² + s²)/2 less the mirrored value.
struct ReluSmoothedAntiderivative : Pointwise<ReluSmoothedAntiderivative, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    const V half = m.set(0.5);
    const V b = bounded_distance(m, x / divisor_of(m, s));
    const V moment = unless_negligible(m, b, s, tail_moment<2>(m, b) * half), exponent = half_square_exponent(m, b);
    const V factor = moment * s * s;
    const auto is_finite = m.is_finite(factor);
    V left = times_exp(m, factor, exponent);
    if (!m.all(is_finite)) left = m.select(is_finite, left, times_exp(m, moment * s, exponent) * s);
    const V right = m.fma(half * x, x, s * (s * (half - times_exp(m, moment, exponent))));
    return m.select(m.gt(x, m.zero()), right, left);
  }
};

struct ReluSmoothedStep : Pointwise<ReluSmoothedStep, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    return at_zero_scale(m, s, smoothed_step(m, x / divisor_of(m, s)), step(m, x));
  }
};

// value e^exponent / divisor, whatever the parts alone would be.
template <class M, class V>
MOLLIFY_FN V times_exp_over(M m, V value, V exponent, V divisor) {
  const V most = m.set(kSinglePrecision<M> ? 0x1p125 : 0x1p1020), quotient = value / divisor;
  const auto fits = m.lt(m.abs(quotient), most);
  const V plain = times_exp(m, m.select(fits, quotient, m.zero()), exponent);
  if (m.all(fits)) return plain;
  const V scaled = value * m.set(0x1p-24) / divisor;
  const auto nearly_fits =
      m.lt(m.abs(scaled), most);  // else the value is so large that its product with the exponential is a normal number
  const V last = m.select(nearly_fits, times_exp(m, m.select(nearly_fits, scaled, m.zero()), exponent) * m.set(0x1p24),
                          times_exp(m, value, exponent) / divisor);
  return m.select(fits, plain, m.select(m.is_finite(value), last, value));
}

// φ(a)/s
struct ReluSmoothedDensity : Pointwise<ReluSmoothedDensity, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    const V divisor = divisor_of(m, s), b = bounded_distance(m, x / divisor);
    const V value = times_exp_over(m, m.set(kPhiAtZero), half_square_exponent(m, b), divisor);
    return at_zero_scale(m, s, m.select(m.ge(b, m.set(kSinglePrecision<M> ? 18.6 : 53.2)), m.zero(), value), m.zero());
  }
};

// (−1)^n He_{n−2}(a) φ(a)/s^e for n >= 2, with H_k = (−1)^k He_k by H_{k+1} = −(a H_k + k H_{k−1}). in: x, s, n, e. The
// e-th root of the exponential goes with each division, so that what is on the way lies between the Hermite polynomial
// and the result.
struct ReluSmoothedDerivative : Pointwise<ReluSmoothedDerivative, 4> {
  template <class M, class V>
  static MOLLIFY_FN V hermite_times_density(M m, V a, V order) {
    V value = m.set(kPhiAtZero), before = m.zero();
    for (int k = 0; m.any(m.gt(order, m.set(k + 2))); ++k) {
      const V next = m.neg(m.fma(a, value, m.set(k) * before));
      before = value;
      value = next;
    }
    return value;
  }

  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V x = in[0], s = in[1], times = in[3], divisor = divisor_of(m, s);
    // From here on the result is below 64 times the smallest normal number for every s, and 0.
    const V reach = m.sqrt(times + m.one()) * m.set(kSinglePrecision<M> ? 13.15 : 37.6);
    const V b = m.min(m.abs(x / divisor), reach);
    const V exponent = half_square_exponent(m, b) / m.max(times, m.one());
    V value = hermite_times_density(m, m.copysign(b, x), in[2]);
    if (m.any(m.eq(times, m.zero()))) value = m.select(m.eq(times, m.zero()), times_exp(m, value, exponent), value);
    for (int k = 0; m.any(m.gt(times, m.set(k))); ++k)
      value = m.select(m.gt(times, m.set(k)), times_exp_over(m, value, exponent, divisor), value);
    out[0] = at_zero_scale(m, s, m.select(m.ge(b, reach), m.zero(), value), m.zero());
  }
};

struct SignSmoothed : Pointwise<SignSmoothed, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    const V value = Erf::f(m, x / divisor_of(m, s) * m.set(0.70710678118654752));
    return at_zero_scale(m, s, value, m.select(m.eq(x, m.zero()), x, m.copysign(m.one(), x)));
  }
};

struct AbsSmoothed : Pointwise<AbsSmoothed, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    const V b = bounded_distance(m, x / divisor_of(m, s));
    return m.fma(m.set(2.0), smoothed_kink(m, b, s), m.abs(x));
  }
};
