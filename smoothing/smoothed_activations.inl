// Smoothed ramps, exponential activations and maxima, and Owen's function, over the helpers of smoothing/smoothed.inl,
// after which this is included. Errors here are absolute: a few units of 1 + |F| + |x F_x| + |s F_s|.

// ∫ over [low, high] of Φ((x − t)/s) dt for x at or left of the middle, and its derivative in x. Gauss–Legendre with 8
// points where high − low < s (its error is below 1e-16 (high − low)); else the difference, whose second term is then
// at most a third of the first.
struct Ramp {
  template <class M, class V, class F>
  static MOLLIFY_FN V average(M m, V low, V high, F f) {
    constexpr double kNodes[4] = {0.18343464249564981, 0.52553240991632899, 0.79666647741362673, 0.96028985649753629};
    constexpr double kHalfWeights[4] = {0.18134189168918099, 0.15685332293894364, 0.11119051722668724,
                                        0.05061426814518813};
    const V middle = (low + high) * m.set(0.5), half = (high - low) * m.set(0.5);
    V sum = m.zero();
    for (int i = 0; i < 4; ++i) {
      const V offset = half * m.set(kNodes[i]);
      sum = m.fma(f(middle + offset) + f(middle - offset), m.set(kHalfWeights[i]), sum);
    }
    return sum;
  }

  template <class M, class V>
  struct StepAt {
    M m;
    V x, s;
    MOLLIFY_FN V operator()(V t) const { return smoothed_step(m, (x - t) / s); }
  };
  template <class M, class V>
  struct SignAt {
    M m;
    V x, s;
    MOLLIFY_FN V operator()(V t) const { return Erf::f(m, (x - t) / s * m.set(0.70710678118654752)); }
  };
  template <class M, class V>
  struct DensityAt {
    M m;
    V x, s;
    MOLLIFY_FN V operator()(V t) const {
      return times_exp(m, m.set(kPhiAtZero), half_square_exponent(m, bounded_distance(m, (x - t) / s)));
    }
  };

  template <class M, class V>
  static MOLLIFY_FN V value(M m, V x, V s, V low, V high) {
    const V width = high - low;
    const V apart = ReluSmoothed::f(m, x - low, s) - ReluSmoothed::f(m, x - high, s);
    const auto is_narrow = m.lt(width, s);
    if (!m.any(is_narrow)) return apart;
    return m.select(is_narrow, width * average(m, low, high, StepAt<M, V>{m, x, s}), apart);
  }

  template <class M, class V>
  static MOLLIFY_FN V derivative(M m, V x, V s, V low, V high) {
    const V width = high - low;
    const V apart = smoothed_step(m, (x - low) / s) - smoothed_step(m, (x - high) / s);
    const auto is_narrow = m.lt(width, s);
    if (!m.any(is_narrow)) return apart;
    return m.select(is_narrow, width / s * average(m, low, high, DensityAt<M, V>{m, x, s}), apart);
  }

  // x or its mirror image about the middle, whichever is further left.
  template <class M, class V>
  static MOLLIFY_FN V folded(M m, V x, V low, V high) {
    return m.min(x, (low - x) + high);
  }
};

struct RampSmoothed : Pointwise<RampSmoothed, 4> {
  template <class M, class V>
  static MOLLIFY_FN V value(M m, V x, V s, V low, V high) {
    const V folded = Ramp::folded(m, x, low, high);
    const V left = Ramp::value(m, folded, divisor_of(m, s), low, high);
    return m.select(m.lt(folded, x), (high - low) - left, left);
  }
  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V x = in[0], s = in[1], low = in[2], high = in[3];
    out[0] = at_zero_scale(m, s, value(m, x, s, low, high), m.min(m.max(x, low), high) - low);
  }
};

