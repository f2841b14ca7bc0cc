// gather and its transpose scatter_add, take, one_hot, cast.
#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/copy.h>
#include <mollify/engine/cuda/index.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace mollify {
namespace {

struct Along { int axis; };

// `values` and `indices` agree off the axis; the indices' axis may be of any extent.
void check_indices(const char* name, const Shape& values, const Tensor& indices, int axis) {
  require_indices(name, indices);
  Shape expected = values;
  if (indices.rank() == values.rank()) expected[axis] = indices.shape()[axis];
  require(indices.shape() == expected, "{}: values are {}, indices {}; they must be equal but for axis {}", name,
          values, indices.shape(), axis);
}

bool repeats_behind(const Tensor& indices, int axis) {
  return std::all_of(indices.strides().begin() + axis + 1, indices.strides().end(), [](int64_t s) { return s == 0; });
}

// Indices that repeat along all inner axes, as those of take do, are read as they are; all else is packed.
template <class Attribute>
Tensors indexed_operands(Inputs in, const Attributes& attributes) {
  return {packed_operand(in[0]),
          repeats_behind(in[1], attributes.as<Attribute>().axis) ? in[1] : packed_operand(in[1])};
}

// Calls f(position in `whole`, position in `part`, run) for runs along the inner axes, both packed; part's axis is
// indexed into whole's.
template <class F>
void for_indexed(const char* name, const Shape& whole, const Tensor& indices, int axis, int64_t begin_outer,
                 int64_t end_outer, const F& f) {
  const Shape& part = indices.shape();
  const int64_t count = whole[axis], selected = part[axis];
  const int64_t inner = extent_product(whole, axis + 1, whole.rank());
  const bool repeats = repeats_behind(indices, axis);
  const int32_t* base = indices.data<int32_t>();
  for (int64_t outer = begin_outer; outer < end_outer; ++outer) {
    int64_t offset = 0;
    for (int64_t i = axis - 1, rest = outer; i >= 0; --i) {
      offset += rest % part[static_cast<int>(i)] * indices.strides()[static_cast<int>(i)];
      rest /= part[static_cast<int>(i)];
    }
    for (int64_t j = 0; j < selected; ++j) {
      const int32_t* index = base + offset + j * indices.strides()[axis];
      const int64_t run = repeats ? inner : 1;
      for (int64_t i = 0; i < inner; i += run) {
        const int32_t at = repeats ? *index : index[i];
        require<ValueError>(at >= 0 && at < count, "{}: index {} along axis {} of {}; needs 0 to {}", name, at, axis,
                            whole, count - 1);
        f((outer * count + at) * inner + i, (outer * selected + j) * inner + i, run);
      }
    }
  }
}

// Ranges of outer positions: each writes its own part of the result.
template <class F>
void for_outer(const Shape& shape, int axis, const F& f) {
  const int64_t outer = extent_product(shape, 0, axis), work = extent_product(shape, axis, shape.rank());
  cpu::parallel_for(outer, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, work)), f);
}

Layouts gather_shape(const Op& op, Inputs in, const Attributes& attributes) {
  check_indices(op.name, in[0].shape(), in[1], attributes.as<Along>().axis);
  return Layout::packed(in[1].shape(), in[0].dtype(), in[0].device());
}

template <class T>
void gather_values(const KernelArguments& a) {
  const int axis = a.attributes.as<Along>().axis;
  const Tensor& x = a.in[0];
  const T* from = x.data<T>();
  T* to = a.out[0].data<T>();
  for_outer(a.out[0].shape(), axis, [&](int64_t begin, int64_t end) {
    for_indexed("gather", x.shape(), a.in[1], axis, begin, end,
                [&](int64_t whole, int64_t part, int64_t run) { std::copy_n(from + whole, run, to + part); });
  });
}

void gather_kernel(const KernelArguments& a) {
  for_dtype(a.in[0].dtype(), [&](auto zero) { gather_values<decltype(zero)>(a); });
}

#ifdef MOLLIFY_CUDA
void gather_on_cuda(const KernelArguments& a) {
  const Tensor &x = a.in[0], &indices = a.in[1];
  for_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    cuda::gather<T>(x.address<T>(), indices.address<int32_t>(),
                    cuda::index_shape(x.shape(), indices, a.attributes.as<Along>().axis), a.out[0].address<T>());
  });
}
#endif

