// Reductions over axes, and what is defined along one axis: argmax, cumsum, sort, top_k.
#include <mollify/engine/cpu/reduce.h>
#include <mollify/engine/cpu/sort.h>
#include <mollify/engine/cuda/reduce.h>
#include <mollify/engine/cuda/sort.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <bit>
#include <limits>

namespace mollify {
namespace {

// ---- sum, max, min over the axes of a mask. Reduced axes stay with extent 1; the public functions drop them.

struct Reduced { uint32_t axes; };  // bit i: axis i

Shape reduced_shape(const Shape& shape, uint32_t axes) {
  Shape out = shape;
  for (int i = 0; i < shape.rank(); ++i)
    if (axes >> i & 1) out[i] = 1;
  return out;
}

Layouts reduce_shape(const Op& op, Inputs in, const Attributes& attributes) {
  require_floating(op.name, in[0]);
  return Layout::packed(reduced_shape(in[0].shape(), attributes.as<Reduced>().axes), in[0].dtype(), in[0].device());
}

Layouts extreme_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Layouts layouts = reduce_shape(op, in, attributes);
  require(in[0].size() > 0 || layouts[0].shape.size() == 0, "{}: shape {}; an extreme of no numbers is not defined",
          op.name, in[0].shape());
  return layouts;
}

// x as [outer, count, inner], where `count` runs over the reduced axes: they are brought next to each other where they
// are apart.
Tensors reduce_operands(Inputs in, const Attributes& attributes) {
  const Tensor& given = in[0];
  const uint32_t axes = attributes.as<Reduced>().axes;
  const Shape& shape = given.shape();
  int first = 0, last = shape.rank();  // the span of reduced axes
  while (first < last && (!(axes >> first & 1) || shape[first] == 1)) ++first;
  while (last > first && (!(axes >> (last - 1) & 1) || shape[last - 1] == 1)) --last;
  bool together = true;
  for (int i = first; i < last; ++i) together &= (axes >> i & 1) || shape[i] == 1;
  Tensor x = given.detach();
  if (!together) {  // kept axes first, in order; reduced axes last
    int order[kMaxRank], n = 0;
    for (uint32_t reduced : {0u, 1u})
      for (int i = 0; i < shape.rank(); ++i)
        if ((axes >> i & 1) == reduced) order[n++] = i;
    x = permute(x, std::span<const int>(order, static_cast<size_t>(n)));
    last = shape.rank();
    first = last - std::popcount(axes);
  }
  return packed(reshape(x, {extent_product(x.shape(), 0, first), extent_product(x.shape(), first, last),
                            extent_product(x.shape(), last, x.rank())}));
}

template <cpu::Reduction kind>
void reduce_kernel(const KernelArguments& a) {
  const Shape& x = a.in[0].shape();
  for_floating(a.in[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(a.in[0].device(), reduce<T>(kind, a.in[0].address<T>(), x[0], x[1], x[2], a.out[0].address<T>()));
  });
}

const Op sum_op{.name = "sum",
                .linearity = Linearity::sum,
                .shape = reduce_shape,
                .cpu = reduce_kernel<cpu::Reduction::sum>,
                .cuda = MOLLIFY_CUDA_KERNEL(reduce_kernel<cpu::Reduction::sum>),
                .operands = reduce_operands,
                .vjp = [](const VjpArguments& a) -> Tensors {
                  Shape shape = a.in[0].shape();
                  if (shape.rank() > 0 && !(a.as<Reduced>().axes & 1))
                    shape[0] = a.g.dim(0);  // leading extent from the gradient
                  return expand(a.g, shape);
                }};

// The gradient is shared evenly among equals.
Tensors extreme_vjp(const VjpArguments& a) {
  const Tensor wins = equal(a.in[0], a.out());
  const Tensor count = apply(sum_op, {cast(wins, a.g.dtype())}, a.as<Reduced>());
  return where(wins, a.g / count, Tensor::scalar(0, a.g.dtype()));
}

const Op max_op{.name = "max",
                .shape = extreme_shape,
                .cpu = reduce_kernel<cpu::Reduction::max>,
                .cuda = MOLLIFY_CUDA_KERNEL(reduce_kernel<cpu::Reduction::max>),
                .operands = reduce_operands,
                .vjp = extreme_vjp};
const Op min_op{.name = "min",
                .shape = extreme_shape,
                .cpu = reduce_kernel<cpu::Reduction::min>,
                .cuda = MOLLIFY_CUDA_KERNEL(reduce_kernel<cpu::Reduction::min>),
                .operands = reduce_operands,
                .vjp = extreme_vjp};

Tensor reduce(const Op& op, const Tensor& x, std::span<const int> axes, bool keep) {
  uint32_t mask = axes.empty() ? (1u << x.rank()) - 1 : 0;
  for (int axis : axes) mask |= 1u << resolve_axis(op.name, axis, x.rank());
  Tensor out = apply(op, {x}, Reduced{mask});
  if (keep) return out;
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (!(mask >> i & 1)) shape.push_back(x.shape()[i]);
  return reshape(out, shape);
}

std::span<const int> as_span(Axes axes) { return {axes.begin(), axes.size()}; }

// ---- along the last axis of a packed tensor; the public functions bring other axes there by a view

Shape without_last(Shape shape) {
  shape.erase(shape.rank() - 1);
  return shape;
}

int64_t rows_of(const Tensor& x) { return x.shape().back() ? x.size() / x.shape().back() : 0; }

// Indices are i32.
void require_indexable(const char* operation, const Shape& shape) {
  require(shape.back() <= std::numeric_limits<int32_t>::max(),
          "{}: shape {}; needs at most {} numbers along the axis, as indices are i32", operation, shape,
          std::numeric_limits<int32_t>::max());
}

Layouts argmax_shape(const Op& op, Inputs in, const Attributes&) {
  require_floating(op.name, in[0]);
  require(in[0].shape().back() > 0, "{}: shape {}; needs at least one number to choose from", op.name, in[0].shape());
  require_indexable(op.name, in[0].shape());
  return Layout::packed(without_last(in[0].shape()), DType::i32, in[0].device());
}

void argmax_kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(x.device(), argmax<T>(x.address<T>(), rows_of(x), x.shape().back(), a.out[0].address<int32_t>()));
  });
}

