// Views and joins: reshape, permute, expand, slice, split, pad, concat, and the making of tensors.
#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/cuda/copy.h>
#include <mollify/engine/cuda/device.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/engine/recorder.h>
#include <mollify/engine/trace.h>

#include <algorithm>
#include <numeric>

namespace mollify {
namespace {

// ---- reshape: of packed tensors; of others only where axes of extent 1 come or go. The public function packs first

// Strides of a shape that differs from the layout's in axes of extent 1 only.
Shape strides_without_units(const Op& op, const Layout& from, const Shape& shape) {
  Shape strides = shape;
  int next = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    while (next < from.shape.rank() && from.shape[next] == 1) ++next;
    require(next < from.shape.rank() && from.shape[next] == shape[axis],
            "{}: from {}, which is not packed, to {}; only axes of extent 1 can come or go", op.name, from.shape,
            shape);
    strides[axis] = from.strides[next++];
  }
  return strides;
}

Layouts reshape_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Shape& shape = attributes.as<Shape>();
  require(shape.size() == in[0].size(), "{}: from {} to {}; both must have as many elements", op.name, in[0].shape(),
          shape);
  Layout layout = Layout::packed(shape, in[0].dtype(), in[0].device());
  layout.offset = in[0].layout().offset;
  if (shape.size() > 0 && !in[0].is_packed()) layout.strides = strides_without_units(op, in[0].layout(), shape);
  return layout;
}

// The input's shape with the leading extent scaled as the gradient's: k·B rows of a gradient give k·B rows.
Shape with_leading_extent_of(const Tensor& g, const Shape& out, const Shape& in) {
  Shape shape = in;
  if (in.rank() > 0 && out.rank() > 0 && out[0] > 0 && g.dim(0) != out[0]) shape[0] = in[0] * g.dim(0) / out[0];
  return shape;
}

const Op reshape_op{.name = "reshape",
                    .linearity = Linearity::sum,
                    .shape = reshape_shape,
                    .vjp = [](const VjpArguments& a) -> Tensors {
                      return reshape(a.g, with_leading_extent_of(a.g, a.as<Shape>(), a.in[0].shape()));
                    },
                    .view = true};

// ---- permute

struct Order { int rank; int axis[kMaxRank]; };

Layouts permute_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Order& order = attributes.as<Order>();
  const Layout& from = in[0].layout();
  require(order.rank == from.shape.rank(), "{}: {} axes given for shape {}; needs all of them once", op.name,
          order.rank, from.shape);
  Layout layout = from;
  bool seen[kMaxRank] = {};
  for (int i = 0; i < order.rank; ++i) {
    const int axis = order.axis[i];
    require(!seen[axis], "{}: axis {} given twice for shape {}; needs all of them once", op.name, axis, from.shape);
    seen[axis] = true;
    layout.shape[i] = from.shape[axis];
    layout.strides[i] = from.strides[axis];
  }
  return layout;
}

const Op permute_op{.name = "permute",
                    .linearity = Linearity::sum,
                    .shape = permute_shape,
                    .vjp = [](const VjpArguments& a) -> Tensors {
                      const Order& order = a.as<Order>();
                      int inverse[kMaxRank];
                      for (int i = 0; i < order.rank; ++i) inverse[order.axis[i]] = i;
                      return permute(a.g, std::span<const int>(inverse, static_cast<size_t>(order.rank)));
                    },
                    .view = true};

// ---- expand

Layouts expand_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Shape& shape = attributes.as<Shape>();
  const Layout& from = in[0].layout();
  require(broadcast(op.name, from.shape, shape) == shape, "{}: from {} to {}; only extents of 1 grow", op.name,
          from.shape, shape);
  Layout layout = from;
  layout.shape = layout.strides = Layout::packed(shape, from.dtype).shape;  // throws where there are too many elements
  const int lead = shape.rank() - from.shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis)
    layout.strides[axis] = axis < lead || from.shape[axis - lead] != shape[axis] ? 0 : from.strides[axis - lead];
  return layout;
}