struct RampSmoothedDerivative : Pointwise<RampSmoothedDerivative, 4> {
  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V x = in[0], s = in[1], low = in[2], high = in[3];
    const V value = Ramp::derivative(m, Ramp::folded(m, x, low, high), divisor_of(m, s), low, high);
    out[0] = at_zero_scale(m, s, value, m.select(m.both(m.le(low, x), m.le(x, high)), m.one(), m.zero()));
  }
};

// The clipped number and what noise adds at both ends, so that wide intervals take no digits from it; where they are
// narrow beside s, their middle and the mean of ±half the width.
struct ClipSmoothed : Pointwise<ClipSmoothed, 4> {
  template <class M, class V>
  static MOLLIFY_FN V kink_at(M m, V distance, V s) {
    return smoothed_kink(m, bounded_distance(m, distance / s), s);
  }
  template <class M, class V>
  static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V x = in[0], s = in[1], low = in[2], high = in[3];
    const V clipped = m.min(m.max(x, low), high), divisor = divisor_of(m, s);
    V value = clipped + (kink_at(m, x - low, divisor) - kink_at(m, x - high, divisor));
    const auto is_narrow = m.lt(high - low, s);
    if (m.any(is_narrow)) {
      const V half = (high - low) * m.set(0.5), middle = (low + high) * m.set(0.5);
      value = m.select(is_narrow, m.fma(half, Ramp::average(m, low, high, Ramp::SignAt<M, V>{m, x, divisor}), middle),
                       value);
    }
    out[0] = at_zero_scale(m, s, value, clipped);
  }
};

// E[e^{x+sz}; x + sz < 0] = e^{x+s²/2} Φ(−q), q = a + s; for q >= 0 the exponents join to −a²/2, which cannot overflow.
struct ExpBelowSmoothed : Pointwise<ExpBelowSmoothed, 2> {
  template <class M, class V>
  static MOLLIFY_FN V value(M m, V x, V divisor) {
    const V a = x / divisor, q = a + divisor, far = m.set(0x1p29), distance = m.abs(q);
    const V tail =
        m.select(m.gt(distance, far), m.set(kPhiAtZero) / distance, normal_tail(m, m.min(distance, far)).high);
    const V b = bounded_distance(m, a);
    const V joined = times_exp(m, unless_negligible(m, b, m.one(), tail), half_square_exponent(m, b));
    const auto is_negative = m.lt(q, m.zero());
    if (!m.any(is_negative)) return joined;
    return m.select(is_negative, m.exp(m.fma(divisor * divisor, m.set(0.5), x)) - joined, joined);
  }
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    return at_zero_scale(m, s, value(m, x, divisor_of(m, s)), m.select(m.gt(x, m.zero()), m.zero(), m.exp(x)));
  }
};

// relu_s(x) + E[e^{x+sz}; x + sz < 0] − Φ(−a)
struct EluSmoothed : Pointwise<EluSmoothed, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    const V divisor = divisor_of(m, s), a = x / divisor;
    const V value =
        ReluSmoothed::f(m, x, divisor) + (ExpBelowSmoothed::value(m, x, divisor) - smoothed_step(m, m.neg(a)));
    return at_zero_scale(m, s, value, Elu::f(m, x));
  }
};

// relu_q(x) − φ(r)/q, q = √(1 + s²), r = x/q: max(x, 0) + e^{−r²/2} (q W_1(|r|) − φ(0)/q).
struct GeluSmoothed : Pointwise<GeluSmoothed, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V s) {
    const V divisor = divisor_of(m, s);
    const V far = m.set(0x1p30);  // from here on q = s to the last digit, and soon s² overflows
    const V q = m.select(m.gt(divisor, far), divisor, m.sqrt(m.fma(divisor, divisor, m.one())));
    const V r = bounded_distance(m, x / q);
    const V factor = m.fma(q, tail_moment<1>(m, r), m.set(-kPhiAtZero) / q);
    const V value = m.max(x, m.zero()) + times_exp(m, factor, half_square_exponent(m, r));
    return at_zero_scale(m, s, value, Gelu::f(m, x));
  }
};