const Op argmax_op{.name = "argmax",
                   .shape = argmax_shape,
                   .cpu = argmax_kernel,
                   .cuda = MOLLIFY_CUDA_KERNEL(argmax_kernel),
                   .operands = packed_operands};

struct Cumulative { bool reverse; };

Layouts same_shape(const Op& op, Inputs in, const Attributes&) {
  require_floating(op.name, in[0]);
  return Layout::packed(in[0].shape(), in[0].dtype(), in[0].device());
}

void cumsum_kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  const bool reverse = a.attributes.as<Cumulative>().reverse;
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(x.device(), cumsum<T>(x.address<T>(), rows_of(x), x.shape().back(), reverse, a.out[0].address<T>()));
  });
}

const Op cumsum_op{
    .name = "cumsum",
    .linearity = Linearity::sum,
    .shape = same_shape,
    .cpu = cumsum_kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(cumsum_kernel),
    .operands = packed_operands,
    .vjp = [](const VjpArguments& a) -> Tensors { return cumsum(a.g, -1, !a.as<Cumulative>().reverse); }};

// The first `count` of the sorted row; NaN is taken as the largest.
struct Sorted { int64_t count; bool descending; };

Layouts sort_shape(const Op& op, Inputs in, const Attributes& attributes) {
  require_floating(op.name, in[0]);
  require_indexable(op.name, in[0].shape());
  Shape shape = in[0].shape();
  const int64_t count = attributes.as<Sorted>().count;
  require(count >= 0 && count <= shape.back(), "{}: {} asked for of shape {}; needs 0 to {}", op.name, count, shape,
          shape.back());
  shape[shape.rank() - 1] = count;
  return {Layout::packed(shape, in[0].dtype(), in[0].device()), Layout::packed(shape, DType::i32, in[0].device())};
}