const Op expand_op{.name = "expand",
                   .linearity = Linearity::sum,
                   .shape = expand_shape,
                   .vjp = [](const VjpArguments& a) -> Tensors { return a.g; },
                   .view = true};

// ---- slice: start + i·step for i < count, all within the axis

struct SliceRun { int axis; int64_t start, count, step; };

Layout sliced(Layout layout, const SliceRun& s) {
  if (s.count > 0) layout.offset += s.start * layout.strides[s.axis];
  layout.shape[s.axis] = s.count;
  layout.strides[s.axis] *= s.step;
  return layout;
}

Layouts slice_shape(const Op&, Inputs in, const Attributes& attributes) {
  return sliced(in[0].layout(), attributes.as<SliceRun>());
}

Tensor unslice(const Tensor& g, const SliceRun& s, int64_t extent);

const Op slice_op{.name = "slice",
                  .linearity = Linearity::sum,
                  .shape = slice_shape,
                  .vjp = [](const VjpArguments& a) -> Tensors {
                    const SliceRun& s = a.as<SliceRun>();
                    return unslice(a.g, s, a.in[0].shape()[s.axis]);
                  },
                  .view = true};

SliceRun resolve_slice(const Tensor& x, int axis, int64_t start, int64_t stop, int64_t step) {
  require(step != 0, "slice: step 0 along axis {} of {}; needs another", axis, x.shape());
  axis = resolve_axis("slice", axis, x.rank());
  const int64_t extent = x.shape()[axis];
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? extent : extent - 1;
  const auto resolve = [&](int64_t i) { return std::clamp(i < 0 ? i + extent : i, lowest, highest); };
  start = resolve(start);
  stop = stop < -extent ? lowest : resolve(stop);
  const int64_t span = step > 0 ? stop - start : start - stop;  // up to the extent
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const int64_t count = span > 0 ? static_cast<int64_t>((static_cast<uint64_t>(span) - 1) / stride) + 1 : 0;
  return {axis, start, count, count > 1 ? step : 1};
}

// ---- pad: puts a tensor at a slice of a constant one. It is slice's transpose, too.

struct Place { SliceRun slice; int64_t extent; double value; };

Layouts pad_shape(const Op&, Inputs in, const Attributes& attributes) {
  const Place& p = attributes.as<Place>();
  Shape shape = in[0].shape();
  shape[p.slice.axis] = p.extent;
  return Layout::packed(shape, in[0].dtype(), in[0].device());
}

void pad_kernel(const KernelArguments& a) {
  const Place& p = a.attributes.as<Place>();
  const Tensor& out = a.out[0];
  MOLLIFY_ON(out.device(), fill(p.value, out));
  MOLLIFY_ON(out.device(), copy(a.in[0], Tensor::on(&out.buffer(), sliced(out.layout(), p.slice))));
}

const Op pad_op{.name = "pad",
                .linearity = Linearity::sum,
                .shape = pad_shape,
                .cpu = pad_kernel,
                .cuda = MOLLIFY_CUDA_KERNEL(pad_kernel),
                .vjp = [](const VjpArguments& a) -> Tensors { return apply(slice_op, {a.g}, a.as<Place>().slice); }};

}  // namespace

Tensor padded_with(double value, const Tensor& x, const Attributes& pad) {
  Place place = pad.as<Place>();
  place.value = value;
  return apply(pad_op, {x}, place);
}

