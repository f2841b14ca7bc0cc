#include <mollify/engine/cuda/reduce.h>
#include <mollify/engine/cuda/rows.cuh>

namespace mollify::cuda {
namespace {

// What is subtracted from numbers of this maximum before exp; infinities and NaN are left to exp itself.
template <class T>
__device__ T shift_for(T largest) {
  return largest - largest == 0 ? largest : T{0};
}

// One pass over memory: a run's numbers are shifted by the maximum so far, and the total of earlier ones is scaled to
// it.
template <class T>
struct LogSumExp {
  using Number = T;
  struct State {
    double total;  // Σ exp(x − shift_for(largest))
    T largest;     // NaN if there was one
  };

  const T* x;
  T* out;

  __device__ State neutral() const { return {0, -kInfinity<T>}; }
  __device__ T padding() const { return -kInfinity<T>; }
  __device__ static T larger(T a, T b) { return a < b || b != b ? b : a; }

  __device__ static double total_at(const State& state, T largest) {
    if (state.total == 0 || state.largest == largest) return state.total;
    return state.total * exp(static_cast<double>(shift_for(state.largest)) - static_cast<double>(shift_for(largest)));
  }

  __device__ State join(const State& a, const State& b) const {
    const T largest = larger(a.largest, b.largest);
    return {total_at(a, largest) + total_at(b, largest), largest};
  }

  __device__ State other_lane(const State& state, int offset) const {
    return {__shfl_xor_sync(kAllLanes, state.total, offset), __shfl_xor_sync(kAllLanes, state.largest, offset)};
  }

  template <int n>
  __device__ void add(State& state, const T (&values)[n], int64_t, int64_t) const {
    T largest = state.largest;
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) largest = larger(largest, values[i]);
    const T shift = shift_for(largest);
    T run = 0;
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) run += exp(values[i] - shift);
    state = {total_at(state, largest) + static_cast<double>(run), largest};
  }

  __device__ void finish(int64_t row, const State& state) const {
    out[row] = static_cast<T>(static_cast<double>(shift_for(state.largest)) + log(state.total));
  }
};

}  // namespace

template <class T>
void logsumexp(const T* x, int64_t rows, int64_t count, T* out) {
  fold_rows("logsumexp", LogSumExp<T>{x, out}, rows, count);
}

template void logsumexp(const float*, int64_t, int64_t, float*);
template void logsumexp(const double*, int64_t, int64_t, double*);

}  // namespace mollify::cuda
