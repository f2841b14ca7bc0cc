// Convolution and its two gradients: three bilinear operations, closed under differentiation.
#include <mollify/engine/cpu/conv2d.h>
#include <mollify/engine/cuda/conv2d.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

// The convolution, and of what a gradient is taken the two extents that its inputs do not tell (else 0).
struct Setup {
  using Prefix = Conv2d;
  Conv2d how;
  int64_t height, width;
};

void check(const char* name, const Conv2d& c) {
  require<ValueError>(
      c.stride_height >= 1 && c.stride_width >= 1 && c.dilation_height >= 1 && c.dilation_width >= 1 && c.groups >= 1,
      "{}: strides {} and {}, dilations {} and {}, {} groups; all need at least 1", name, c.stride_height,
      c.stride_width, c.dilation_height, c.dilation_width, c.groups);
  require<ValueError>(c.pad_top >= 0 && c.pad_bottom >= 0 && c.pad_left >= 0 && c.pad_right >= 0,
                      "{}: padding {}, {}, {}, {}; needs at least 0", name, c.pad_top, c.pad_bottom, c.pad_left,
                      c.pad_right);
}

// Extents of x [N, H, W, C] convolved with w [O, KH, KW, C/groups]; throws where they do not fit.
cpu::Conv2dShape geometry(const char* name, const Shape& x, const Shape& w, const Conv2d& c) {
  check(name, c);
  require(x.rank() == 4 && w.rank() == 4, "{}: input is {}, weight is {}; needs [N, H, W, C] and [O, KH, KW, C/groups]",
          name, x, w);
  require(x[3] == w[3] * c.groups,
          "{}: input is {}, weight is {}, {} groups; the weight's last axis times the groups must equal the input's "
          "channels",
          name, x, w, c.groups);
  require(w[0] % c.groups == 0, "{}: weight is {}, {} groups; the groups must divide the filters", name, w, c.groups);
  const int64_t covered_height = c.dilation_height * (w[1] - 1) + 1, covered_width = c.dilation_width * (w[2] - 1) + 1;
  const int64_t height = x[1] + c.pad_top + c.pad_bottom, width = x[2] + c.pad_left + c.pad_right;
  require(w[1] >= 1 && w[2] >= 1 && covered_height <= height && covered_width <= width,
          "{}: input is {}, weight is {}; the kernel covers {} x {} of a padded {} x {}", name, x, w, covered_height,
          covered_width, height, width);
  return {.batch = x[0],
          .height = x[1],
          .width = x[2],
          .channels = x[3],
          .filters = w[0],
          .kernel_height = w[1],
          .kernel_width = w[2],
          .stride_height = c.stride_height,
          .stride_width = c.stride_width,
          .pad_top = c.pad_top,
          .pad_left = c.pad_left,
          .dilation_height = c.dilation_height,
          .dilation_width = c.dilation_width,
          .groups = c.groups,
          .out_height = (height - covered_height) / c.stride_height + 1,
          .out_width = (width - covered_width) / c.stride_width + 1};
}

Shape output_of(const cpu::Conv2dShape& s) { return {s.batch, s.out_height, s.out_width, s.filters}; }

cpu::Conv2dShape forward_geometry(Inputs in, const Attributes& attributes, const char* name = "conv2d") {
  return geometry(name, in[0].shape(), in[1].shape(), attributes.as<Setup>().how);
}

// in: g [N, OH, OW, O], w
cpu::Conv2dShape input_gradient_geometry(Inputs in, const Attributes& attributes,
                                         const char* name = "conv2d_input_gradient") {
  const Setup& s = attributes.as<Setup>();
  const Shape &g = in[0].shape(), &w = in[1].shape();
  require(g.rank() == 4 && w.rank() == 4,
          "{}: gradient is {}, weight is {}; needs [N, OH, OW, O] and [O, KH, KW, C/groups]", name, g, w);
  const cpu::Conv2dShape c = geometry(name, {g[0], s.height, s.width, w[3] * s.how.groups}, w, s.how);
  require(output_of(c) == g, "{}: gradient is {}; an input of {} x {} and weight {} give {}", name, g, s.height,
          s.width, w, output_of(c));
  return c;
}

// in: g [N, OH, OW, O], x [N, H, W, C]
cpu::Conv2dShape weight_gradient_geometry(Inputs in, const Attributes& attributes,
                                          const char* name = "conv2d_weight_gradient") {
  const Setup& s = attributes.as<Setup>();
  const Shape &g = in[0].shape(), &x = in[1].shape();
  require(g.rank() == 4 && x.rank() == 4 && s.how.groups >= 1,
          "{}: gradient is {}, input is {}; needs [N, OH, OW, O] and [N, H, W, C]", name, g, x);
  const cpu::Conv2dShape c = geometry(name, x, {g[3], s.height, s.width, x[3] / s.how.groups}, s.how);
  require(output_of(c) == g, "{}: gradient is {}; input {} and a kernel of {} x {} give {}", name, g, x, s.height,
          s.width, output_of(c));
  return c;
}

