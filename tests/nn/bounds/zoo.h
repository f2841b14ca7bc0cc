// Networks, boxes and samples that the tests of bounds share.
#pragma once

#include "../../devices.h"

#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/models.h>

#include <memory>
#include <string>
#include <vector>

namespace mollify::nn::bounds {

struct Specimen {
  std::string name;
  std::shared_ptr<Network> network;
  Tensor weights, state;
};

inline Tensor drawn(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return normal(shape, {7, stream}, Tensor::scalar(0, DType::i32), dtype);
}
inline Tensor drawn_uniform(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return uniform(shape, {8, stream}, Tensor::scalar(0, DType::i32), dtype);
}

inline Specimen specimen(const std::string& name, const Shape& input, LayerPointer root, uint64_t seed, DType dtype) {
  auto network = std::make_shared<Network>(name, input, std::move(root));
  const Tensor weights = network->initial_weights(Initialization::fan_in_uniform, seed, dtype) * 2.0;
  Tensor state = network->initial_state(dtype);
  if (state.size() > 0)
    state = state + drawn_uniform(state.shape(), seed, dtype) * 0.5;  // running statistics that do something
  return {name, network, weights, state};
}

// Dense, convolutional, residual, pooling, and every activation with a rule.
inline std::vector<Specimen> zoo(DType dtype = DType::f64) {
  std::vector<Specimen> all;
  uint64_t seed = 1;
  const auto add = [&](const std::string& name, const Shape& input, LayerPointer root) {
    all.push_back(specimen(name, input, std::move(root), seed++, dtype));
  };
  add("dense", {4}, sequential(dense(8), relu(), dense(7), relu(), dense(3)));
  add("conv", {7, 6, 2},
      sequential(conv2d({.filters = 3, .kernel = 3, .stride = 2, .padding = 1}), relu(),
                 conv2d({.filters = 4, .kernel = 3, .padding = 1, .bias = false}), relu(), flatten(), dense(3)));
  add("grouped", {6, 6, 2},
      sequential(conv2d({.filters = 4, .kernel = 3, .padding = 1, .groups = 2}), relu(), average_pool(2, 2), flatten(),
                 dense(3)));
  add("residual", {6, 6, 2},
      sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), batch_norm(), relu(),
                 residual(sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1, .bias = false}), batch_norm(),
                                     relu(), conv2d({.filters = 3, .kernel = 3, .padding = 1}))),
                 relu(), global_average_pool(), dense(3)));
  add("shortcut", {6, 6, 2},
      sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), relu(),
                 residual(sequential(conv2d({.filters = 4, .kernel = 3, .stride = 2, .padding = 1}), relu(),
                                     conv2d({.filters = 4, .kernel = 1})),
                          conv2d({.filters = 4, .kernel = 1, .stride = 2})),
                 relu(), flatten(), dense(2)));
  add("max_pool", {6, 6, 2},
      sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), relu(), max_pool(2, 2),
                 conv2d({.filters = 2, .kernel = 2}), max_pool(2, 1, 1), flatten(), dense(3)));
  for (const char* name : {"leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh", "erf", "abs", "square"})
    if (find_relaxation(name))
      add(name, {4}, sequential(dense(6), activation(name), dense(5), activation(name), dense(2)));
  return all;
}

// Boxes [rows, …] of mixed radii, some coordinates without any.
inline Box boxes_for(const Network& network, int64_t rows, uint64_t stream, double radius, DType dtype) {
  Shape shape = network.input();
  shape.insert(0, rows);
  const Tensor center = drawn(shape, stream, dtype),
               extent = maximum(drawn_uniform(shape, stream + 1, dtype) - 0.1, Tensor::scalar(0, dtype)) * radius;
  return {center - extent, center + extent};
}

// A point of each box: uniform, or a corner where `corner`.
inline Tensor point_in(const Box& box, uint64_t stream, bool corner) {
  Tensor share = to(drawn_uniform(box.lower.shape(), stream, box.lower.dtype()), box.lower.device());
  if (corner) share = cast(greater(share, Tensor::scalar(0.5, share.dtype())), share.dtype());
  return minimum(maximum(box.lower + (box.upper - box.lower) * share, box.lower), box.upper);
}

// The same where a device is.
inline Box on(Device device, const Box& box) { return {to(box.lower, device), to(box.upper, device)}; }
inline Specimen on(Device device, const Specimen& s) {
  return {s.name, s.network, to(s.weights, device), to(s.state, device)};
}
// On a GPU, which may be an emulated one, a few that have everything between them.
inline std::vector<Specimen> zoo(Device device, DType dtype) {
  std::vector<Specimen> all;
  for (const Specimen& s : zoo(dtype))
    if (device == Device::cpu || s.name == "dense" || s.name == "max_pool" || s.name == "tanh")
      all.push_back(on(device, s));
  return all;
}

inline Tensor evaluated(const Specimen& s, const Tensor& x) {
  return (*s.network)(s.weights, s.state, x, Mode::evaluate).output;
}

constexpr Method kMethods[] = {Method::ibp,       Method::hbox,  Method::deepz,
                               Method::crown_ibp, Method::crown, Method::alpha_crown};

}  // namespace mollify::nn::bounds
