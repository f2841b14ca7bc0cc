// The layers that networks are built from: nested calls such as sequential(conv2d(32, 4), relu(), flatten(),
// dense(10)).
#pragma once

#include <mollify/nn/network.h>

#pragma GCC visibility push(default)
namespace mollify::nn {

// y = x·Wᵀ + b, W [outputs, inputs]
LayerPointer dense(int64_t outputs, bool bias = true);

struct Convolution {
  int64_t filters, kernel, stride = 1, padding = 0, groups = 1;
  bool bias = true;
};
LayerPointer conv2d(const Convolution& how);

// Over all axes but the last; running mean and unbiased variance move by `momentum` a batch.
struct BatchNorm {
  bool affine = true;  // with scale and shift
  double epsilon = 1e-5, momentum = 0.1;
  // Above 0: a bias follows, without a scale, which starts as that of a layer of so many inputs: of the layer before,
  // which has none then. Not with `affine`, where batch_norm throws ValueError.
  int64_t bias_fan_in = 0;
};
LayerPointer batch_norm(const BatchNorm& how = {});

LayerPointer average_pool(int64_t kernel, int64_t stride, int64_t padding = 0);
LayerPointer max_pool(int64_t kernel, int64_t stride, int64_t padding = 0);
LayerPointer global_average_pool();  // [N, H, W, C] → [N, C]
LayerPointer flatten();              // [N, …] → [N, rest]
LayerPointer dropout(double rate);   // in training mode

// An elementwise function by its name in ops.h, such as "relu", "gelu", "tanh"; throws ValueError with the names there
// are.
LayerPointer activation(const std::string& name);
LayerPointer relu();

LayerPointer sequential(std::vector<LayerPointer> layers);
template <class... Layers>
LayerPointer sequential(LayerPointer first, Layers... rest) {
  std::vector<LayerPointer> layers;
  layers.push_back(std::move(first));
  (layers.push_back(std::move(rest)), ...);
  return sequential(std::move(layers));
}

// body(before(x)) + shortcut(before(x)). Without a shortcut x itself is added; `before` may be null.
LayerPointer residual(LayerPointer body, LayerPointer shortcut = nullptr, LayerPointer before = nullptr);

}  // namespace mollify::nn
#pragma GCC visibility pop