void sort_kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  const Sorted how = a.attributes.as<Sorted>();
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* values = a.out[0].address<T>();
    MOLLIFY_ON(x.device(), sort<T>(x.address<T>(), rows_of(x), x.shape().back(), how.count, how.descending, values,
                                   a.out[1].address<int32_t>()));
  });
}

const Op sort_op{.name = "sort",
                 .shape = sort_shape,
                 .cpu = sort_kernel,
                 .cuda = MOLLIFY_CUDA_KERNEL(sort_kernel),
                 .operands = packed_operands,
                 .vjp = [](const VjpArguments& a) -> Tensors { return scatter_add(a.in[0].shape(), a.saved(1), a.g); }};

// Calls f on a view with `axis` last and puts the result's axis back.
template <class F>
Tensor along(const char* operation, const Tensor& x, int axis, const F& f) {
  require(x.rank() > 0, "{}: a 0-d tensor given; needs at least one axis", operation);
  const int at = resolve_axis(operation, axis, x.rank());
  if (at == x.rank() - 1) return f(x);
  return transpose(f(transpose(x, at, -1)), at, -1);
}

// The same for results that lost the axis.
template <class F>
Tensor along_and_drop(const char* operation, const Tensor& x, int axis, const F& f) {
  require(x.rank() > 0, "{}: a 0-d tensor given; needs at least one axis", operation);
  const int at = resolve_axis(operation, axis, x.rank());
  if (at == x.rank() - 1) return f(x);
  int order[kMaxRank], n = 0;
  for (int i = 0; i < x.rank(); ++i)
    if (i != at) order[n++] = i;
  order[n++] = at;
  return f(permute(x, std::span<const int>(order, static_cast<size_t>(n))));
}

ValuesAndIndices sorted(const char* operation, const Tensor& x, int axis, int64_t count, bool descending) {
  Tensor indices;
  const Tensor values = along(operation, x, axis, [&](const Tensor& rows) {
    const Tensors both = apply_all(sort_op, {rows}, Sorted{count < 0 ? rows.shape().back() : count, descending});
    indices = both[1];
    return both[0];
  });
  const int at = resolve_axis(operation, axis, x.rank());
  return {values, at == x.rank() - 1 ? indices : transpose(indices, at, -1)};
}

}  // namespace

Tensor sum(const Tensor& x, std::span<const int> axes, bool keep) { return reduce(sum_op, x, axes, keep); }
Tensor sum(const Tensor& x, Axes axes, bool keep) { return reduce(sum_op, x, as_span(axes), keep); }
Tensor max(const Tensor& x, Axes axes, bool keep) { return reduce(max_op, x, as_span(axes), keep); }
Tensor min(const Tensor& x, Axes axes, bool keep) { return reduce(min_op, x, as_span(axes), keep); }

Tensor mean(const Tensor& x, Axes axes, bool keep) {
  const Tensor total = sum(x, axes, keep);
  return total / (static_cast<double>(x.size()) / static_cast<double>(total.size()));
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  require(broadcast("sum_to", x.shape(), shape) == x.shape(),
          "sum_to: from {} to {}; the second must broadcast to the first", x.shape(), shape);
  const int lead = x.rank() - shape.rank();
  uint32_t mask = 0;
  for (int i = 0; i < x.rank(); ++i)
    if (i < lead || shape[i - lead] != x.shape()[i]) mask |= 1u << i;
  return reshape(apply(sum_op, {x}, Reduced{mask}), shape);
}

Tensor argmax(const Tensor& x, int axis) {
  return along_and_drop("argmax", x, axis, [](const Tensor& rows) { return apply(argmax_op, {rows}); });
}

Tensor cumsum(const Tensor& x, int axis, bool reverse) {
  return along("cumsum", x, axis, [&](const Tensor& rows) { return apply(cumsum_op, {rows}, Cumulative{reverse}); });
}

ValuesAndIndices sort(const Tensor& x, int axis, bool descending) { return sorted("sort", x, axis, -1, descending); }

ValuesAndIndices top_k(const Tensor& x, int64_t k, int axis) {
  require<ValueError>(k >= 0, "top_k: k is {}; needs at least 0", k);
  return sorted("top_k", x, axis, k, true);
}

}  // namespace mollify
