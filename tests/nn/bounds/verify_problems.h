// Small networks and properties that the tests of verification share, and what they should give, by brute force.
#pragma once

#include "zoo.h"

#include <mollify/nn/bounds/verify.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <optional>

namespace mollify::nn::bounds {

using formats::Case;
using formats::Halfspaces;
using formats::Property;
using Values = std::vector<double>;

inline void PrintTo(Verdict verdict, std::ostream* out) { *out << to_string(verdict); }

struct Problem {
  Specimen network;
  Tensor steepness;  // [inputs, outputs]: no output moves faster with an input
  Graph graph(Device device = Device::cpu) const {
    return Graph(*network.network, to(network.weights, device),
                 network.state.defined() ? to(network.state, device) : Tensor());
  }
  int64_t inputs() const { return network.network->input().size(); }
  int64_t outputs() const { return network.network->output().size(); }
};

// `root` builds the layers with an activation of a slope of at most 1. With relu for it, weights |W| and no biases, the
// network's output at e_j bounds how fast the outputs move with input j.
inline Problem problem(const std::string& name, const Shape& input,
                       const std::function<LayerPointer(const std::string&)>& root, uint64_t seed,
                       const std::string& with = "relu") {
  Problem p{specimen(name, input, root(with), seed, DType::f64), {}};
  const Network steepest(name, input, root("relu"));
  Values weights = p.network.weights.to_vector<double>();
  for (const Piece& piece : steepest.weights())
    for (int64_t i = piece.offset; i < piece.offset + piece.shape.size(); ++i) {
      double& w = weights[static_cast<size_t>(i)];
      w = piece.role == Role::bias ? 0 : std::abs(w);
    }
  Shape rows = input;
  rows.insert(0, input.size());
  const Tensor each = reshape(one_hot(arange(input.size(), DType::i32), input.size(), DType::f64), rows);
  p.steepness = steepest(Tensor::from(weights, {static_cast<int64_t>(weights.size())}), each);
  return p;
}

inline Values outputs_at(const Graph& graph, const Values& points, int64_t count) {
  Shape shape = graph.nodes()[0].shape;
  shape.insert(0, count);
  return graph(Tensor::from(points, shape)).to_vector<double>();
}

inline Property property_of(const Problem& p, std::vector<Case> cases) {
  return {p.inputs(), p.outputs(), std::move(cases)};
}

// Sets of outputs with so many rows each, of random directions and limits.
inline std::vector<Halfspaces> random_sets(const Problem& p, const std::vector<int64_t>& rows, uint64_t stream) {
  std::vector<Halfspaces> sets;
  for (const int64_t count : rows) {
    sets.push_back(
        {drawn({count * p.outputs()}, stream).to_vector<double>(), drawn({count}, stream + 1).to_vector<double>()});
    stream += 2;
  }
  return sets;
}

// Every limit moved by so much.
inline Property moved(Property property, double by) {
  for (Case& box : property.cases)
    for (Halfspaces& set : box.unsafe)
      for (double& bound : set.bounds) bound += by;
  return property;
}

// How far outputs are from the nearest unsafe set: ≤ 0 within.
inline double distance(const Case& box, const double* y, int64_t outputs) {
  double least = std::numeric_limits<double>::infinity();
  for (const Halfspaces& set : box.unsafe) {
    double most = -std::numeric_limits<double>::infinity();
    for (size_t r = 0; r < set.bounds.size(); ++r) {
      double value = -set.bounds[r];
      for (int64_t j = 0; j < outputs; ++j)
        value += set.coefficients[r * static_cast<size_t>(outputs) + static_cast<size_t>(j)] * y[j];
      most = std::max(most, value);
    }
    least = std::min(least, most);
  }
  return least;
}

// At most how much the distance changes per unit of each input.
inline Values steepness_of(const Problem& p, const Case& box) {
  const Values each = p.steepness.to_vector<double>();
  const auto inputs = static_cast<size_t>(p.inputs()), outputs = static_cast<size_t>(p.outputs());
  Values steepest(inputs, 0);
  for (const Halfspaces& set : box.unsafe)
    for (size_t r = 0; r < set.bounds.size(); ++r)
      for (size_t i = 0; i < inputs; ++i) {
        double total = 0;
        for (size_t j = 0; j < outputs; ++j)
          total += std::abs(set.coefficients[r * outputs + j]) * each[i * outputs + j];
        steepest[i] = std::max(steepest[i], total);
      }
  return steepest;
}

// The least distance over the case's box, found at x; no distance is less by more than `gap`. A grid is made finer
// wherever its steepness lets something less lie between its points; nothing is returned where that takes too many, as
// around plateaus.
struct Least {
  double distance = std::numeric_limits<double>::infinity();
  Values x;
};
inline std::optional<Least> least_distance(const Problem& p, const Case& box, double gap) {
  const Graph graph = p.graph();
  const Values steepness = steepness_of(p, box);
  const size_t inputs = box.lower.size();
  const auto outputs = static_cast<size_t>(p.outputs());
  Values half(inputs), cells(inputs);  // cells: centres, one after the other
  for (size_t i = 0; i < inputs; ++i) {
    half[i] = (box.upper[i] - box.lower[i]) / 2;
    cells[i] = box.lower[i] + half[i];
  }
  Least least;
  while (!cells.empty()) {
    const size_t count = cells.size() / inputs;
    const Values y = outputs_at(graph, cells, static_cast<int64_t>(count));
    Values found(count);
    for (size_t c = 0; c < count; ++c) {
      found[c] = distance(box, y.data() + c * outputs, p.outputs());
      if (!(found[c] < least.distance)) continue;
      least = {
          found[c],
          {cells.begin() + static_cast<int64_t>(c * inputs), cells.begin() + static_cast<int64_t>((c + 1) * inputs)}};
    }
    double reach = 0;
    for (size_t i = 0; i < inputs; ++i) reach += steepness[i] * half[i];
    Values finer;
    for (size_t c = 0; c < count; ++c) {
      if (found[c] - reach >= least.distance - gap) continue;
      Values corners(cells.begin() + static_cast<int64_t>(c * inputs),
                     cells.begin() + static_cast<int64_t>((c + 1) * inputs));
      for (size_t i = 0; i < inputs; ++i) {
        if (half[i] == 0) continue;
        const size_t before = corners.size();
        for (size_t k = i; k < before; k += inputs) corners[k] -= half[i] / 2;
        corners.insert(corners.end(), corners.begin(), corners.begin() + static_cast<int64_t>(before));
        for (size_t k = before + i; k < corners.size(); k += inputs) corners[k] += half[i];
      }
      finer.insert(finer.end(), corners.begin(), corners.end());
    }
    cells = std::move(finer);
    for (double& width : half) width /= 2;
    if (cells.size() > 400'000 * inputs) return {};
  }
  return least;
}

// The witness is in a box to the last bit, its output is the network's, and both are unsafe.
inline void expect_witness(const Graph& graph, const Property& property, const Outcome& outcome) {
  ASSERT_EQ(outcome.verdict, Verdict::sat) << outcome.stage;
  ASSERT_EQ(outcome.input.size(), static_cast<size_t>(property.inputs));
  EXPECT_EQ(outcome.output, outputs_at(graph, outcome.input, 1));
  EXPECT_TRUE(formats::violates(property, outcome.input, outcome.output));
  bool inside_one = false;
  for (const Case& box : property.cases) {
    bool inside = true;
    for (size_t i = 0; i < box.lower.size(); ++i)
      inside &= box.lower[i] <= outcome.input[i] && outcome.input[i] <= box.upper[i];
    inside_one |= inside;
  }
  EXPECT_TRUE(inside_one);
}

}  // namespace mollify::nn::bounds
