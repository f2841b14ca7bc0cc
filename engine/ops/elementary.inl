// Elementary functions as formulas: the policy holds their vector or device code.

struct Exp : Pointwise<Exp, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.exp(x); } };
struct Expm1 : Pointwise<Expm1, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x) {
    return m.expm1(x);
  }
};
struct Log : Pointwise<Log, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.log(x); } };
struct Log1p : Pointwise<Log1p, 1> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x) {
    return m.log1p(x);
  }
};
struct Sin : Pointwise<Sin, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.sin(x); } };
struct Cos : Pointwise<Cos, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.cos(x); } };
struct Tanh : Pointwise<Tanh, 1> { template <class M, class V> static MOLLIFY_FN V f(M m, V x) { return m.tanh(x); } };
struct Pow : Pointwise<Pow, 2> {
  template <class M, class V>
  static MOLLIFY_FN V f(M m, V x, V y) {
    return m.pow(x, y);
  }
};
