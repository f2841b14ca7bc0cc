// Pooling over the height and width of [N, H, W, C].
#include <mollify/engine/cpu/pool2d.h>
#include <mollify/engine/cuda/pool2d.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>

namespace mollify {
namespace {

// The pooling, and the input's extents where only the gradient is given (else 0).
struct Setup {
  using Prefix = Pool2d;
  Pool2d how;
  int64_t height, width;
};

cpu::Pool2dShape geometry(const char* name, const Shape& x, const Pool2d& p) {
  require<ValueError>(p.kernel_height >= 1 && p.kernel_width >= 1 && p.stride_height >= 1 && p.stride_width >= 1,
                      "{}: window {} x {}, strides {} and {}; all need at least 1", name, p.kernel_height,
                      p.kernel_width, p.stride_height, p.stride_width);
  require<ValueError>(std::min({p.pad_top, p.pad_bottom, p.pad_left, p.pad_right}) >= 0 &&
                          std::max(p.pad_top, p.pad_bottom) < p.kernel_height &&
                          std::max(p.pad_left, p.pad_right) < p.kernel_width,
                      "{}: padding {}, {}, {}, {}; needs at least 0 and less than the window of {} x {}", name,
                      p.pad_top, p.pad_bottom, p.pad_left, p.pad_right, p.kernel_height, p.kernel_width);
  require(x.rank() == 4, "{}: input is {}; needs [N, H, W, C]", name, x);
  const int64_t height = x[1] + p.pad_top + p.pad_bottom, width = x[2] + p.pad_left + p.pad_right;
  require(p.kernel_height <= height && p.kernel_width <= width,
          "{}: input is {}; a window of {} x {} does not fit in a padded {} x {}", name, x, p.kernel_height,
          p.kernel_width, height, width);
  return {.batch = x[0],
          .height = x[1],
          .width = x[2],
          .channels = x[3],
          .kernel_height = p.kernel_height,
          .kernel_width = p.kernel_width,
          .stride_height = p.stride_height,
          .stride_width = p.stride_width,
          .pad_top = p.pad_top,
          .pad_left = p.pad_left,
          .out_height = (height - p.kernel_height) / p.stride_height + 1,
          .out_width = (width - p.kernel_width) / p.stride_width + 1};
}

Shape output_of(const cpu::Pool2dShape& s) { return {s.batch, s.out_height, s.out_width, s.channels}; }
Shape pooled(const char* name, const Shape& x, const Pool2d& p) { return output_of(geometry(name, x, p)); }

void average_kernel(const KernelArguments& a) {
  const cpu::Pool2dShape shape = geometry("average_pool2d", a.in[0].shape(), a.attributes.as<Setup>().how);
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(a.in[0].device(), average_pool2d<T>(shape, a.in[0].address<T>(), a.out[0].address<T>()));
  });
}

void average_gradient_kernel(const KernelArguments& a) {
  const cpu::Pool2dShape shape = geometry("average_pool2d_gradient", a.out[0].shape(), a.attributes.as<Setup>().how);
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(a.in[0].device(), average_pool2d_gradient<T>(shape, a.in[0].address<T>(), a.out[0].address<T>()));
  });
}

void max_kernel(const KernelArguments& a) {
  const cpu::Pool2dShape shape = geometry("max_pool2d", a.in[0].shape(), a.attributes.as<Pool2d>());
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(a.in[0].device(),
               max_pool2d<T>(shape, a.in[0].address<T>(), a.out[0].address<T>(), a.out[1].address<int32_t>()));
  });
}

const Op average_pool2d_op{.name = "average_pool2d",
                           .linearity = Linearity::sum,
                           .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
                             require_floating(op.name, in[0]);
                             return Layout::packed(pooled(op.name, in[0].shape(), attributes.as<Setup>().how),
                                                   in[0].dtype(), in[0].device());
                           },
                           .cpu = average_kernel,
                           .cuda = MOLLIFY_CUDA_KERNEL(average_kernel),
                           .operands = packed_operands,
                           .vjp = [](const VjpArguments& a) -> Tensors {
                             const Shape& x = a.in[0].shape();
                             return average_pool2d_gradient(a.g, x[1], x[2], a.as<Setup>().how);
                           }};

const Op average_pool2d_gradient_op{
    .name = "average_pool2d_gradient",
    .linearity = Linearity::sum,
    .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
      require_floating(op.name, in[0]);
      const Setup& s = attributes.as<Setup>();
      const Shape& g = in[0].shape();
      require(g.rank() == 4, "{}: gradient is {}; needs [N, OH, OW, C]", op.name, g);
      const Shape x{g[0], s.height, s.width, g[3]}, expected = pooled(op.name, x, s.how);
      require(expected == g, "{}: gradient is {}; an input of {} x {} gives {}", op.name, g, s.height, s.width,
              expected);
      return Layout::packed(x, in[0].dtype(), in[0].device());
    },
    .cpu = average_gradient_kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(average_gradient_kernel),
    .operands = packed_operands,
    .vjp = [](const VjpArguments& a) -> Tensors { return average_pool2d(a.g, a.as<Setup>().how); }};

const Op max_pool2d_op{
    .name = "max_pool2d",
    .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
      require_floating(op.name, in[0]);
      const Shape y = pooled(op.name, in[0].shape(), attributes.as<Pool2d>());
      require(extent_product(in[0].shape(), 1, 4) <= INT32_MAX,
              "{}: input is {}; an image of at most 2^31 numbers can be indexed", op.name, in[0].shape());
      return {Layout::packed(y, in[0].dtype(), in[0].device()), Layout::packed(y, DType::i32, in[0].device())};
    },
    .cpu = max_kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(max_kernel),
    .operands = packed_operands,
    .vjp = [](const VjpArguments& a) -> Tensors {
      const Shape& x = a.in[0].shape();
      const Tensor flat = scatter_add({x[0], extent_product(x, 1, 4)}, flatten(a.saved(1), 1), flatten(a.g, 1));
      return reshape(flat, x);
    }};

}  // namespace

Tensor average_pool2d(const Tensor& x, const Pool2d& how) { return apply(average_pool2d_op, {x}, Setup{how, 0, 0}); }

Tensor average_pool2d_gradient(const Tensor& g, int64_t height, int64_t width, const Pool2d& how) {
  return apply(average_pool2d_gradient_op, {g}, Setup{how, height, width});
}

ValuesAndIndices max_pool2d_with_indices(const Tensor& x, const Pool2d& how) {
  const Tensors both = apply_all(max_pool2d_op, {x}, how);
  return {both[0], both[1]};
}

Tensor max_pool2d(const Tensor& x, const Pool2d& how) { return max_pool2d_with_indices(x, how).values; }

}  // namespace mollify
