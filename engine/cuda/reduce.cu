#include <mollify/engine/cuda/columns.cuh>
#include <mollify/engine/cuda/reduce.h>
#include <mollify/engine/cuda/rows.cuh>

#include <type_traits>

namespace mollify::cuda {
namespace {

template <Reduction kind, class V>
__device__ V combine(V a, V b) {
  if constexpr (kind == Reduction::sum) return a + b;
  else if constexpr (kind == Reduction::max) return a < b || b != b ? b : a;
  else return b < a || b != b ? b : a;
}

// A tree over n = 2^k numbers.
template <Reduction kind, int n, class V>
__device__ V combine_all(const V* values) {
  if constexpr (n == 1) return values[0];
  else return combine<kind>(combine_all<kind, n / 2>(values), combine_all<kind, n / 2>(values + n / 2));
}

template <Reduction kind, class V>
__device__ constexpr V neutral_number() {
  return kind == Reduction::sum ? V{0} : kind == Reduction::max ? -kInfinity<V> : kInfinity<V>;
}

// The Fold of rows.cuh and columns.cuh: numbers of a run are combined as they are, sums then carried in f64.
template <Reduction kind, class In, class Out>
struct Reduce {
  using Number = In;
  using State = std::conditional_t<kind == Reduction::sum, double, In>;

  const In* x;
  Out* out;
  bool aligned;  // for columns; rows look for themselves

  __device__ State neutral() const { return neutral_number<kind, State>(); }
  __device__ In padding() const { return neutral_number<kind, In>(); }
  __device__ State join(State a, State b) const { return combine<kind>(a, b); }
  __device__ State other_lane(State state, int offset) const { return __shfl_xor_sync(kAllLanes, state, offset); }
  __device__ void finish(int64_t i, State state) const { out[i] = static_cast<Out>(state); }

  template <int n>
  __device__ void add(State& state, const In (&values)[n], int64_t, int64_t) const {
    state = join(state, static_cast<State>(combine_all<kind, n>(values)));
  }

  template <bool whole, int n>
  __device__ void add(State (&states)[n], int64_t at, int64_t stride, int rows, int64_t) const {
    Pack<In, n> run[kColumnRun];
    MOLLIFY_UNROLL
    for (int r = 0; r < kColumnRun; ++r) {
      if (whole || r < rows) {
        run[r] = load<n>(x + at + r * stride, aligned);
      } else {
        MOLLIFY_UNROLL
        for (int i = 0; i < n; ++i) run[r].at[i] = padding();
      }
    }
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) {
      In total = run[0].at[i];
      MOLLIFY_UNROLL
      for (int r = 1; r < kColumnRun; ++r) total = combine<kind>(total, run[r].at[i]);
      states[i] = join(states[i], static_cast<State>(total));
    }
  }
};

template <Reduction kind, class T>
void reduce_by(const T* x, int64_t outer, int64_t count, int64_t inner, T* out) {
  const Reduce<kind, T, T> fold{x, out, is_aligned<T, kPack<T>>(x)};
  if (inner == 1) fold_rows("reduce", fold, outer, count);
  else fold_columns("reduce", fold, outer, count, inner);
}

}  // namespace

template <class T>
void reduce(Reduction kind, const T* x, int64_t outer, int64_t count, int64_t inner, T* out) {
  switch (kind) {
    case Reduction::sum: return reduce_by<Reduction::sum>(x, outer, count, inner, out);
    case Reduction::max: return reduce_by<Reduction::max>(x, outer, count, inner, out);
    case Reduction::min: return reduce_by<Reduction::min>(x, outer, count, inner, out);
  }
}

template <class T>
void finish_sum(const double* partials, int64_t count, T* out) {
  using Fold = Reduce<Reduction::sum, double, T>;
  const Fold fold{partials, out, true};
  launch("finish_sum", fold_long_rows<Fold>, dim3(1), dim3(kRowThreads), 0, fold, 1, count, std::max<int64_t>(1, count),
         1, nullptr);
}

#define MOLLIFY_INSTANTIATE(T)                                                  \
  template void reduce(Reduction, const T*, int64_t, int64_t, int64_t, T*);     \
  template void finish_sum(const double*, int64_t, T*);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
