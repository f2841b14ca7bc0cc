#include <mollify/nn/bounds/row_operands.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/nn/bounds/cuda/rows.h>

namespace mollify::nn::bounds {

void check(const char* operation, const Operands& o) {
  if (o.pairs.all()) return;
  int64_t before = 0;
  const Places places(o.pairs, 1, o.samples());
  for (int64_t i = 0; i < o.pairs.sample.size(); ++i) {
    const Place place = places[i];
    require<ValueError>(
        place.sample >= before && place.sample < o.samples() && place.row >= 0 && place.row < o.rows.shape()[1],
        "{}: pair {} is of row {} and sample {}; needs rows below {} and samples that rise below {}", operation, i,
        place.row, place.sample, o.rows.shape()[1], o.samples());
    before = place.sample;
  }
}

namespace {

// A window [height, width, channels] in an image.
struct WindowShape {
  Window window;
  int64_t columns, height, width, channels, image_height, image_width;

  int64_t size() const { return height * width * channels; }
  int32_t outside() const { return static_cast<int32_t>(image_height * image_width * channels); }
  Runs runs(const Tensor& place) const {
    return {place, window, columns, {1, 1, height, width, channels}, {1, 1, image_height, image_width, channels}};
  }
};

void number_windows(const KernelArguments& a) {
  const WindowShape& w = a.attributes.as<WindowShape>();
  const Runs runs = w.runs(a.in[0]);
  const int64_t size = w.size(), most = std::max<int64_t>(1, size);
  int32_t* out = a.out[0].data<int32_t>();
  cpu::parallel_for(a.in[0].size(), std::max<int64_t>(1, 16384 / most), [&](int64_t begin, int64_t end) {
    std::fill(out + begin * size, out + end * size, w.outside());
    for (int64_t i = begin; i < end; ++i)
      runs.each(i, [&](int64_t own, int64_t line, int64_t count) {
        for (int64_t k = 0; k < count; ++k) out[i * size + own + k] = static_cast<int32_t>(line + k);
      });
  });
}

#ifdef MOLLIFY_CUDA
void number_windows_on_cuda(const KernelArguments& a) {
  const WindowShape& w = a.attributes.as<WindowShape>();
  cuda::window_numbers(w.runs(a.in[0]), a.in[0].size(), w.size(), w.outside(), a.out[0].address<int32_t>());
}
#endif

const Op window_numbers_op{
    .name = "window_numbers",
    .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
      require_indices(op.name, in[0]);
      return Layout::packed({in[0].size(), attributes.as<WindowShape>().size()}, DType::i32, in[0].device());
    },
    .cpu = number_windows,
    .cuda = MOLLIFY_CUDA_KERNEL(number_windows_on_cuda),
    .operands = packed_operands};

}  // namespace

Tensor window_numbers(const Pairs& pairs, const Window& window, const Shape& rows, const Shape& image) {
  const int axis = image.rank() - 3;
  return apply(window_numbers_op, {pairs.place},
               WindowShape{window, pairs.columns, rows[2], rows[3], rows[4], image[axis], image[axis + 1]});
}

}  // namespace mollify::nn::bounds