namespace {

Tensor unslice(const Tensor& g, const SliceRun& s, int64_t extent) { return apply(pad_op, {g}, Place{s, extent, 0}); }

// ---- split: views of consecutive extents along an axis (the list's first number), and concat, its transpose

Layouts split_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const std::vector<int64_t>& list = attributes.list();
  const int axis = static_cast<int>(list[0]);
  Layouts layouts;
  int64_t start = 0;
  for (size_t i = 1; i < list.size(); ++i) {
    require(list[i] >= 0, "{}: part {} has extent {}; extents are at least 0", op.name, i - 1, list[i]);
    layouts.push_back(sliced(in[0].layout(), {axis, start, list[i], 1}));
    start += list[i];
  }
  require(start == in[0].shape()[axis], "{}: parts of {} in all along axis {} of {}; must be equal", op.name, start,
          axis, in[0].shape());
  return layouts;
}

const Op split_op{.name = "split",
                  .linearity = Linearity::sum,
                  .shape = split_shape,
                  .vjp = [](const VjpArguments& a) -> Tensors {
                    const std::vector<int64_t>& list = a.attributes.list();
                    const int axis = static_cast<int>(list[0]);
                    Tensors parts(a.gradients.size());
                    for (size_t i = 0; i < parts.size(); ++i) {
                      Shape shape = a.in[0].shape();
                      shape[axis] = list[i + 1];
                      parts[i] = a.gradients[i].defined() ? a.gradients[i] : repeated(0, shape, a.in[0]);
                    }
                    return concat(parts, axis);
                  },
                  .view = true};

struct Join { int axis; };

Layouts concat_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const int axis = attributes.as<Join>().axis;
  Shape shape = in[0].shape();
  for (size_t i = 1; i < in.size(); ++i) {
    require_same_dtype(op.name, in[0], in[i]);
    Shape other = in[i].shape();
    require(other.rank() == shape.rank(), "{}: shapes {} and {} along axis {}; all others must be equal", op.name,
            in[0].shape(), other, axis);
    shape[axis] += other[axis];
    other[axis] = shape[axis];
    require(other == shape, "{}: shapes {} and {} along axis {}; all others must be equal", op.name, in[0].shape(),
            in[i].shape(), axis);
  }
  return Layout::packed(shape, in[0].dtype(), in[0].device());
}

Layout concat_place(const Layout& out, std::span<const Shape> parts, size_t i, const Attributes& attributes) {
  const int axis = attributes.as<Join>().axis;
  int64_t start = 0;
  for (size_t k = 0; k < i; ++k) start += parts[k][axis];
  return sliced(out, {axis, start, parts[i][axis], 1});
}

void concat_kernel(const KernelArguments& a) {
  const int axis = a.attributes.as<Join>().axis;
  const Tensor& out = a.out[0];
  int64_t start = 0;
  for (const Tensor& part : a.in) {
    MOLLIFY_ON(out.device(),
               copy(part, Tensor::on(&out.buffer(), sliced(out.layout(), {axis, start, part.shape()[axis], 1}))));
    start += part.shape()[axis];
  }
}

const Op concat_op{.name = "concat",
                   .linearity = Linearity::sum,
                   .shape = concat_shape,
                   .cpu = concat_kernel,
                   .cuda = MOLLIFY_CUDA_KERNEL(concat_kernel),
                   .vjp = [](const VjpArguments& a) -> Tensors {
                     const int axis = a.as<Join>().axis;
                     std::vector<int64_t> extents;
                     for (const Tensor& part : a.in) extents.push_back(part.shape()[axis]);
                     return split(a.g, extents, axis);
                   },
                   .place = concat_place};

// ---- packed: a row-major copy

Layouts packed_shape(const Op&, Inputs in, const Attributes&) {
  return Layout::packed(in[0].shape(), in[0].dtype(), in[0].device());
}

void packed_kernel(const KernelArguments& a) { MOLLIFY_ON(a.out[0].device(), copy(a.in[0], a.out[0])); }

const Op packed_op{.name = "packed",
                   .linearity = Linearity::sum,
                   .shape = packed_shape,
                   .cpu = packed_kernel,
                   .cuda = MOLLIFY_CUDA_KERNEL(packed_kernel),
                   .vjp = [](const VjpArguments& a) -> Tensors { return a.g; }};

