// Formulas of arithmetic and comparisons, over a policy m: Highway vectors on the CPU, scalars on a GPU.
// A comparison is 1 or 0; the kernel's walk stores it as u8.

struct Add : Pointwise<Add, 2> { template <class M, class V> static MOLLIFY_FN V f(M, V a, V b) { return a + b; } };
struct Subtract : Pointwise<Subtract, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M, V a, V b) {
    return a - b;
  }
};
struct Multiply : Pointwise<Multiply, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M, V a, V b) {
    return a * b;
  }
};
struct Divide : Pointwise<Divide, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M, V a, V b) {
    return a / b;
  }
};
struct Negative : Pointwise<Negative, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x) {
    return m.neg(x);
  }
};
struct Square : Pointwise<Square, 1> { template <class M, class V> static MOLLIFY_FN V f(M, V x) { return x * x; } };
struct SumOfSquares : PointwiseSum<SumOfSquares, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M, V x) {
    return x * x;
  }
};
struct Sqrt : Pointwise<Sqrt, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.sqrt(x); } };
struct Abs : Pointwise<Abs, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.abs(x); } };
struct Minimum : Pointwise<Minimum, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V a, V b) {
    return m.min(a, b);
  }
};
struct Maximum : Pointwise<Maximum, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V a, V b) {
    return m.max(a, b);
  }
};

// ±1 for what is not zero; zeros and NaN are themselves.
struct Sign : Pointwise<Sign, 1> {
  template <class M, class V> static MOLLIFY_FN V f(M m, V x) {
    return m.select(m.either(m.lt(x, m.zero()), m.gt(x, m.zero())), m.copysign(m.one(), x), x);
  }
};

struct Floor : Pointwise<Floor, 1> {
  template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.floor(x); }
};

struct Less : Pointwise<Less, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V a, V b) {
    return m.select(m.lt(a, b), m.one(), m.zero());
  }
};
struct LessEqual : Pointwise<LessEqual, 2> {
  template <class M, class V> static MOLLIFY_FN V f(M m, V a, V b) { return m.select(m.le(a, b), m.one(), m.zero()); }
};
struct Equal : Pointwise<Equal, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V a, V b) {
    return m.select(m.eq(a, b), m.one(), m.zero());
  }
};
struct NotEqual : Pointwise<NotEqual, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V a, V b) {
    return m.select(m.ne(a, b), m.one(), m.zero());
  }
};

struct Where : Pointwise<Where, 3> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V condition, V a, V b) {
    return m.select(m.eq(condition, m.zero()), b, a);
  }
};

// min(max(x, low), high), with NaN kept.
struct Clip : Pointwise<Clip, 3> {
  template <class M, class V> static MOLLIFY_FN V f(M m, V x, V low, V high) { return m.min(m.max(x, low), high); }
};

struct Relu : Pointwise<Relu, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x) {
    return m.select(m.lt(x, m.zero()), m.zero(), x);
  }
};

// x > 0 ? g : 0, and NaN where x is NaN.
struct Gate : Pointwise<Gate, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V g, V x) {
    return m.select(m.gt(x, m.zero()), g, m.select(m.is_nan(x), x, m.zero()));
  }
};

struct LeakyRelu : Pointwise<LeakyRelu, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V slope) {
    return m.select(m.gt(x, m.zero()), x, x * slope);
  }
};
