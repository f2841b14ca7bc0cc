// From a formula to a kernel for one SIMD target. Included once per target, by the files of ops/ that hold formulas.
#include <mollify/engine/cpu/simd_math-inl.h>

#if defined(MOLLIFY_ENGINE_CPU_POINTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOLLIFY_ENGINE_CPU_POINTWISE_INL_H_
#undef MOLLIFY_ENGINE_CPU_POINTWISE_INL_H_
#else
#define MOLLIFY_ENGINE_CPU_POINTWISE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// struct Add : Pointwise<Add, 2> { f(m, a, b) }: `in` numbers to one; with several outputs f(m, in[], out[]).
template <class Formula, int in_count, int out_count = 1>
struct Pointwise {
  template <class T>
  static void run(const void* const* in, void* const* out, int64_t n) {
    const hn::ScalableTag<T> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const T* from[in_count > 0 ? in_count : 1];
    T* to[out_count];
    for (int i = 0; i < in_count; ++i) from[i] = static_cast<const T*>(in[i]);
    for (int i = 0; i < out_count; ++i) to[i] = static_cast<T*>(out[i]);
    int64_t k = 0;
    for (; k + lanes <= n; k += lanes) vector(d, from, to, k);
    if (k < n) tail(d, from, to, k, n - k);
  }

 private:
  template <class D, class T>
  static HWY_INLINE void vector(D d, const T* const* from, T* const* to, int64_t k) {
    hn::Vec<D> values[in_count > 0 ? in_count : 1], results[out_count];
    for (int i = 0; i < in_count; ++i) values[i] = hn::LoadU(d, from[i] + k);
    evaluate(SimdMath<D>{d}, values, results);
    for (int i = 0; i < out_count; ++i) hn::StoreU(results[i], d, to[i] + k);
  }

  // The last, shorter vector runs the same text on padded copies, so that it gives the same bits.
  template <class D, class T>
  static HWY_NOINLINE void tail(D d, const T* const* from, T* const* to, int64_t k, int64_t rest) {
    constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(T);
    T padded_in[in_count > 0 ? in_count : 1][kLanes] = {}, padded_out[out_count][kLanes];
    const T* padded_from[in_count > 0 ? in_count : 1];
    T* padded_to[out_count];
    for (int i = 0; i < in_count; ++i) {
      for (int64_t j = 0; j < rest; ++j) padded_in[i][j] = from[i][k + j];
      padded_from[i] = padded_in[i];
    }
    for (int i = 0; i < out_count; ++i) padded_to[i] = padded_out[i];
    vector(d, padded_from, padded_to, 0);
    for (int i = 0; i < out_count; ++i)
      for (int64_t j = 0; j < rest; ++j) to[i][k + j] = padded_out[i][j];
  }

  template <class M, class V>
  static HWY_INLINE void evaluate(M m, const V* in, V* out) {
    if constexpr (out_count > 1) Formula::f(m, in, out);
    else if constexpr (in_count == 1) out[0] = Formula::f(m, in[0]);
    else if constexpr (in_count == 2) out[0] = Formula::f(m, in[0], in[1]);
    else if constexpr (in_count == 3) out[0] = Formula::f(m, in[0], in[1], in[2]);
    else Formula::f(m, in, out);
  }
};

// The same for formulas whose last output is summed.
template <class Formula, int in_count, int out_count = 1>
struct PointwiseSum : Pointwise<Formula, in_count, out_count> {};

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle

#ifndef MOLLIFY_FN
#define MOLLIFY_FN HWY_INLINE
#endif

#include <mollify/engine/cuda/pointwise.h>

// What an Op of a formula holds: its kernels, and the formula itself. The SUM form sums the formula's last output (see
// pointwise_sum).
// Mixed dtypes: the first floating operand decides; comparisons of integers are exact in f64.
#ifndef MOLLIFY_POINTWISE
#define MOLLIFY_POINTWISE(Formula)                                                         \
  .cpu = MOLLIFY_WALK_KERNEL(pointwise, Formula), .cuda = MOLLIFY_CUDA_POINTWISE(Formula), \
  .formula = MOLLIFY_FORMULA(Formula)
#define MOLLIFY_POINTWISE_SUM(Formula) \
  .cpu = MOLLIFY_WALK_KERNEL(pointwise_sum, Formula), .cuda = MOLLIFY_CUDA_POINTWISE(Formula)
#define MOLLIFY_WALK_KERNEL(walk, Formula)                                             \
  [](const ::mollify::KernelArguments& a) {                                            \
    const ::mollify::DType dtype = ::mollify::cpu::pointwise_dtype(a.in);              \
    ::mollify::cpu::walk(a, dtype, MOLLIFY_FORMULA(Formula)(dtype));                   \
  }
// Chooses among the compiled SIMD targets and the two dtypes.
#define MOLLIFY_FORMULA(Formula)                                                                              \
  [](::mollify::DType dtype) {                                                                                \
    using namespace ::mollify::cpu;                                                                           \
    static constexpr ::mollify::BlockFunction f32[] = {nullptr, HWY_CHOOSE_TARGET_LIST(Formula::run<float>),  \
                                                       HWY_CHOOSE_FALLBACK(Formula::run<float>)};             \
    static constexpr ::mollify::BlockFunction f64[] = {nullptr, HWY_CHOOSE_TARGET_LIST(Formula::run<double>), \
                                                       HWY_CHOOSE_FALLBACK(Formula::run<double>)};            \
    return (dtype == ::mollify::DType::f32 ? f32 : f64)[simd_target()];                                       \
  }
#endif