const Op gather_op{.name = "gather",
                   .linearity = Linearity::sum,
                   .shape = gather_shape,
                   .cpu = gather_kernel,
                   .cuda = MOLLIFY_CUDA_KERNEL(gather_on_cuda),
                   .operands = indexed_operands<Along>,
                   .vjp = [](const VjpArguments& a) -> Tensors {
                     return {scatter_add(a.in[0].shape(), a.in[1], a.g, a.as<Along>().axis), Tensor()};
                   }};

struct Scatter { Shape shape; int axis; };

Layouts scatter_add_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Scatter& s = attributes.as<Scatter>();
  require_floating(op.name, in[0]);
  require(in[0].shape() == in[1].shape(), "{}: values are {}, indices {}; they must be equal", op.name, in[0].shape(),
          in[1].shape());
  check_indices(op.name, s.shape, in[1], s.axis);
  return Layout::packed(s.shape, in[0].dtype(), in[0].device());
}

void scatter_add_kernel(const KernelArguments& a) {
  const int axis = a.attributes.as<Scatter>().axis;
  const Tensor& x = a.in[0];
  const Tensor& out = a.out[0];
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = x.data<T>();
    T* to = out.data<T>();
    const auto add_into = [&](auto* into, int64_t first, int64_t begin, int64_t end) {
      using Sum = std::remove_pointer_t<decltype(into)>;
      for_indexed("scatter_add", out.shape(), a.in[1], axis, begin, end, [&](int64_t whole, int64_t part, int64_t run) {
        for (int64_t i = 0; i < run; ++i) into[whole - first + i] += static_cast<Sum>(from[part + i]);
      });
    };
    const int64_t slice = extent_product(out.shape(), axis, out.shape().rank());
    std::fill_n(to, out.size(), T{0});
    for_outer(out.shape(), axis, [&](int64_t begin, int64_t end) {
      if (a.in[1].dim(axis) <= cpu::kSumBlock) return add_into(to, 0, begin, end);
      Scratch<double> sums(slice);  // what may be many terms, in f64
      for (int64_t outer = begin; outer < end; ++outer) {
        std::fill_n(sums.data(), slice, 0.0);
        add_into(sums.data(), outer * slice, outer, outer + 1);
        std::transform(sums.data(), sums.data() + slice, to + outer * slice,
                       [](double sum) { return static_cast<T>(sum); });
      }
    });
  });
}

#ifdef MOLLIFY_CUDA
void scatter_add_on_cuda(const KernelArguments& a) {
  const Tensor &x = a.in[0], &indices = a.in[1], &out = a.out[0];
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto shape = cuda::index_shape(out.shape(), indices, a.attributes.as<Scatter>().axis);
    cuda::scatter_add<T>(x.address<T>(), indices.address<int32_t>(), shape, out.address<T>());
  });
}
#endif

const Op scatter_add_op{.name = "scatter_add",
                        .linearity = Linearity::sum,
                        .shape = scatter_add_shape,
                        .cpu = scatter_add_kernel,
                        .cuda = MOLLIFY_CUDA_KERNEL(scatter_add_on_cuda),
                        .operands = indexed_operands<Scatter>,
                        .vjp = [](const VjpArguments& a) -> Tensors {
                          return {gather(a.g, a.in[1], a.as<Scatter>().axis), Tensor()};
                        }};

struct Classes { int64_t count; DType dtype; };

void one_hot_kernel(const KernelArguments& a) {
  const int32_t* label = a.in[0].data<int32_t>();
  const int64_t classes = a.attributes.as<Classes>().count;
  for_floating(a.out[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* out = a.out[0].data<T>();
    std::fill_n(out, a.out[0].size(), T{0});
    for (int64_t i = 0; i < a.in[0].size(); ++i) {
      require<ValueError>(label[i] >= 0 && label[i] < classes, "one_hot: label {}; needs 0 to {}", label[i],
                          classes - 1);
      out[i * classes + label[i]] = T{1};
    }
  });
}

#ifdef MOLLIFY_CUDA
void one_hot_on_cuda(const KernelArguments& a) {
  for_floating(a.out[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    cuda::one_hot<T>(a.in[0].address<int32_t>(), a.in[0].size(), a.attributes.as<Classes>().count,
                     a.out[0].address<T>());
  });
}
#endif

