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

namespace {

// Where in a list of the numbers asked for, in rising order, each of them is; the list itself.
struct Kinds { std::vector<int32_t> place, wanted; };
template <class F>
Kinds kinds_of(std::span<const int32_t> numbers, int32_t extent, const F& kind) {
  Kinds kinds{std::vector<int32_t>(static_cast<size_t>(extent), -1), {}};
  for (const int32_t number : numbers) kinds.place[static_cast<size_t>(kind(number))] = 0;
  for (int32_t j = 0; j < extent; ++j) {
    if (kinds.place[static_cast<size_t>(j)] < 0) continue;
    kinds.place[static_cast<size_t>(j)] = static_cast<int32_t>(kinds.wanted.size());
    kinds.wanted.push_back(j);
  }
  return kinds;
}

}  // namespace

Start start_of_pairs(const Graph& graph, int node, std::span<const int32_t> numbers) {
  const Shape& shape = graph.nodes()[static_cast<size_t>(node)].shape;
  const bool image = shape.rank() == 3 && shape[0] * shape[1] > 1;
  const auto size = static_cast<int32_t>(shape.size()), extent = image ? static_cast<int32_t>(shape[2]) : size;
  const auto kind = [&](int32_t number) {
    return number % extent;
  };  // a number of the node, or of an image its channel
  const Kinds kinds = kinds_of(numbers, extent, kind);
  const auto count = static_cast<int32_t>(kinds.wanted.size());
  std::vector<int32_t> source, sample, place;
  for (const int32_t number : numbers) {
    const int32_t own = kinds.place[static_cast<size_t>(kind(number))];
    source.insert(source.end(), {own, own + count});
    sample.insert(sample.end(), 2, number / size);
    if (image) place.insert(place.end(), 2, number % size / extent);
  }
  const auto pairs = static_cast<int64_t>(source.size());
  const Shape row = image ? Shape{1, 1, extent} : shape;
  const auto list = [&](const std::vector<int32_t>& values, int64_t size) {
    return to(Tensor::from(values, {size}), graph.device());
  };
  Start start{
      node,
      rows_of_numbers(list(kinds.wanted, count), 0, count, row, graph.dtype()),
      {.source = list(source, pairs), .sample = list(sample, pairs), .place = {}, .columns = image ? shape[1] : 0}};
  if (image) start.pairs.place = list(place, pairs);
  return start;
}

int64_t row_limit(const Graph& graph, int node, int64_t budget) {
  int64_t widest = 1;
  for (int i = 0; i <= node; ++i) widest = std::max(widest, graph.nodes()[static_cast<size_t>(i)].shape.size());
  return budget / (2 * widest);
}

Tensor numbers_below(int64_t count, Device device) { return cast(arange(count, DType::f64, device), DType::i32); }

Tensor identity_rows(const Shape& shape, DType dtype, Device device) {
  return rows_of_numbers(numbers_below(shape.size(), device), 0, shape.size(), shape, dtype);
}

}  // namespace mollify::nn::bounds