void check_dtypes(const Op& op, Inputs in) {
  require_floating(op.name, in[0]);
  for (size_t i = 1; i < in.size(); ++i) require_same_dtype(op.name, in[0], in[i]);
}

void conv2d_kernel(const KernelArguments& a) {
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* bias = a.in.size() > 2 ? a.in[2].address<T>() : nullptr;
    MOLLIFY_ON(a.in[0].device(), conv2d<T>(forward_geometry(a.in, a.attributes), a.in[0].address<T>(),
                                           a.in[1].address<T>(), bias, a.out[0].address<T>()));
  });
}

void input_gradient_kernel(const KernelArguments& a) {
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::Conv2dShape shape = input_gradient_geometry(a.in, a.attributes);
    MOLLIFY_ON(a.in[0].device(),
               conv2d_input_gradient<T>(shape, a.in[0].address<T>(), a.in[1].address<T>(), a.out[0].address<T>()));
  });
}

void weight_gradient_kernel(const KernelArguments& a) {
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::Conv2dShape shape = weight_gradient_geometry(a.in, a.attributes);
    MOLLIFY_ON(a.in[0].device(),
               conv2d_weight_gradient<T>(shape, a.in[0].address<T>(), a.in[1].address<T>(), a.out[0].address<T>()));
  });
}

const Op conv2d_op{.name = "conv2d",
                   .linearity = Linearity::product,
                   .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
                     check_dtypes(op, in);
                     const cpu::Conv2dShape s = forward_geometry(in, attributes);
                     require(in.size() < 3 || in[2].shape() == Shape{s.filters},
                             "{}: weight is {}, bias is {}; needs one number per filter", op.name, in[1].shape(),
                             in.size() > 2 ? in[2].shape() : Shape());
                     return Layout::packed(output_of(s), in[0].dtype(), in[0].device());
                   },
                   .cpu = conv2d_kernel,
                   .cuda = MOLLIFY_CUDA_KERNEL(conv2d_kernel),
                   .operands = packed_operands,
                   .vjp = [](const VjpArguments& a) -> Tensors {
                     const Shape &x = a.in[0].shape(), &w = a.in[1].shape();
                     const Conv2d& how = a.as<Setup>().how;
                     return {a.needs(0) ? conv2d_input_gradient(a.g, a.in[1], x[1], x[2], how) : Tensor(),
                             a.needs(1) ? conv2d_weight_gradient(a.g, a.in[0], w[1], w[2], how) : Tensor(),
                             a.in.size() > 2 && a.needs(2) ? sum(a.g, {0, 1, 2}) : Tensor()};
                   }};

const Op conv2d_input_gradient_op{
    .name = "conv2d_input_gradient",
    .linearity = Linearity::product,
    .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
      check_dtypes(op, in);
      const cpu::Conv2dShape s = input_gradient_geometry(in, attributes);
      return Layout::packed({s.batch, s.height, s.width, s.channels}, in[0].dtype(), in[0].device());
    },
    .cpu = input_gradient_kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(input_gradient_kernel),
    .operands = packed_operands,
    .vjp = [](const VjpArguments& a) -> Tensors {  // a.g is like x
      const Shape& w = a.in[1].shape();
      const Conv2d& how = a.as<Setup>().how;
      return {a.needs(0) ? conv2d(a.g, a.in[1], {}, how) : Tensor(),
              a.needs(1) ? conv2d_weight_gradient(a.in[0], a.g, w[1], w[2], how) : Tensor()};
    }};

const Op conv2d_weight_gradient_op{
    .name = "conv2d_weight_gradient",
    .linearity = Linearity::product,
    .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
      check_dtypes(op, in);
      const cpu::Conv2dShape s = weight_gradient_geometry(in, attributes);
      return Layout::packed({s.filters, s.kernel_height, s.kernel_width, s.channels / s.groups}, in[0].dtype(),
                            in[0].device());
    },
    .cpu = weight_gradient_kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(weight_gradient_kernel),
    .operands = packed_operands,
    .vjp = [](const VjpArguments& a) -> Tensors {  // a.g is like w
      const Shape& x = a.in[1].shape();
      const Conv2d& how = a.as<Setup>().how;
      return {a.needs(0) ? conv2d(a.in[1], a.g, {}, how) : Tensor(),
              a.needs(1) ? conv2d_input_gradient(a.in[0], a.g, x[1], x[2], how) : Tensor()};
    }};

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const Conv2d& how) {
  const Setup setup{how, 0, 0};
  return bias.defined() ? apply(conv2d_op, {x, w, bias}, setup) : apply(conv2d_op, {x, w}, setup);
}

Tensor conv2d_input_gradient(const Tensor& g, const Tensor& w, int64_t height, int64_t width, const Conv2d& how) {
  return apply(conv2d_input_gradient_op, {g, w}, Setup{how, height, width});
}

Tensor conv2d_weight_gradient(const Tensor& g, const Tensor& x, int64_t kernel_height, int64_t kernel_width,
                              const Conv2d& how) {
  return apply(conv2d_weight_gradient_op, {g, x}, Setup{how, kernel_height, kernel_width});
}

}  // namespace mollify
