// Matrix products.
#include <mollify/engine/cpu/gemm.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/gemm.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

Shape batch_of(const Shape& shape) { return Shape(shape.begin(), static_cast<size_t>(shape.rank() - 2)); }

Layouts matmul_shape(const Op& op, Inputs in, const Attributes&) {
  const Shape &a = in[0].shape(), &b = in[1].shape();
  require_floating(op.name, in[0]);
  require_same_dtype(op.name, in[0], in[1]);
  require(a.rank() >= 2 && b.rank() >= 2, "{}: left is {}, right is {}; both need at least 2 axes", op.name, a, b);
  require(a.back() == b[b.rank() - 2], "{}: left is {}, right is {}; left columns must equal right rows", op.name, a,
          b);
  Shape out = broadcast(op.name, batch_of(a), batch_of(b));
  out.push_back(a[a.rank() - 2]);
  out.push_back(b.back());
  return Layout::packed(out, in[0].dtype(), in[0].device());
}

// A copy unless one of the last two strides is 1, as products can read either way round.
Tensor readable(const Tensor& x) {
  const int n = x.rank();
  const int64_t row = x.strides()[n - 2], column = x.strides()[n - 1];
  const bool fits = (column == 1 && (row >= x.shape()[n - 1] || x.shape()[n - 2] == 1)) ||
                    (row == 1 && (column >= x.shape()[n - 2] || x.shape()[n - 1] == 1));
  return fits ? x : packed(x.detach());
}

// Stride of the batch axis `axis` (counted within `batch`) of x, 0 where it is broadcast.
int64_t batch_stride(const Tensor& x, const Shape& batch, int axis) {
  const int own = axis - (batch.rank() - (x.rank() - 2));
  return own < 0 || x.shape()[own] == 1 ? 0 : x.strides()[own];
}

Tensors matmul_operands(Inputs in, const Attributes&) { return {readable(in[0]), readable(in[1])}; }

void matmul_kernel(const KernelArguments& arguments) {
  const Tensor &a = arguments.in[0], &b = arguments.in[1];
  const Tensor& out = arguments.out[0];
  const Shape batch = batch_of(out.shape());
  const int64_t m = out.dim(-2), n = out.dim(-1), k = a.dim(-1), count = batch.size();
  for_floating(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto product = [&](int64_t i) {
      int64_t a_offset = 0, b_offset = 0, rest = i;
      for (int axis = batch.rank() - 1; axis >= 0; --axis) {
        const int64_t index = rest % batch[axis];
        rest /= batch[axis];
        a_offset += index * batch_stride(a, batch, axis);
        b_offset += index * batch_stride(b, batch, axis);
      }
      const cpu::Matrix<T> left{a.data<T>() + a_offset, a.strides()[a.rank() - 2], a.strides()[a.rank() - 1]};
      const cpu::Matrix<T> right{b.data<T>() + b_offset, b.strides()[b.rank() - 2], b.strides()[b.rank() - 1]};
      cpu::gemm<T>(m, n, k, left, right, nullptr, out.data<T>() + i * m * n, n);
    };
    if (count == 1) return product(0);
    // Many products: each on one thread.
    cpu::parallel_for(count, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, m * n * k)),
                      [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) product(i);
                      });
  });
}

#ifdef MOLLIFY_CUDA
// Stride by which x moves from one product of the batch to the next; −1 where no single one does.
int64_t common_stride(const Tensor& x, const Shape& batch) {
  int64_t stride = 0, next = 0;
  bool first = true;
  for (int axis = batch.rank() - 1; axis >= 0; --axis) {
    if (batch[axis] == 1) continue;
    const int64_t own = batch_stride(x, batch, axis);
    if (first) stride = own;
    else if (own != next) return -1;
    next = own * batch[axis];
    first = false;
  }
  return stride;
}

