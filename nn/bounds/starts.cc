#include <mollify/nn/bounds/starts.h>

#include <mollify/engine/ops.h>
#include <mollify/nn/bounds/bounds.h>

#include <algorithm>
#include <array>

namespace mollify::nn::bounds {

Tensor rows_of_numbers(const Tensor& wanted, int64_t first, int64_t last, const Shape& shape, DType dtype) {
  const Tensor ones = one_hot(slice(wanted, 0, first, last), shape.size(), dtype);
  Shape rows = shape;
  rows.insert(0, 2 * (last - first));
  rows.insert(0, 1);
  return reshape(concat(std::array{ones, -ones}), rows);
}

Start start_of_pairs(const Graph& graph, int node, std::span<const int32_t> numbers) {
  const Shape& shape = graph.nodes()[static_cast<size_t>(node)].shape;
  const auto size = static_cast<int32_t>(shape.size());
  std::vector<int32_t> row(static_cast<size_t>(size), -1), wanted, source, sample;
  for (const int32_t number : numbers) row[static_cast<size_t>(number % size)] = 0;
  for (int32_t j = 0; j < size; ++j) {
    if (row[static_cast<size_t>(j)] < 0) continue;
    row[static_cast<size_t>(j)] = static_cast<int32_t>(wanted.size());
    wanted.push_back(j);
  }
  const auto kinds = static_cast<int32_t>(wanted.size());
  for (const int32_t number : numbers) {
    const int32_t own = row[static_cast<size_t>(number % size)];
    source.insert(source.end(), {own, own + kinds});
    sample.insert(sample.end(), 2, number / size);
  }
  const auto pairs = static_cast<int64_t>(source.size());
  return {node, rows_of_numbers(Tensor::from(wanted, {kinds}), 0, kinds, shape, graph.dtype()), {Tensor::from(source, {pairs}), Tensor::from(sample, {pairs})}};
}

int64_t row_limit(const Graph& graph, int node, int64_t budget) {
  int64_t widest = 1;
  for (int i = 0; i <= node; ++i) widest = std::max(widest, graph.nodes()[static_cast<size_t>(i)].shape.size());
  return budget / (2 * widest);
}

Tensor identity_rows(const Shape& shape, DType dtype) {
  return rows_of_numbers(arange(shape.size(), DType::i32), 0, shape.size(), shape, dtype);
}

}  // namespace mollify::nn::bounds
