#include <mollify/engine/cuda/rows.cuh>
#include <mollify/engine/cuda/sort.h>

namespace mollify::cuda {
namespace {

constexpr int32_t kNowhere = std::numeric_limits<int32_t>::max();

template <class T>
struct Argmax {
  using Number = T;
  struct State {
    T value;
    int32_t index;
  };

  const T* x;
  int32_t* out;

  __device__ State neutral() const { return {-kInfinity<T>, kNowhere}; }
  __device__ T padding() const { return -kInfinity<T>; }  // never wins: its index is past the row's end

  // NaN beats all numbers; the lower index wins among equals.
  __device__ State join(const State& a, const State& b) const {
    const bool b_beats = b.value > a.value || (b.value != b.value && a.value == a.value);
    const bool a_beats = a.value > b.value || (a.value != a.value && b.value == b.value);
    return b_beats || (!a_beats && b.index < a.index) ? b : a;
  }

  __device__ State other_lane(const State& state, int offset) const {
    return {__shfl_xor_sync(kAllLanes, state.value, offset), __shfl_xor_sync(kAllLanes, state.index, offset)};
  }

  template <int n>
  __device__ void add(State& state, const T (&values)[n], int64_t first, int64_t stride) const {
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) {
      const int64_t index = first + i / kPack<T> * stride + i % kPack<T>;
      state = join(state, {values[i], static_cast<int32_t>(index)});
    }
  }

  __device__ void finish(int64_t row, const State& state) const { out[row] = state.index; }
};

}  // namespace

template <class T>
void argmax(const T* x, int64_t rows, int64_t count, int32_t* out) {
  fold_rows("argmax", Argmax<T>{x, out}, rows, count);
}

template void argmax(const float*, int64_t, int64_t, int32_t*);
template void argmax(const double*, int64_t, int64_t, int32_t*);

}  // namespace mollify::cuda