struct MaxSmoothed : Pointwise<MaxSmoothed, 3> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V y, V theta) {
    const V distance = m.select(m.eq(x, y), m.zero(), x - y);
    const V b = bounded_distance(m, distance / divisor_of(m, theta));
    return m.max(x, y) + smoothed_kink(m, b, theta);
  }
};

// Σ of the 24 Gauss–Legendre nodes of [start, start + 2 half].
struct TwentyFourNodes {
  template <class M, class V, class F>
  static MOLLIFY_FN V sum(M m, V start, V half, F f) {
    constexpr double kNodes[12] = {0.99518721999702131, 0.97472855597130947, 0.9382745520027328, 0.88641552700440107,
                                   0.82000198597390295, 0.74012419157855436, 0.64809365193697555, 0.54542147138883956,
                                   0.43379350762604513, 0.3150426796961634, 0.19111886747361631, 0.06405689286260563};
    constexpr double kWeights[12] = {0.0123412297999872,   0.028531388628933663, 0.044277438817419808,
                                     0.059298584915436783, 0.0733464814110803,   0.086190161531953274,
                                     0.097618652104113884, 0.10744427011596563,  0.1155056680537256,
                                     0.12167047292780339,  0.1258374563468283,   0.12793819534675216};
    const V middle = start + half;
    V total = m.zero();
    for (int i = 0; i < 12; ++i) {
      const V offset = half * m.set(kNodes[i]);
      total = m.fma(f(middle + offset) + f(middle - offset), m.set(kWeights[i]), total);
    }
    return total * half;
  }
};

// e^{−h²(1+t²)/2}/(1 + t²)^power
template <class M, class V>
struct OwensIntegrand {
  M m;
  V minus_half_square, power;
  MOLLIFY_FN V operator()(V t) const {
    const V factor = m.fma(t, t, m.one());
    V value = m.exp(minus_half_square * factor);
    if (m.any(m.gt(power, m.zero()))) value = m.select(m.gt(power, m.zero()), value / factor, value);
    for (int k = -1; m.any(m.le(power, m.set(k))); --k) value = m.select(m.le(power, m.set(k)), value * factor, value);
    return value;
  }
};

// Owen's T(h, a) = 1/2π ∫_0^a e^{−h²(1+t²)/2}/(1 + t²) dt for |a| <= 1, NaN beyond. 24 Gauss–Legendre points over the
// part where the integrand is not negligible; error of the rule 1e-17, so that rounding remains: a relative 4 (1 + h²)
// units of the last place.
struct OwensT : Pointwise<OwensT, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V h, V a) {
    const V b = bounded_distance(m, h);
    const V half = m.min(m.abs(a), m.set(8.6) / b) * m.set(0.5);
    const V sum = TwentyFourNodes::sum(m, m.zero(), half, OwensIntegrand<M, V>{m, half_square_exponent(m, b), m.one()});
    const V value = m.copysign(sum * m.set(0.15915494309189534), a);
    return m.select(m.gt(m.abs(a), m.one()), m.set(kNotANumber), value);
  }
};

// 1/2π ∫ of e^{−h²(1+t²)/2}/(1 + t²)^power over [1 − w, 1], in two panels over the part where it is not negligible:
// with a = 1 − w up to t² = a² + 74/h².
struct OwensTToOne : Pointwise<OwensTToOne, 3> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V h, V width, V power) {
    const V b = bounded_distance(m, h), start = m.one() - width;
    const V reach = m.set(74.0) / m.max(b * b, m.set(1.0));
    const V length = m.min(width, reach / (m.sqrt(m.fma(start, start, reach)) + start));
    const OwensIntegrand<M, V> integrand{m, half_square_exponent(m, b), power};
    const V first = length * m.set(0.15), second = length * m.set(0.35);
    const V sum = TwentyFourNodes::sum(m, start, first, integrand) +
                  TwentyFourNodes::sum(m, start + (first + first), second, integrand);
    return sum * m.set(0.15915494309189534);
  }
};