// ---- full

struct Full { Shape shape; double value; DType dtype; Device device; };

Layouts full_shape(const Op&, Inputs, const Attributes& attributes) {
  const Full& f = attributes.as<Full>();
  return Layout::packed(f.shape, f.dtype, f.device);
}

void full_kernel(const KernelArguments& a) {
  MOLLIFY_ON(a.out[0].device(), fill(a.attributes.as<Full>().value, a.out[0]));
}

const Op full_op{.name = "full",
                 .shape = full_shape,
                 .cpu = full_kernel,
                 .cuda = MOLLIFY_CUDA_KERNEL(full_kernel),
                 .chooses_device = true};

// ---- to: the way between devices

struct Destination { Device device; };

void to_kernel(const KernelArguments& a) {
  const Tensor &x = a.in[0], &out = a.out[0];
  const int64_t bytes = x.size() * size_of(x.dtype());
  void* const to = out.first_byte();
  const void* const from = x.first_byte();
  if (x.device() == out.device()) cuda::copy_within(to, from, bytes);  // a number, which the funnel has brought there
  else if (out.device() == Device::cuda) cuda::copy_to_device(to, from, bytes);
  else cuda::copy_to_host(to, from, bytes);
}

const Op to_op{.name = "to",
               .linearity = Linearity::sum,
               .shape = [](const Op&, Inputs in, const Attributes& attributes) -> Layouts {
                 return Layout::packed(in[0].shape(), in[0].dtype(), attributes.as<Destination>().device);
               },
               .cpu = to_kernel,
               .cuda = to_kernel,
               .operands = packed_operands,
               .vjp = [](const VjpArguments& a) -> Tensors { return to(a.g, a.in[0].device()); },
               .chooses_device = true};

}  // namespace

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  require_fits("full", value, dtype);
  return apply(full_op, {}, Full{shape, value, dtype, device});
}
Tensor zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }
Tensor ones(const Shape& shape, DType dtype, Device device) { return full(shape, 1, dtype, device); }
Tensor zeros_like(const Tensor& x) { return full(x.shape(), 0, x.dtype(), x.device()); }
Tensor ones_like(const Tensor& x) { return full(x.shape(), 1, x.dtype(), x.device()); }

Tensor to(const Tensor& x, Device device) {
  if (x.device() == device) return x;
  Recorder* recorder = Recorder::current();
  require<GraphError>(!recorder || recorder->in_kernel() || recorder->is_constant(x),
                      "capture: a tensor {} goes from {} to {}; needs all that a step uses on its device beforehand",
                      x.shape(), x.device(), device);
  const Recorder::InKernel once(recorder);  // a constant goes there only once
  return apply(to_op, {x}, Destination{device});
}

Tensor arange(int64_t count, DType dtype, Device device) {
  require(count >= 0, "arange: count {}; needs at least 0", count);
  const Tensor values = Tensor::empty(Layout::packed({count}, DType::f64));
  std::iota(values.data<double>(), values.data<double>() + count, 0.0);
  return to(cast(values, dtype), device);
}

Tensor packed(const Tensor& x) { return x.is_packed() ? x : apply(packed_op, {x}); }

Tensor reshape(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  return apply(reshape_op, {packed(x)}, shape);
}

Tensor without_axis(const Tensor& x, int axis) {
  Shape rest = x.shape();
  rest.erase(axis);
  return apply(reshape_op, {x}, rest);
}

Tensor flatten(const Tensor& x, int first_axis) {
  if (x.rank() == 0) return reshape(x, {1});
  const int first = resolve_axis("flatten", first_axis, x.rank());
  Shape shape(x.shape().begin(), static_cast<size_t>(first));
  shape.push_back(extent_product(x.shape(), first, x.rank()));
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, std::span<const int> axes) {
  require(axes.size() <= kMaxRank, "permute: {} axes given for shape {}; needs all of them once", axes.size(),
          x.shape());
  Order order{static_cast<int>(axes.size()), {}};
  for (size_t i = 0; i < axes.size(); ++i) order.axis[i] = resolve_axis("permute", axes[i], x.rank());
  return apply(permute_op, {x}, order);
}
Tensor permute(const Tensor& x, Axes order) { return permute(x, std::span<const int>(order.begin(), order.size())); }

