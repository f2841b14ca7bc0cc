#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/device.cuh>
#include <mollify/engine/cuda/gemm.h>

#include <string_view>

namespace mollify::cuda {
namespace {

bool is_product(const Conv2dShape& s) {
  return s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 && s.stride_width == 1 && s.pad_top == 0 &&
         s.pad_left == 0 && s.groups == 1 && s.out_height == s.height && s.out_width == s.width;
}

template <class T>
void run_product(Conv2dKind kind, const Conv2dCall<T>& call) {
  const Conv2dShape s = cpu::flattened(call.shape);
  const int64_t pixels = s.batch * s.height * s.width, channels = s.channels, filters = s.filters;
  switch (kind) {
    case Conv2dKind::forward:
      return gemm<T>(pixels, filters, channels, {call.left, channels, 1}, {call.right, 1, channels}, call.bias,
                     call.out, filters);
    case Conv2dKind::input_gradient:
      return gemm<T>(pixels, channels, filters, {call.left, filters, 1}, {call.right, channels, 1}, nullptr, call.out,
                     channels);
    case Conv2dKind::weight_gradient:
      return gemm<T>(filters, channels, pixels, {call.left, 1, filters}, {call.right, channels, 1}, nullptr, call.out,
                     channels);
  }
}

constexpr int kThreads = 256;

// kLanes threads share the slices of one result, as many slices of few results would leave the device idle.
template <class T, int kLanes>
__global__ void add_slices(const T* partials, int64_t slices, int64_t count, const T* bias, int64_t bias_count,
                           T* out) {
  constexpr int kResults = kThreads / kLanes;
  __shared__ double lanes[kLanes][kResults];
  const int lane = threadIdx.x / kResults, own = threadIdx.x % kResults;
  for (int64_t first = int64_t{blockIdx.x} * kResults; first < count; first += int64_t{gridDim.x} * kResults) {
    const int64_t i = first + own;
    double sum = 0;
    if (i < count) {
#pragma unroll 4
      for (int64_t slice = lane; slice < slices; slice += kLanes) sum += partials[slice * count + i];
    }
    if constexpr (kLanes > 1) {
      __syncthreads();  // the results before have been read
      lanes[lane][own] = sum;
      __syncthreads();
      for (int j = 1; j < kLanes; ++j) sum += lanes[j][own];  // of use to lane 0
    }
    if (lane == 0 && i < count) out[i] = static_cast<T>(bias ? sum + bias[i % bias_count] : sum);
  }
}

template <class T>
std::vector<Conv2dAlgorithm<T>> algorithms(Conv2dKind kind) {
  const bool weights = kind == Conv2dKind::weight_gradient;
  std::vector<Conv2dAlgorithm<T>> list{conv2d_by_product<T>(), conv2d_grouped<T>()};
  if (!weights) list.push_back(conv2d_few_outputs<T>());
  if constexpr (std::is_same_v<T, float>) list.push_back(weights ? conv2d_tensor_weight_gradient() : conv2d_tensor());
  list.push_back(weights ? conv2d_tiled_weight_gradient<T>() : conv2d_tiled<T>());
  list.push_back(conv2d_im2col<T>());
  return list;
}

template <class T>
const std::vector<Conv2dAlgorithm<T>>& list(Conv2dKind kind) {
  static const std::vector<Conv2dAlgorithm<T>> lists[] = {algorithms<T>(Conv2dKind::forward),
                                                          algorithms<T>(Conv2dKind::input_gradient),
                                                          algorithms<T>(Conv2dKind::weight_gradient)};
  return lists[static_cast<int>(kind)];
}

int64_t image_count(const Conv2dShape& s) { return s.batch * s.height * s.width * s.channels; }
int64_t result_count(const Conv2dShape& s) { return s.batch * s.out_height * s.out_width * s.filters; }
int64_t weight_count(const Conv2dShape& s) {
  return s.filters * s.kernel_height * s.kernel_width * (s.channels / s.groups);
}

int64_t output_count(Conv2dKind kind, const Conv2dShape& s) {
  return kind == Conv2dKind::forward          ? result_count(s)
         : kind == Conv2dKind::input_gradient ? image_count(s)
                                              : weight_count(s);
}

template <class T>
const Conv2dAlgorithm<T>& choose(Conv2dKind kind, const Conv2dCall<T>& call) {
  for (const Conv2dAlgorithm<T>& algorithm : list<T>(kind)) {
    if (algorithm.accepts(kind, call) && algorithm.suits(kind, call)) return algorithm;
  }
  return list<T>(kind).back();
}

// Operands that kernels cannot read 16 bytes at a time are copied, so that neither the algorithm nor its order of
// summation depends on where a tensor lies: a view, or a piece of a captured step's memory.
template <class T, class Run>
void with_aligned(Conv2dKind kind, const Conv2dCall<T>& call, const Run& run) {
  const Conv2dShape& s = call.shape;
  const Aligned<T> left(call.left, kind == Conv2dKind::forward ? image_count(s) : result_count(s));
  const Aligned<T> right(call.right, kind == Conv2dKind::weight_gradient ? image_count(s) : weight_count(s));
  Conv2dCall<T> aligned = call;
  aligned.left = left.data();
  aligned.right = right.data();
  run(aligned);
}

template <class T>
void convolve(Conv2dKind kind, const Conv2dCall<T>& call) {
  if (output_count(kind, call.shape) == 0) return;
  with_aligned(kind, call, [&](const Conv2dCall<T>& aligned) { choose(kind, aligned).run(kind, aligned); });
}

}  // namespace

template <class T>
void sum_slices(const T* partials, int64_t slices, int64_t count, const T* bias, int64_t bias_count, T* out) {
  const bool many = slices >= 16;
  launch("conv2d", many ? add_slices<T, 8> : add_slices<T, 1>, grid_for(many ? count * 8 : count, kThreads), kThreads,
         0, partials, slices, count, bias, bias_count, out);
}

template <class T>
Conv2dAlgorithm<T> conv2d_by_product() {
  return {"product", [](Conv2dKind, const Conv2dCall<T>& call) { return is_product(cpu::flattened(call.shape)); },
          always, run_product<T>};
}

template <class T>
void conv2d(const Conv2dShape& shape, const T* x, const T* w, const T* bias, T* y) {
  convolve<T>(Conv2dKind::forward, {shape, x, w, bias, y});
}

template <class T>
void conv2d_input_gradient(const Conv2dShape& shape, const T* g, const T* w, T* dx) {
  convolve<T>(Conv2dKind::input_gradient, {shape, g, w, nullptr, dx});
}

template <class T>
void conv2d_weight_gradient(const Conv2dShape& shape, const T* g, const T* x, T* dw) {
  convolve<T>(Conv2dKind::weight_gradient, {shape, g, x, nullptr, dw});
}

std::vector<const char*> conv2d_algorithms(Conv2dKind kind) {
  std::vector<const char*> names;
  for (const Conv2dAlgorithm<float>& algorithm : list<float>(kind)) names.push_back(algorithm.name);
  return names;
}

template <class T>
bool run_conv2d(Conv2dKind kind, const char* name, const Conv2dCall<T>& call) {
  for (const Conv2dAlgorithm<T>& algorithm : list<T>(kind)) {
    if (std::string_view(algorithm.name) != name || !algorithm.accepts(kind, call)) continue;
    if (output_count(kind, call.shape) > 0)
      with_aligned(kind, call, [&](const Conv2dCall<T>& aligned) { algorithm.run(kind, aligned); });
    return true;
  }
  return false;
}

template <class T>
const char* chosen_conv2d(Conv2dKind kind, const Conv2dCall<T>& call) {
  return choose(kind, call).name;
}

#define MOLLIFY_INSTANTIATE(T)                                                      \
  template void sum_slices(const T*, int64_t, int64_t, const T*, int64_t, T*);          \
  template void conv2d(const Conv2dShape&, const T*, const T*, const T*, T*);       \
  template void conv2d_input_gradient(const Conv2dShape&, const T*, const T*, T*);  \
  template void conv2d_weight_gradient(const Conv2dShape&, const T*, const T*, T*); \
  template bool run_conv2d(Conv2dKind, const char*, const Conv2dCall<T>&);          \
  template const char* chosen_conv2d(Conv2dKind, const Conv2dCall<T>&);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
