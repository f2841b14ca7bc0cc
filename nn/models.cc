#include <mollify/nn/models.h>

#include <mollify/nn/layers.h>

namespace mollify::nn {
namespace {

LayerPointer conv(int64_t filters, int64_t kernel, int64_t stride, int64_t padding) {
  return conv2d({.filters = filters, .kernel = kernel, .stride = stride, .padding = padding});
}
// Before a batch norm a bias would do nothing.
LayerPointer conv_without_bias(int64_t filters, int64_t kernel, int64_t stride) {
  return conv2d({.filters = filters, .kernel = kernel, .stride = stride, .padding = kernel / 2, .bias = false});
}

LayerPointer linear(int64_t classes) { return sequential(flatten(), dense(classes)); }

LayerPointer cnn(int64_t classes) {
  return sequential(conv(32, 4, 1, 0), relu(), average_pool(2, 2), flatten(), dense(128), relu(), dense(classes));
}

LayerPointer lenet_300_100(int64_t classes) {
  const BatchNorm plain{.affine = false};
  return sequential(flatten(), dense(300), relu(), batch_norm(plain), dense(100), relu(), batch_norm(plain),
                    dense(classes));
}

// Of sparse zeroth-order optimisation (Ohta et al. 2020), on CIFAR-10.
LayerPointer szo_cnn(int64_t classes) {
  const BatchNorm plain{.affine = false};
  return sequential(conv(64, 3, 1, 1), relu(), conv(64, 3, 1, 1), relu(), max_pool(2, 2), flatten(), dense(256), relu(),
                    batch_norm(plain), dense(256), relu(), batch_norm(plain), dense(classes));
}

LayerPointer cnn3(int64_t first, int64_t second, int64_t classes) {
  return sequential(conv(first, 5, 2, 2), relu(), conv(second, 4, 2, 1), relu(), flatten(), dense(classes));
}

LayerPointer cnn5(int64_t classes) {
  return sequential(conv(16, 3, 1, 1), relu(), conv(16, 4, 2, 1), relu(), conv(32, 4, 2, 1), relu(), flatten(),
                    dense(512), relu(), dense(classes));
}

LayerPointer shortcut(int64_t filters, int64_t stride) {
  return sequential(conv_without_bias(filters, 1, stride), batch_norm());
}

LayerPointer basic_block(int64_t channels, int64_t filters, int64_t stride) {
  auto body = sequential(conv_without_bias(filters, 3, stride), batch_norm(), relu(), conv_without_bias(filters, 3, 1),
                         batch_norm());
  const bool same = stride == 1 && channels == filters;
  return sequential(residual(std::move(body), same ? nullptr : shortcut(filters, stride)), relu());
}

LayerPointer bottleneck_block(int64_t channels, int64_t filters, int64_t stride) {
  auto body = sequential(conv_without_bias(filters, 1, 1), batch_norm(), relu(), conv_without_bias(filters, 3, stride),
                         batch_norm(), relu(), conv_without_bias(4 * filters, 1, 1), batch_norm());
  const bool same = stride == 1 && channels == 4 * filters;
  return sequential(residual(std::move(body), same ? nullptr : shortcut(4 * filters, stride)), relu());
}

// Stages of `width`, twice as many, … filters, whose first block halves the extents, but for the first stage.
void add_stages(std::vector<LayerPointer>& layers, int64_t width, const std::vector<int>& blocks, bool bottleneck) {
  int64_t channels = width;
  for (size_t stage = 0; stage < blocks.size(); ++stage) {
    const int64_t filters = width << stage;
    for (int i = 0; i < blocks[stage]; ++i) {
      const int64_t stride = i == 0 && stage > 0 ? 2 : 1;
      layers.push_back(bottleneck ? bottleneck_block(channels, filters, stride)
                                  : basic_block(channels, filters, stride));
      channels = bottleneck ? 4 * filters : filters;
    }
  }
}

// He et al. 2016, table 1.
LayerPointer resnet(const Shape& input, const std::vector<int>& blocks, bool bottleneck, int64_t classes) {
  std::vector<LayerPointer> layers;
  if (input[0] < 64) {
    layers.push_back(sequential(conv_without_bias(64, 3, 1), batch_norm(), relu()));
  } else {
    layers.push_back(sequential(conv_without_bias(64, 7, 2), batch_norm(), relu(), max_pool(3, 2, 1)));
  }
  add_stages(layers, 64, blocks, bottleneck);
  layers.push_back(sequential(global_average_pool(), dense(classes)));
  return sequential(std::move(layers));
}

// He et al. 2016, section 4.2, as randomized smoothing has it (Cohen et al. 2019): a shortcut that changes the shape is
// a 1×1 convolution. The pool is 8×8 for images of 32 pixels.
LayerPointer cifar_resnet(int depth, int64_t classes) {
  std::vector<LayerPointer> layers;
  layers.push_back(sequential(conv_without_bias(16, 3, 1), batch_norm(), relu()));
  const int blocks = (depth - 2) / 6;
  add_stages(layers, 16, {blocks, blocks, blocks}, /*bottleneck=*/false);
  layers.push_back(sequential(global_average_pool(), dense(classes)));
  return sequential(std::move(layers));
}

// A convolution whose bias comes after its batch norm, which has no scale.
LayerPointer conv_norm_bias(int64_t channels, int64_t filters, int64_t kernel) {
  return sequential(conv_without_bias(filters, kernel, 1),
                    batch_norm({.affine = false, .bias_fan_in = channels * kernel * kernel}));
}

// Campbell, Finlay & Oberman 2020, on CIFAR-10. That the outputs are normalised, too, fixes the scale of what their
// squared differences are compared with.
LayerPointer heat_resnet(const Shape& input, const std::vector<int>& blocks, int64_t classes) {
  std::vector<LayerPointer> layers;
  int64_t channels = 16;
  layers.push_back(sequential(conv_norm_bias(input[2], channels, 3), relu()));
  for (size_t stage = 0; stage < blocks.size(); ++stage) {
    if (stage > 0) {
      layers.push_back(sequential(conv_norm_bias(channels, 2 * channels, 1), relu(), average_pool(2, 2)));
      channels *= 2;
    }
    for (int i = 0; i < blocks[stage]; ++i) {
      auto body = sequential(conv_norm_bias(channels, channels, 3), relu(), conv_norm_bias(channels, channels, 3));
      layers.push_back(sequential(residual(std::move(body)), relu()));
    }
  }
  layers.push_back(sequential(global_average_pool(), dense(classes, /*bias=*/false),
                              batch_norm({.affine = false, .bias_fan_in = channels})));
  return sequential(std::move(layers));
}

// Pre-activation blocks; where the shape changes the shortcut starts after the activation.
LayerPointer wide_block(int64_t channels, int64_t filters, int64_t stride) {
  auto rest = sequential(conv_without_bias(filters, 3, stride), batch_norm(), relu(), conv_without_bias(filters, 3, 1));
  if (stride == 1 && channels == filters) return residual(sequential(batch_norm(), relu(), std::move(rest)));
  return residual(std::move(rest), conv_without_bias(filters, 1, stride), sequential(batch_norm(), relu()));
}

LayerPointer wide_resnet(int depth, int64_t width, int64_t classes) {
  std::vector<LayerPointer> layers;
  layers.push_back(conv_without_bias(16, 3, 1));
  int64_t channels = 16;
  for (int stage = 0; stage < 3; ++stage) {
    const int64_t filters = (int64_t{16} << stage) * width;
    for (int i = 0; i < (depth - 4) / 6; ++i) {
      layers.push_back(wide_block(channels, filters, i == 0 && stage > 0 ? 2 : 1));
      channels = filters;
    }
  }
  layers.push_back(sequential(batch_norm(), relu(), global_average_pool(), dense(classes)));
  return sequential(std::move(layers));
}

const struct { const char* name; LayerPointer (*build)(const Shape& input, int64_t classes);
} kModels[] = {
    {"cnn", [](const Shape&, int64_t classes) { return cnn(classes); }},
    {"linear", [](const Shape&, int64_t classes) { return linear(classes); }},
    {"lenet_300_100", [](const Shape&, int64_t classes) { return lenet_300_100(classes); }},
    {"szo_cnn", [](const Shape&, int64_t classes) { return szo_cnn(classes); }},
    {"cnn3", [](const Shape&, int64_t classes) { return cnn3(16, 32, classes); }},
    {"cnn3_tiny", [](const Shape&, int64_t classes) { return cnn3(2, 2, classes); }},
    {"cnn5", [](const Shape&, int64_t classes) { return cnn5(classes); }},
    {"resnet18",
     [](const Shape& input, int64_t classes) {
       return resnet(input, {2, 2, 2, 2}, false, classes);
     }},
    {"resnet34",
     [](const Shape& input, int64_t classes) {
       return resnet(input, {3, 4, 6, 3}, false, classes);
     }},
    {"resnet50",
     [](const Shape& input, int64_t classes) {
       return resnet(input, {3, 4, 6, 3}, true, classes);
     }},
    {"cifar_resnet20", [](const Shape&, int64_t classes) { return cifar_resnet(20, classes); }},
    {"cifar_resnet110", [](const Shape&, int64_t classes) { return cifar_resnet(110, classes); }},
    {"heat_resnet34",
     [](const Shape& input, int64_t classes) {
       return heat_resnet(input, {5, 5, 5}, classes);
     }},
    {"wrn_28_10", [](const Shape&, int64_t classes) { return wide_resnet(28, 10, classes); }},
};

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& model : kModels) names.push_back(model.name);
  return names;
}

Network make(const std::string& name, const Shape& input, int64_t classes) {
  require(input.rank() == 3, "models: input is {}; needs [H, W, C]", input);
  require<ValueError>(classes >= 1, "models: {} classes; needs at least 1", classes);
  std::string names;
  for (const auto& model : kModels) {
    if (name == model.name) return Network(name, input, model.build(input, classes));
    names += std::string(names.empty() ? "" : ", ") + model.name;
  }
  throw ValueError(format("models: '{}' given; there are {}", name, names));
}

}  // namespace mollify::nn