Tensor transpose(const Tensor& x, int axis_a, int axis_b) {
  Order order{x.rank(), {0, 1, 2, 3, 4, 5}};
  std::swap(order.axis[resolve_axis("transpose", axis_a, x.rank())],
            order.axis[resolve_axis("transpose", axis_b, x.rank())]);
  return apply(permute_op, {x}, order);
}

Tensor expand(const Tensor& x, const Shape& shape) { return x.shape() == shape ? x : apply(expand_op, {x}, shape); }

Tensor slice(const Tensor& x, int axis, int64_t start, int64_t stop, int64_t step) {
  return apply(slice_op, {x}, resolve_slice(x, axis, start, stop, step));
}

Tensor flip(const Tensor& x, int axis) {
  const int resolved = resolve_axis("flip", axis, x.rank());
  const int64_t extent = x.shape()[resolved];
  return apply(slice_op, {x}, SliceRun{resolved, std::max<int64_t>(0, extent - 1), extent, -1});
}

Tensor pad(const Tensor& x, int axis, int64_t before, int64_t after, double value) {
  require(before >= 0 && after >= 0, "pad: {} before and {} after axis {} of {}; needs at least 0", before, after, axis,
          x.shape());
  require_fits("pad", value, x.dtype());
  const int resolved = resolve_axis("pad", axis, x.rank());
  const int64_t extent = x.shape()[resolved];
  int64_t whole = 0;
  const bool overflows = __builtin_add_overflow(before, extent, &whole) || __builtin_add_overflow(whole, after, &whole);
  require(!overflows, "pad: {} before and {} after axis {} of {}; has more elements than can be addressed", before,
          after, axis, x.shape());
  return apply(pad_op, {x}, Place{{resolved, before, extent, 1}, whole, value});
}

namespace {

// The parts as slices; `list` is split's attribute.
Tensors slices(const Tensor& x, const std::vector<int64_t>& list) {
  split_shape(split_op, {x}, list);  // throws where they are not all of x
  Tensors parts(list.size() - 1);
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i] = slice(x, static_cast<int>(list[0]), first, first + list[i + 1]);
    first += list[i + 1];
  }
  return parts;
}

}  // namespace

Tensors split(const Tensor& x, const std::vector<int64_t>& extents, int axis) {
  std::vector<int64_t> list{resolve_axis("split", axis, x.rank())};
  list.insert(list.end(), extents.begin(), extents.end());
  require(!extents.empty(), "split: no parts of {} given; needs at least one", x.shape());
  // Readers of a trace know operations of one output.
  if (is_abstract(x)) return slices(x, list);
  return apply_all(split_op, {x}, list);
}

Tensor concat(std::span<const Tensor> parts, int axis) {
  require(!parts.empty(), "concat: no tensors given; needs at least one");
  return apply(concat_op, parts, Join{resolve_axis("concat", axis, parts[0].rank())});
}

Tensor stack(std::span<const Tensor> parts, int axis) {
  require(!parts.empty(), "stack: no tensors given; needs at least one");
  const int at = resolve_axis("stack", axis, parts[0].rank() + 1);
  Tensors raised(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    require(parts[i].shape() == parts[0].shape(), "stack: shapes {} and {} given; all must be equal", parts[0].shape(),
            parts[i].shape());
    Shape shape = parts[i].shape();
    shape.insert(at, 1);
    raised[i] = reshape(parts[i], shape);
  }
  return concat(raised, at);
}

}  // namespace mollify
