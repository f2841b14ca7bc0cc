// Vectors and matrices of which few numbers matter.
#include <mollify/engine/cpu/sparse.h>
#include <mollify/engine/cuda/sparse.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {
namespace {

// ---- put: x [d], values [n] and, for the kernels, their places as i32 [n]. The attribute is the list of places.

Layouts put_shape(const Op& op, Inputs in, const Attributes&) {
  require_floating(op.name, in[0]);
  require_same_dtype(op.name, in[0], in[1]);
  require(in[0].rank() == 1 && in[1].shape() == in[2].shape(),
          "{}: {} into {} at {} places; needs a vector, and a number for each place", op.name, in[1].shape(),
          in[0].shape(), in[2].size());
  return Layout::packed(in[0].shape(), in[0].dtype(), in[0].device());
}

void put_kernel(const KernelArguments& a) {
  for_floating(a.out[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(a.out[0].device(), put<T>(a.in[0].address<T>(), a.in[0].size(), a.in[1].address<T>(),
                                         a.in[2].address<int32_t>(), a.in[2].size(), a.out[0].address<T>()));
  });
}

extern const Op put_op;
Tensor put_at(const Tensor& x, const Tensor& values, const Tensor& indices, const Attributes& list) {
  return apply(put_op, {x, values, indices}, list);
}
const Op put_op{.name = "put",
                .linearity = Linearity::sum,
                .shape = put_shape,
                .cpu = put_kernel,
                .cuda = MOLLIFY_CUDA_KERNEL(put_kernel),
                .operands = packed_operands,
                .vjp = [](const VjpArguments& a) -> Tensors {
                  return {a.needs(0) ? put_at(a.g, zeros_like(a.in[1]), a.in[2], a.attributes) : Tensor(),
                          a.needs(1) ? take(a.g, a.in[2]) : Tensor(), Tensor()};
                }};

// ---- sparse_dense: columns [in, rows], values [n] and their places as i32 [n] in a matrix [outputs, in]

struct Outputs {
  int64_t count;
};

Layouts sparse_dense_shape(const Op& op, Inputs in, const Attributes& attributes) {
  require_floating(op.name, in[0]);
  require_same_dtype(op.name, in[0], in[1]);
  require(in[0].rank() == 2 && in[1].shape() == in[2].shape(),
          "{}: columns are {}, values {} at {} places; needs [inputs, rows], and a number for each place", op.name,
          in[0].shape(), in[1].shape(), in[2].size());
  return Layout::packed({in[0].dim(1), attributes.as<Outputs>().count}, in[0].dtype(), in[0].device());
}

void sparse_dense_kernel(const KernelArguments& a) {
  const Tensor &columns = a.in[0], &values = a.in[1];
  for_floating(columns.dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(columns.device(),
               sparse_dense<T>(columns.address<T>(), columns.dim(0), columns.dim(1), values.address<T>(),
                               a.in[2].address<int32_t>(), values.size(), a.out[0].dim(1), a.out[0].address<T>()));
  });
}

// Of every place the row and the column of the matrix, i32.
struct Entries {
  Tensor rows, columns;
};
Entries entries_of(const Tensor& indices, int64_t inputs) {
  const Tensor places = cast(indices, DType::f64), rows = floor(places / static_cast<double>(inputs));
  return {cast(rows, DType::i32), cast(places - rows * static_cast<double>(inputs), DType::i32)};
}

const Op sparse_dense_op{.name = "sparse_dense",
                         .linearity = Linearity::product,
                         .shape = sparse_dense_shape,
                         .cpu = sparse_dense_kernel,
                         .cuda = MOLLIFY_CUDA_KERNEL(sparse_dense_kernel),
                         .operands = packed_operands,
                         .vjp = [](const VjpArguments& a) -> Tensors {
                           const Tensor &columns = a.in[0], &values = a.in[1];
                           const auto [rows, inputs] = entries_of(a.in[2], columns.dim(0));
                           const Tensor g = take(transpose(a.g), rows);  // [n, rows]
                           Tensor to_columns;
                           if (a.needs(0))
                             to_columns =
                                 scatter_add(columns.shape(), expand(reshape(inputs, {inputs.size(), 1}), g.shape()),
                                             g * reshape(values, {values.size(), 1}), 0);
                           return {to_columns, a.needs(1) ? sum(g * take(columns, inputs), {1}) : Tensor(), Tensor()};
                         }};

}  // namespace

Tensor put(const Tensor& x, const Positions& places, const Tensor& values) {
  require(x.shape() == Shape{places.size()}, "put: x is {}, the places are those of {} numbers; needs as many",
          x.shape(), places.size());
  return put_at(x, values, places.indices(), places.shared());
}

Tensor sparse_dense(const Tensor& columns, const Positions& places, const Tensor& values) {
  require(columns.rank() == 2 && columns.dim(0) > 0 && places.size() % columns.dim(0) == 0,
          "sparse_dense: columns are {}, the places are those of {} numbers; needs [inputs, rows] and a matrix "
          "[outputs, inputs]",
          columns.shape(), places.size());
  return apply(sparse_dense_op, {columns, values, places.indices()}, Outputs{places.size() / columns.dim(0)});
}

Positions::Positions(std::vector<int64_t> list, int64_t size, Device device) : size_(size) {
  require<ValueError>(size >= 0 && size < int64_t{1} << 31,
                      "positions: in a vector of {} numbers; needs less than 2^31", size);
  std::vector<int32_t> indices;
  indices.reserve(list.size());
  int64_t last = -1;
  for (const int64_t place : list) {
    require<ValueError>(place > last && place < size, "positions: {} after {} in a vector of {}; needs them to rise",
                        place, last, size);
    indices.push_back(static_cast<int32_t>(last = place));
  }
  const Shape shape{static_cast<int64_t>(indices.size())};
  indices_ = to(Tensor::from(indices, shape), device);
  list_ = std::make_shared<const std::vector<int64_t>>(std::move(list));
}

}  // namespace mollify
