// Optimisers' updates as formulas: all numbers that a schedule moves are inputs.

// PyTorch's convention: g ← g + decay·w; v ← momentum·v + g; w ← w − rate·(v, or with Nesterov g + momentum·v).
// in: w, v, g, rate, momentum, decay, nesterov (1 or 0); out: w, v
struct SgdMomentum : Pointwise<SgdMomentum, 7, 2> {
  template <class M, class V> static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V w = in[0], momentum = in[4], g = m.fma(in[5], w, in[2]);
    const V v = m.fma(momentum, in[1], g);
    const V direction = m.select(m.eq(in[6], m.zero()), v, m.fma(momentum, v, g));
    out[0] = m.fma(m.neg(in[3]), direction, w);
    out[1] = v;
  }
};

// in: w, g, rate, decay; out: w
struct SgdPlain : Pointwise<SgdPlain, 4, 1> {
  template <class M, class V> static MOLLIFY_FN void f(M m, const V* in, V* out) {
    out[0] = m.fma(m.neg(in[2]), m.fma(in[3], in[0], in[1]), in[0]);
  }
};

// Adam (Kingma & Ba, algorithm 1) with bias correction, ε outside the root and ε' inside; coupled decay joins the
// gradient, decoupled decay (Loshchilov & Hutter) shrinks the weights. in: w, m, v, g, rate, β₁, β₂, ε, decay,
// decoupled decay, rate/(1 − β₁ᵗ), 1/(1 − β₂ᵗ), ε'; out: w, m, v
struct Adam : Pointwise<Adam, 13, 3> {
  template <class M, class V> static MOLLIFY_FN void f(M m, const V* in, V* out) {
    const V rate = in[4], beta1 = in[5], beta2 = in[6], one = m.one();
    const V g = m.fma(in[8], in[0], in[3]);
    const V first = m.fma(beta1, in[1], (one - beta1) * g);
    const V second = m.fma(beta2, in[2], (one - beta2) * (g * g));
    const V w = in[0] - rate * in[9] * in[0];
    out[0] = w - in[10] * first / (m.sqrt(m.fma(second, in[11], in[12])) + in[7]);
    out[1] = first;
    out[2] = second;
  }
};
