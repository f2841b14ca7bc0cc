// Convolutions as matrix products of gathered columns: every shape, and the reference for the other algorithms.
#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/device.cuh>
#include <mollify/engine/cuda/gemm.h>

namespace mollify::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSlabBytes = int64_t{256} << 20;

// columns[pixel of the slab, tap, c] = what the tap reads in `group`, zero in the padding. x is the slab's first image.
template <class T>
__global__ void gather_columns(Conv2dShape s, int64_t images, int64_t group, const T* x, T* columns) {
  const int64_t in = s.channels / s.groups, taps = s.kernel_height * s.kernel_width;
  const int64_t count = images * s.out_height * s.out_width * taps * in;
  for (int64_t i = global_thread(); i < count; i += global_threads()) {
    const int64_t c = i % in, tap = i / in % taps, pixel = i / in / taps;
    const int64_t ow = pixel % s.out_width, oh = pixel / s.out_width % s.out_height,
                  n = pixel / s.out_width / s.out_height;
    const int64_t h = oh * s.stride_height - s.pad_top + tap / s.kernel_width * s.dilation_height;
    const int64_t w = ow * s.stride_width - s.pad_left + tap % s.kernel_width * s.dilation_width;
    const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
    columns[i] = inside ? x[((n * s.height + h) * s.width + w) * s.channels + group * in + c] : T(0);
  }
}

// The transpose: every input sums what the taps that read it gave, in the order of the taps.
template <class T>
__global__ void sum_columns(Conv2dShape s, int64_t images, int64_t group, const T* columns, T* dx) {
  const int64_t in = s.channels / s.groups, taps = s.kernel_height * s.kernel_width;
  const int64_t count = images * s.height * s.width * in;
  for (int64_t i = global_thread(); i < count; i += global_threads()) {
    const int64_t c = i % in, pixel = i / in;
    const int64_t w = pixel % s.width, h = pixel / s.width % s.height, n = pixel / s.width / s.height;
    T sum = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t down = h + s.pad_top - tap / s.kernel_width * s.dilation_height,
                    right = w + s.pad_left - tap % s.kernel_width * s.dilation_width;
      if (down < 0 || right < 0 || down % s.stride_height || right % s.stride_width) continue;
      const int64_t oh = down / s.stride_height, ow = right / s.stride_width;
      if (oh < s.out_height && ow < s.out_width)
        sum += columns[(((n * s.out_height + oh) * s.out_width + ow) * taps + tap) * in + c];
    }
    dx[pixel * s.channels + group * in + c] = sum;
  }
}

// Walks slabs of whole images, and the groups of each: body(slab, first image, images, group).
template <class T, class Body>
void for_slabs(const Conv2dShape& s, int64_t slab_images, Body body) {
  for (int64_t slab = 0; slab * slab_images < s.batch; ++slab) {
    const int64_t first = slab * slab_images, images = std::min(slab_images, s.batch - first);
    for (int64_t group = 0; group < s.groups; ++group) body(slab, first, images, group);
  }
}

template <class T>
void run_im2col(Conv2dKind kind, const Conv2dCall<T>& call) {
  const Conv2dShape& s = call.shape;
  const int64_t in = s.channels / s.groups, out = s.filters / s.groups, depth = s.kernel_height * s.kernel_width * in;
  const int64_t pixels = s.out_height * s.out_width, x_image = s.height * s.width * s.channels,
                y_image = pixels * s.filters;
  const int64_t image_bytes = std::max<int64_t>(1, pixels * depth * int64_t{sizeof(T)});
  const int64_t slab_images = std::clamp<int64_t>(kSlabBytes / image_bytes, 1, std::max<int64_t>(1, s.batch));
  const int64_t slabs = (s.batch + slab_images - 1) / slab_images, weights = s.filters * depth;
  Scratch<T> columns(std::max<int64_t>(1, slab_images * pixels * depth));
  const auto gather = [&](int64_t images, int64_t group, const T* x) {
    if (depth > 0)
      launch("conv2d", gather_columns<T>, grid_for(images * pixels * depth, kThreads), kThreads, 0, s, images, group, x,
             columns.data());
  };

  if (kind == Conv2dKind::forward) {
    for_slabs<T>(s, slab_images, [&](int64_t, int64_t first, int64_t images, int64_t group) {
      gather(images, group, call.left + first * x_image);
      gemm<T>(images * pixels, out, depth, {columns.data(), depth, 1}, {call.right + group * out * depth, 1, depth},
              call.bias ? call.bias + group * out : nullptr, call.out + first * y_image + group * out, s.filters);
    });
  } else if (kind == Conv2dKind::input_gradient) {
    for_slabs<T>(s, slab_images, [&](int64_t, int64_t first, int64_t images, int64_t group) {
      gemm<T>(images * pixels, depth, out, {call.left + first * y_image + group * out, s.filters, 1},
              {call.right + group * out * depth, depth, 1}, nullptr, columns.data(), depth);
      launch("conv2d_input_gradient", sum_columns<T>, grid_for(images * s.height * s.width * in, kThreads), kThreads, 0,
             s, images, group, columns.data(), call.out + first * x_image);
    });
  } else {
    const Slices<T> result(slabs, weights, call.out);
    for_slabs<T>(s, slab_images, [&](int64_t slab, int64_t first, int64_t images, int64_t group) {
      gather(images, group, call.right + first * x_image);
      gemm<T>(out, depth, images * pixels, {call.left + first * y_image + group * out, 1, s.filters},
              {columns.data(), depth, 1}, nullptr, result.data() + slab * weights + group * out * depth, depth);
    });
    result.finish();  // of no slabs: zero
  }
}

}  // namespace

template <class T>
Conv2dAlgorithm<T> conv2d_im2col() {
  return {"im2col", always, always, run_im2col<T>};
}

template Conv2dAlgorithm<float> conv2d_im2col();
template Conv2dAlgorithm<double> conv2d_im2col();

}  // namespace mollify::cuda