void matmul_on_cuda(const KernelArguments& arguments) {
  const Tensor& out = arguments.out[0];
  const Shape batch = batch_of(out.shape());
  // What repeats along some axes of the batch only is laid out in full: one launch for all products.
  const auto uniform = [&](const Tensor& x) {
    if (common_stride(x, batch) >= 0) return x;
    Shape shape = batch;
    for (int axis : {-2, -1}) shape.push_back(x.dim(axis));
    return packed(expand(x, shape));
  };
  const Tensor a = uniform(arguments.in[0]), b = uniform(arguments.in[1]);
  const int64_t m = out.dim(-2), n = out.dim(-1), k = a.dim(-1);
  for_floating(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::Matrix<T> left{a.address<T>(), a.strides()[a.rank() - 2], a.strides()[a.rank() - 1]};
    const cpu::Matrix<T> right{b.address<T>(), b.strides()[b.rank() - 2], b.strides()[b.rank() - 1]};
    if (batch.size() == 1) cuda::gemm<T>(m, n, k, left, right, nullptr, out.address<T>(), n);
    else
      cuda::gemm_batched<T>(batch.size(), m, n, k, left, common_stride(a, batch), right, common_stride(b, batch),
                            out.address<T>(), m * n);
  });
}
#endif

const Op matmul_op{.name = "matmul",
                   .linearity = Linearity::product,
                   .shape = matmul_shape,
                   .cpu = matmul_kernel,
                   .cuda = MOLLIFY_CUDA_KERNEL(matmul_on_cuda),
                   .operands = matmul_operands,
                   .vjp = [](const VjpArguments& a) -> Tensors {
                     return {a.needs(0) ? matmul(a.g, transpose(a.in[1])) : Tensor(),
                             a.needs(1) ? matmul(transpose(a.in[0]), a.g) : Tensor()};
                   }};

// ---- dense: rows of x times a weight matrix [out, in], with the bias added by the product's kernel

Layouts dense_shape(const Op& op, Inputs in, const Attributes&) {
  const Tensor &x = in[0], &w = in[1];
  require_floating(op.name, x);
  require_same_dtype(op.name, x, w);
  require(x.rank() >= 1 && w.rank() == 2 && x.shape().back() == w.shape()[1],
          "{}: input is {}, weight is {}; needs a weight [out, in] with as many columns as the input's last axis",
          op.name, x.shape(), w.shape());
  if (in.size() > 2) {
    require_same_dtype(op.name, x, in[2]);
    require(in[2].shape() == Shape{w.shape()[0]}, "{}: weight is {}, bias is {}; needs one number per output", op.name,
            w.shape(), in[2].shape());
  }
  Shape out = x.shape();
  out[out.rank() - 1] = w.shape()[0];
  return Layout::packed(out, x.dtype(), x.device());
}

Tensors dense_operands(Inputs in, const Attributes&) {
  Tensors out(in.size());
  for (size_t i = 0; i < in.size(); ++i) out[i] = i == 1 ? readable(in[i]) : packed_operand(in[i]);
  return out;
}

void dense_kernel(const KernelArguments& a) {
  const Tensor &x = a.in[0], &w = a.in[1];
  const int64_t outputs = w.dim(0), inputs = w.dim(1), rows = extent_product(x.shape(), 0, x.rank() - 1);
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::Matrix<T> left{x.address<T>(), inputs, 1}, right{w.address<T>(), w.strides()[1], w.strides()[0]};
    const T* bias = a.in.size() > 2 ? a.in[2].address<T>() : nullptr;
    MOLLIFY_ON(x.device(), gemm<T>(rows, outputs, inputs, left, right, bias, a.out[0].address<T>(), outputs));
  });
}

Tensor as_rows(const Tensor& x) {
  return x.rank() == 2 ? x : reshape(x, {extent_product(x.shape(), 0, x.rank() - 1), x.shape().back()});
}

const Op dense_op{.name = "dense",
                  .linearity = Linearity::product,
                  .shape = dense_shape,
                  .cpu = dense_kernel,
                  .cuda = MOLLIFY_CUDA_KERNEL(dense_kernel),
                  .operands = dense_operands,
                  .vjp = [](const VjpArguments& a) -> Tensors {
                    const Tensor g = as_rows(a.g);
                    Tensor to_x;
                    if (a.needs(0)) {
                      Shape shape = a.g.shape();  // leading extents from the gradient
                      shape[shape.rank() - 1] = a.in[0].shape().back();
                      to_x = reshape(matmul(g, a.in[1]), shape);
                    }
                    return {to_x, a.needs(1) ? matmul(transpose(g), as_rows(a.in[0])) : Tensor(),
                            a.in.size() > 2 && a.needs(2) ? sum(g, {0}) : Tensor()};
                  }};

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) { return apply(matmul_op, {a, b}); }

Tensor dense(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return bias.defined() ? apply(dense_op, {x, weight, bias}) : apply(dense_op, {x, weight});
}

}  // namespace mollify
