// Where walks start: rows ±e_j for numbers of a node. Inner header of nn/bounds.
#pragma once

#include <mollify/nn/bounds/walk.h>

#include <vector>

namespace mollify::nn::bounds {

// 0, 1, …, count − 1, i32.
Tensor numbers_below(int64_t count, Device device);

// Rows ±e_j of a node for the numbers j = wanted[first … last − 1]: [1, 2·count, d…], the positive ones first.
Tensor rows_of_numbers(const Tensor& wanted, int64_t first, int64_t last, const Shape& shape, DType dtype);

// Shared rows ±e_j for what any of `numbers` (flat over samples, rising) is of, and for each of them a pair of its
// lower and its upper one.
// In an image the rows are windows of one pixel, shared by all places: a network's convolutions are the same
// everywhere.
Start start_of_pairs(const Graph& graph, int node, std::span<const int32_t> numbers);

// Numbers of a node, with two rows each, that fit a budget of numbers in rows.
int64_t row_limit(const Graph& graph, int node, int64_t budget);

}  // namespace mollify::nn::bounds
