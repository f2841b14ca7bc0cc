// Operations of engine/ops.h on whole arrays: reductions, products, images, shapes, indices; linear algebra.
#include "bindings.h"

#include <mollify/engine/linear_algebra.h>

#include <array>

namespace mollify::python {
namespace {

// f of the operand, with the interpreter's lock where that is quicker.
template <class F>
auto with(const Operand& x, const F& f) {
  const Tensor& given = x.tensor();
  return compute(given.size(), [&] { return f(given); });
}

nb::tuple pair_of(const Tensor& a, const Tensor& b) { return nb::make_tuple(a, b); }

// ---- Reductions over axes; of none, over all.
using OverAxes = Tensor (*)(const Tensor&, Axes, bool);
void over_axes(nb::module_& m, const char* name, OverAxes f, const char* doc) {
  m.def(
      name,
      [f](const Operand& x, const AxesArgument& axes, bool keep) {
        return axes.with([&](Axes a) { return with(x, [&](const Tensor& t) { return f(t, a, keep); }); });
      },
      "x"_a, "axes"_a = AxesArgument(), "keep"_a = false, doc);
}

using Spread = Tensor (*)(const Tensor&, Axes, bool, int64_t);
void spread(nb::module_& m, const char* name, Spread f, const char* doc) {
  m.def(
      name,
      [f](const Operand& x, const AxesArgument& axes, bool keep, int64_t correction) {
        return axes.with([&](Axes a) { return with(x, [&](const Tensor& t) { return f(t, a, keep, correction); }); });
      },
      "x"_a, "axes"_a = AxesArgument(), "keep"_a = false, "correction"_a = 0, doc);
}

using AlongAxis = Tensor (*)(const Tensor&, int);
void along_axis(nb::module_& m, const char* name, AlongAxis f, const char* doc) {
  m.def(
      name, [f](const Operand& x, int axis) { return with(x, [&](const Tensor& t) { return f(t, axis); }); }, "x"_a,
      "axis"_a = -1, doc);
}

void bind_reductions(nb::module_& m) {
  over_axes(m, "sum", sum, "Over the axes, or all. Reduced axes stay with extent 1 where keep is true.");
  over_axes(m, "mean", mean, "NaN of an empty axis.");
  over_axes(m, "max", max, "Ties share the gradient evenly; an empty axis is a ShapeError.");
  over_axes(m, "min", min, "As max.");
  over_axes(m, "norm", norm, "Euclidean, of any scale; gradient 0 at 0.");
  spread(m, "variance", variance, "Σ(x − mean)²/(n − correction), from deviations.");
  spread(m, "standard_deviation", standard_deviation, "The square root of variance; gradient 0 at 0.");
  m.def(
      "prod",
      [](const Operand& x, int axis, bool keep) {
        return with(x, [&](const Tensor& t) { return prod(t, axis, keep); });
      },
      "x"_a, "axis"_a, "keep"_a = false, "In pairs: gradients are right at zeros.");
  m.def(
      "sum_of_squares", [](const Operand& x) { return with(x, [&](const Tensor& t) { return sum_of_squares(t); }); },
      "x"_a, "Of all numbers.");
  m.def(
      "logsumexp",
      [](const Operand& x, int axis, bool keep) {
        return with(x, [&](const Tensor& t) { return logsumexp(t, axis, keep); });
      },
      "x"_a, "axis"_a = -1, "keep"_a = false, "log Σ eˣ along an axis, without overflow.");
  along_axis(m, "argmax", argmax, "i32; the first of equals, the first NaN if there is one.");
  along_axis(m, "argmin", argmin, "As argmax.");
  m.def(
      "cumsum",
      [](const Operand& x, int axis, bool reverse) {
        return with(x, [&](const Tensor& t) { return cumsum(t, axis, reverse); });
      },
      "x"_a, "axis"_a, "reverse"_a = false, "Inclusive.");
  m.def(
      "sum_to",
      [](const Operand& x, const Shape& shape) { return with(x, [&](const Tensor& t) { return sum_to(t, shape); }); },
      "x"_a, "shape"_a, "Undoes broadcasting from `shape`.");
  m.def(
      "sort",
      [](const Operand& x, int axis, bool descending) {
        const auto found = with(x, [&](const Tensor& t) { return sort(t, axis, descending); });
        return pair_of(found.values, found.indices);
      },
      "x"_a, "axis"_a = -1, "descending"_a = false, "(values, indices i32), stable; NaN last.",
      nb::sig(
          "def sort(x: mollify.typing.TensorLike, axis: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]"));
  m.def(
      "top_k",
      [](const Operand& x, int64_t k, int axis) {
        const auto found = with(x, [&](const Tensor& t) { return top_k(t, k, axis); });
        return pair_of(found.values, found.indices);
      },
      "x"_a, "k"_a, "axis"_a = -1, "(values, indices i32) of the k largest, falling; NaN counts as largest.",
      nb::sig("def top_k(x: mollify.typing.TensorLike, k: int, axis: int = -1) -> tuple[Tensor, Tensor]"));
}

// ---- Products and linear algebra
void bind_products(nb::module_& m) {
  m.def(
      "matmul",
      [](const Operand& a, const Operand& b) {
        return compute([&, x = a.tensor(), y = b.tensor()] { return matmul(x, y); });
      },
      "a"_a, "b"_a, "[…, m, k]·[…, k, n]; leading axes broadcast.");
  m.def(
      "dense",
      [](const Operand& x, const Operand& weight, const OptionalOperand& bias) {
        return compute([&, t = x.tensor(), w = weight.tensor(), b = bias.tensor()] { return dense(t, w, b); });
      },
      "x"_a, "weight"_a, "bias"_a = nb::none(), "x[…, in]·weight[out, in]ᵀ + bias[out]");
  m.def(
      "einsum",
      [](const std::string& axes, const nb::args& operands) {
        const std::vector<Tensor> in = tensors_of(operands);
        require<ValueError>(in.size() >= 1 && in.size() <= 4, "einsum: {} operands given; needs 1 to 4", in.size());
        return compute([&] {
          switch (in.size()) {
            case 1: return einsum(axes, {in[0]});
            case 2: return einsum(axes, {in[0], in[1]});
            case 3: return einsum(axes, {in[0], in[1], in[2]});
            default: return einsum(axes, {in[0], in[1], in[2], in[3]});
          }
        });
      },
      "axes"_a, "operands"_a, "Products and sums over named axes, such as 'bik,bkj->bij'.",
      nb::sig("def einsum(axes: str, *operands: mollify.typing.TensorLike) -> Tensor"));
  m.def(
      "cholesky", [](const Operand& a) { return compute([&, t = a.tensor()] { return cholesky(t); }); }, "a"_a,
      "L of a = L·Lᵀ, of the symmetric part of [..., n, n].");
  m.def(
      "triangular_solve",
      [](const Operand& l, const Operand& b, bool transposed) {
        return compute([&, x = l.tensor(), y = b.tensor()] { return triangular_solve(x, y, transposed); });
      },
      "l"_a, "b"_a, "transposed"_a = false, "x of L·x = b, or of Lᵀ·x = b.");
  m.def(
      "solve",
      [](const Operand& a, const Operand& b) {
        return compute([&, x = a.tensor(), y = b.tensor()] { return solve(x, y); });
      },
      "a"_a, "b"_a, "x of a·x = b, for b [..., n, m].");
  m.def(
      "eigh",
      [](const Operand& a) {
        const Eigen found = compute([&, t = a.tensor()] { return eigh(t); });
        return pair_of(found.values, found.vectors);
      },
      "a"_a, "(values rising, vectors in columns) of the symmetric part of [..., n, n].",
      nb::sig("def eigh(a: mollify.typing.TensorLike) -> tuple[Tensor, Tensor]"));
}

// ---- Images, channels last. A number, or one for height and one for width; paddings may also be all four.
int64_t part(const Integers& numbers, size_t i, const char* what) {
  require<ValueError>(numbers.values.size() == 1 || numbers.values.size() == 2,
                      "{}: {} numbers given; needs one, or height and width", what, numbers.values.size());
  return numbers.values[numbers.values.size() == 1 ? 0 : i];
}
std::array<int64_t, 4> paddings(const Integers& numbers, const char* what) {
  const auto& n = numbers.values;
  require<ValueError>(n.size() == 1 || n.size() == 4,
                      "{}: {} paddings given; needs one, or top, bottom, left and right", what, n.size());
  if (n.size() == 1) return {n[0], n[0], n[0], n[0]};
  return {n[0], n[1], n[2], n[3]};
}
Pool2d pool_of(const Integers& kernel, const Integers& stride, const Integers& padding) {
  const Integers& steps = stride.values.empty() ? kernel : stride;
  const auto [top, bottom, left, right] = paddings(padding, "pool2d");
  return {part(kernel, 0, "pool2d"),
          part(kernel, 1, "pool2d"),
          part(steps, 0, "pool2d"),
          part(steps, 1, "pool2d"),
          top,
          bottom,
          left,
          right};
}

using Pool = Tensor (*)(const Tensor&, const Pool2d&);
void pool(nb::module_& m, const char* name, Pool f, const char* doc) {
  m.def(
      name,
      [f](const Operand& x, const Integers& kernel, const Integers& stride, const Integers& padding) {
        return with(x, [&](const Tensor& t) { return f(t, pool_of(kernel, stride, padding)); });
      },
      "x"_a, "kernel"_a = 2, "stride"_a = nb::tuple(), "padding"_a = 0, doc);
}

void bind_images(nb::module_& m) {
  m.def(
      "conv2d",
      [](const Operand& x, const Operand& w, const OptionalOperand& bias, const Integers& stride,
         const Integers& padding, const Integers& dilation, int64_t groups) {
        const auto [top, bottom, left, right] = paddings(padding, "conv2d");
        const Conv2d how{part(stride, 0, "conv2d"),   part(stride, 1, "conv2d"),   top,   bottom, left, right,
                         part(dilation, 0, "conv2d"), part(dilation, 1, "conv2d"), groups};
        return compute([&, t = x.tensor(), k = w.tensor(), b = bias.tensor()] { return conv2d(t, k, b, how); });
      },
      "x"_a, "w"_a, "bias"_a = nb::none(), "stride"_a = 1, "padding"_a = 0, "dilation"_a = 1, "groups"_a = 1,
      "x [N, H, W, C], w [O, KH, KW, C/groups], bias [O] or None. Stride and dilation: one number or two; padding: "
      "one, or top, bottom, left, right.");
  pool(m, "average_pool2d", average_pool2d,
       "Over [N, H, W, C]; padding counts as zeros and in the divisor. Stride: the kernel's extents unless given.");
  pool(m, "max_pool2d", max_pool2d, "The gradient goes to the first of equals; padding never wins.");
  m.def(
      "batch_norm",
      [](const Operand& x, const Operand& scale, const Operand& shift, double epsilon) {
        const Normalized found = compute(
            [&, t = x.tensor(), a = scale.tensor(), b = shift.tensor()] { return batch_norm(t, a, b, epsilon); });
        return nb::make_tuple(found.output, found.mean, found.variance);
      },
      "x"_a, "scale"_a, "shift"_a, "epsilon"_a = 1e-5, "(output, mean, variance) over all axes but the last.",
      nb::sig("def batch_norm(x: mollify.typing.TensorLike, scale: mollify.typing.TensorLike, shift: "
              "mollify.typing.TensorLike, epsilon: float = 1e-05) -> tuple[Tensor, Tensor, Tensor]"));
}

// ---- Shapes
Shape with_rest(const Tensor& x, const Integers& extents) {
  std::vector<int64_t> all = extents.values;
  int64_t known = 1, *rest = nullptr;
  for (int64_t& extent : all) {
    if (extent != -1)
      known *= extent;
    else if (!rest)
      rest = &extent;
    else
      throw ShapeError("reshape: two extents of -1 given; needs one at most");
  }
  if (rest) {
    require(known > 0 && x.size() % known == 0, "reshape: {} and an extent of -1 beside {} numbers; needs whole ones",
            x.shape(), known);
    *rest = x.size() / known;
  }
  return Shape(all);
}

void bind_shapes(nb::module_& m) {
  m.def(
      "reshape",
      [](const Operand& x, const Integers& shape) {
        return with(x, [&](const Tensor& t) { return reshape(t, with_rest(t, shape)); });
      },
      "x"_a, "shape"_a, "A view where strides allow. An extent of -1 is what the others leave.");
  m.def(
      "flatten",
      [](const Operand& x, int first) { return with(x, [&](const Tensor& t) { return flatten(t, first); }); }, "x"_a,
      "first_axis"_a = 0, "Joins the axes from first_axis on.");
  m.def(
      "permute",
      [](const Operand& x, const Integers& order) {
        const std::vector<int> axes(order.values.begin(), order.values.end());
        return permute(x.tensor(), axes);
      },
      "x"_a, "order"_a, "A view.");
  m.def(
      "transpose", [](const Operand& x, int a, int b) { return transpose(x.tensor(), a, b); }, "x"_a, "axis_a"_a = -2,
      "axis_b"_a = -1, "A view.");
  m.def(
      "expand", [](const Operand& x, const Shape& shape) { return expand(x.tensor(), shape); }, "x"_a, "shape"_a,
      "Broadcast, as a view.");
  m.def(
      "slice",
      [](const Operand& x, int axis, int64_t start, int64_t stop, int64_t step) {
        return slice(x.tensor(), axis, start, stop, step);
      },
      "x"_a, "axis"_a, "start"_a, "stop"_a, "step"_a = 1, "Numbers as in Python.");
  along_axis(m, "flip", flip, "A view.");
  m.def(
      "pad",
      [](const Operand& x, int axis, int64_t before, int64_t after, double value) {
        return with(x, [&](const Tensor& t) { return pad(t, axis, before, after, value); });
      },
      "x"_a, "axis"_a, "before"_a, "after"_a, "value"_a = 0.0);
  m.def(
      "split",
      [](const Operand& x, const Integers& extents, int axis) {
        const Tensors found = split(x.tensor(), extents.values, axis);
        return tuple_of(std::span<const Tensor>(found));
      },
      "x"_a, "extents"_a, "axis"_a = 0, "Views; their gradients are laid into one tensor.",
      nb::sig("def split(x: mollify.typing.TensorLike, extents: collections.abc.Sequence[int], axis: int = 0) -> "
              "tuple[Tensor, ...]"));
  m.def(
      "concat",
      [](nb::iterable parts, int axis) {
        return compute([&, all = tensors_of(parts)] { return concat(std::span<const Tensor>(all), axis); });
      },
      "parts"_a, "axis"_a = 0,
      nb::sig("def concat(parts: collections.abc.Iterable[mollify.typing.TensorLike], axis: int = 0) -> Tensor"));
  m.def(
      "stack",
      [](nb::iterable parts, int axis) {
        return compute([&, all = tensors_of(parts)] { return stack(std::span<const Tensor>(all), axis); });
      },
      "parts"_a, "axis"_a = 0, "Along a new axis.",
      nb::sig("def stack(parts: collections.abc.Iterable[mollify.typing.TensorLike], axis: int = 0) -> Tensor"));
  m.def(
      "packed", [](const Operand& x) { return with(x, [](const Tensor& t) { return packed(t); }); }, "x"_a,
      "Itself, or a row-major copy.");
}

// ---- Indices and classification
void bind_indices(nb::module_& m) {
  m.def(
      "gather",
      [](const Operand& x, const Operand& indices, int axis) {
        return with(x, [&, i = indices.tensor()](const Tensor& t) { return gather(t, i, axis); });
      },
      "x"_a, "indices"_a, "axis"_a = -1, "out[…, j, …] = x[…, indices[…, j, …], …]; indices i32.");
  m.def(
      "scatter_add",
      [](const Shape& shape, const Operand& indices, const Operand& x, int axis) {
        return with(x, [&, i = indices.tensor()](const Tensor& t) { return scatter_add(shape, i, t, axis); });
      },
      "shape"_a, "indices"_a, "x"_a, "axis"_a = -1, "gather's transpose, into zeros.");
  m.def(
      "take",
      [](const Operand& x, const Operand& indices, int axis) {
        return with(x, [&, i = indices.tensor()](const Tensor& t) { return take(t, i, axis); });
      },
      "x"_a, "indices"_a, "axis"_a = 0, "Whole slices by a 1-d list of i32.");
  m.def(
      "one_hot",
      [](const Operand& indices, int64_t classes, DType dtype) {
        return with(indices, [&](const Tensor& t) { return one_hot(t, classes, dtype); });
      },
      "indices"_a, "classes"_a, "dtype"_a = DType::f32);
  m.def(
      "softmax", [](const Operand& x) { return with(x, [](const Tensor& t) { return softmax(t); }); }, "logits"_a,
      "Along the last axis; zeros for a row of −∞.");
  m.def(
      "log_softmax", [](const Operand& x) { return with(x, [](const Tensor& t) { return log_softmax(t); }); },
      "logits"_a, "Right for large logits.");
  m.def(
      "cross_entropy",
      [](const Operand& x, const Operand& labels) {
        return with(x, [&, y = labels.tensor()](const Tensor& t) { return cross_entropy(t, y); });
      },
      "logits"_a, "labels"_a, "One number per row: −log_softmax(logits)[label], labels i32.");
}

}  // namespace

void bind_ops_of_arrays(nb::module_& m) {
  bind_reductions(m);
  bind_products(m);
  bind_images(m);
  bind_shapes(m);
  bind_indices(m);
}

}  // namespace mollify::python