const Op one_hot_op{.name = "one_hot",
                    .shape = [](const Op& op, Inputs in, const Attributes& attributes) -> Layouts {
                      require_indices(op.name, in[0]);
                      Shape shape = in[0].shape();
                      shape.push_back(attributes.as<Classes>().count);
                      return Layout::packed(shape, attributes.as<Classes>().dtype, in[0].device());
                    },
                    .cpu = one_hot_kernel,
                    .cuda = MOLLIFY_CUDA_KERNEL(one_hot_on_cuda),
                    .operands = packed_operands};

// ---- cast

struct Cast { DType to; };

// Throws where a number has no counterpart: NaN, and what lies outside the range after rounding toward zero.
template <class To>
void check_range(const Tensor& x) {
  const double low = static_cast<double>(std::numeric_limits<To>::min()),
               high = static_cast<double>(std::numeric_limits<To>::max());
  const auto check = [&](double value) {
    const double whole = std::trunc(value);
    require<ValueError>(whole >= low && whole <= high, "cast: {} to {}; needs {} to {}", value, dtype_of<To>, low,
                        high);
  };
  for_dtype(x.dtype(), [&](auto zero) {
    const auto* value = x.data<decltype(zero)>();
    for (int64_t i = 0; i < x.size(); ++i) check(static_cast<double>(value[i]));
  });
}

bool may_not_fit(DType from, DType to) { return to == DType::u8 || (to == DType::i32 && is_floating(from)); }

// The check reads packed memory; where there is none to make, every layout is read.
Tensors cast_operands(Inputs in, const Attributes& attributes) {
  return may_not_fit(in[0].dtype(), attributes.as<Cast>().to) ? packed_operand(in[0]) : in[0];
}

void cast_kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  if (may_not_fit(x.dtype(), a.out[0].dtype())) {
    if (a.out[0].dtype() == DType::u8) check_range<uint8_t>(x);
    else check_range<int32_t>(x);
  }
  cpu::copy(x, a.out[0]);
}

#ifdef MOLLIFY_CUDA
void cast_on_cuda(const KernelArguments& a) { cuda::cast(a.in[0], a.out[0]); }
#endif

const Op cast_op{.name = "cast",
                 .linearity = Linearity::sum,
                 .shape = [](const Op&, Inputs in, const Attributes& attributes) -> Layouts {
                   return Layout::packed(in[0].shape(), attributes.as<Cast>().to, in[0].device());
                 },
                 .cpu = cast_kernel,
                 .cuda = MOLLIFY_CUDA_KERNEL(cast_on_cuda),
                 .operands = cast_operands,
                 .vjp = [](const VjpArguments& a) -> Tensors {
                   return is_floating(a.in[0].dtype()) ? cast(a.g, a.in[0].dtype()) : Tensor();
                 }};

}  // namespace

Tensor gather(const Tensor& x, const Tensor& indices, int axis) {
  return apply(gather_op, {x, indices}, Along{resolve_axis("gather", axis, x.rank())});
}

Tensor scatter_add(const Shape& shape, const Tensor& indices, const Tensor& x, int axis) {
  return apply(scatter_add_op, {x, indices}, Scatter{shape, resolve_axis("scatter_add", axis, shape.rank())});
}

Tensor take(const Tensor& x, const Tensor& indices, int axis) {
  const int at = resolve_axis("take", axis, x.rank());
  require(indices.rank() == 1, "take: indices are {}; needs a 1-d list", indices.shape());
  Shape column{indices.size()}, shape = x.shape();
  while (column.rank() < x.rank() - at) column.push_back(1);
  shape[at] = indices.size();
  return gather(x, expand(reshape(indices, column), shape), at);
}

Tensor one_hot(const Tensor& indices, int64_t classes, DType dtype) {
  require<TypeError>(is_floating(dtype), "one_hot: dtype {} asked for; needs f32 or f64", dtype);
  return apply(one_hot_op, {indices}, Classes{classes, dtype});
}

Tensor cast(const Tensor& x, DType dtype) { return x.dtype() == dtype ? x : apply(cast_op, {x}, Cast{dtype}); }

}  // namespace mollify
