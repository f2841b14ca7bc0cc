#include <mollify/nn/layers.h>

#include <mollify/engine/trace.h>
#include <mollify/nn/own_activation.h>

namespace mollify::nn {
namespace {

struct Dense final : Layer {
  Dense(int64_t outputs, bool bias) : outputs(outputs), has_bias(bias) {}
  const char* kind() const override { return "dense"; }
  Shape declare(Declaration& declaration, const Shape& input) override {
    require(input.rank() == 1, "dense: input is {} a row; needs one axis (flatten first)", input);
    weight = declaration.weight("weight", {outputs, input[0]}, Role::weight, input[0], outputs);
    if (has_bias) bias = declaration.weight("bias", {outputs}, Role::bias, input[0], outputs);
    return {outputs};
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    return mollify::dense(x, pass.weights[weight], has_bias ? pass.weights[bias] : Tensor());
  }
  int64_t outputs;
  bool has_bias;
  size_t weight = 0, bias = 0;
};

struct Conv2dLayer final : Layer {
  explicit Conv2dLayer(const Convolution& how) : how(how) {}
  const char* kind() const override { return "conv"; }
  Conv2d operation() const {
    return {how.stride, how.stride, how.padding, how.padding, how.padding, how.padding, 1, 1, how.groups};
  }
  Shape declare(Declaration& declaration, const Shape& input) override {
    require(input.rank() == 3 && input[2] % how.groups == 0,
            "conv2d: input is {} an image, {} groups; needs [H, W, C] with channels that the groups divide", input,
            how.groups);
    const int64_t height = input[0] + 2 * how.padding - how.kernel, width = input[1] + 2 * how.padding - how.kernel,
                  depth = input[2] / how.groups;
    require(height >= 0 && width >= 0, "conv2d: input is {}, kernel {} with padding {}; the kernel does not fit", input,
            how.kernel, how.padding);
    const int64_t taps = how.kernel * how.kernel, fan_in = taps * depth, fan_out = taps * how.filters / how.groups;
    weight = declaration.weight("weight", {how.filters, how.kernel, how.kernel, depth}, Role::weight, fan_in, fan_out);
    if (how.bias) bias = declaration.weight("bias", {how.filters}, Role::bias, fan_in, fan_out);
    return {height / how.stride + 1, width / how.stride + 1, how.filters};
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    return mollify::conv2d(x, pass.weights[weight], how.bias ? pass.weights[bias] : Tensor(), operation());
  }
  Convolution how;
  size_t weight = 0, bias = 0;
};

struct BatchNormLayer final : Layer {
  explicit BatchNormLayer(const BatchNorm& how) : how(how) {}
  const char* kind() const override { return "norm"; }
  Shape declare(Declaration& declaration, const Shape& input) override {
    require(input.rank() >= 1, "batch_norm: input is {} a row; needs channels", input);
    const Shape channels{input.back()};
    if (how.affine) {
      scale = declaration.weight("scale", channels, Role::scale, 0, 0, 1);
      shift = declaration.weight("shift", channels, Role::shift, 0, 0, 0);
    } else if (how.bias_fan_in > 0) {
      shift = declaration.weight("bias", channels, Role::bias, how.bias_fan_in, input.back());
    }
    mean = declaration.statistic("mean", channels, 0);
    variance = declaration.statistic("variance", channels, 1);
    return input;
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    const Tensor scales = how.affine ? pass.weights[scale] : ones({x.shape().back()}, x.dtype(), x.device());
    const bool shifted = how.affine || how.bias_fan_in > 0;
    const Tensor shifts = shifted ? pass.weights[shift] : zeros({x.shape().back()}, x.dtype(), x.device());
    const Tensor &running_mean = pass.statistics[mean], &running_variance = pass.statistics[variance];
    if (pass.mode != Mode::train) {
      const Tensor factor = scales / sqrt(running_variance + how.epsilon);
      return x * factor + (shifts - running_mean * factor);
    }
    const Normalized out = mollify::batch_norm(x, scales, shifts, how.epsilon);
    const double rows = static_cast<double>(x.size()) / static_cast<double>(x.shape().back());
    const double unbiased = rows > 1 ? rows / (rows - 1) : 1;
    no_grad([&] {
      pass.new_statistics[mean] = running_mean * (1 - how.momentum) + out.mean.detach() * how.momentum;
      pass.new_statistics[variance] =
          running_variance * (1 - how.momentum) + out.variance.detach() * (unbiased * how.momentum);
    });
    return out.output;
  }
  BatchNorm how;
  size_t scale = 0, shift = 0, mean = 0, variance = 0;
};

struct Pool final : Layer {
  Pool(const Pool2d& how, bool average) : how(how), average(average) {}
  const char* kind() const override { return "pool"; }
  Shape declare(Declaration&, const Shape& input) override {
    require(input.rank() == 3, "pool: input is {} an image; needs [H, W, C]", input);
    const int64_t height = input[0] + 2 * how.pad_top - how.kernel_height,
                  width = input[1] + 2 * how.pad_left - how.kernel_width;
    require(height >= 0 && width >= 0, "pool: input is {}, window {} x {}; the window does not fit", input,
            how.kernel_height, how.kernel_width);
    return {height / how.stride_height + 1, width / how.stride_width + 1, input[2]};
  }
  Tensor apply(Pass&, const Tensor& x) const override { return average ? average_pool2d(x, how) : max_pool2d(x, how); }
  Pool2d how;
  bool average;
};

struct GlobalAveragePool final : Layer {
  const char* kind() const override { return "pool"; }
  Shape declare(Declaration&, const Shape& input) override {
    require(input.rank() == 3, "global_average_pool: input is {} an image; needs [H, W, C]", input);
    return {input[2]};
  }
  Tensor apply(Pass&, const Tensor& x) const override { return mean(x, {1, 2}); }
};

struct Flatten final : Layer {
  const char* kind() const override { return "flatten"; }
  Shape declare(Declaration&, const Shape& input) override { return {input.size()}; }
  Tensor apply(Pass&, const Tensor& x) const override { return mollify::flatten(x, 1); }
};

struct Dropout final : Layer {
  explicit Dropout(double rate) : rate(rate) {}
  const char* kind() const override { return "dropout"; }
  Shape declare(Declaration& declaration, const Shape& input) override {
    stream = declaration.random_stream();
    return input;
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    if (pass.mode == Mode::evaluate) return x;
    require<ValueError>(pass.step.defined(), "dropout: no step given; training mode needs one for its random numbers");
    return mollify::dropout(x, rate, {pass.key.seed, stream_of(Purpose::dropout) ^ (pass.key.stream + stream)},
                            pass.step);
  }
  double rate;
  uint64_t stream = 0;
};

struct Activation final : Layer {
  explicit Activation(Function function) : function(std::move(function)) {}
  const char* kind() const override { return "activation"; }
  Shape declare(Declaration&, const Shape& input) override { return input; }
  Tensor apply(Pass&, const Tensor& x) const override { return function(x); }
  Function function;
};

constexpr struct { const char* name; Tensor (*function)(const Tensor&); } kActivations[] = {
    {"relu", mollify::relu},         {"leaky_relu", [](const Tensor& x) { return mollify::leaky_relu(x); }},
    {"elu", mollify::elu},           {"gelu", mollify::gelu}, {"silu", mollify::silu}, {"sigmoid", mollify::sigmoid},
    {"softplus", mollify::softplus}, {"tanh", mollify::tanh}, {"erf", mollify::erf},   {"abs", mollify::abs},
    {"sin", mollify::sin},           {"square", mollify::square}};

struct Sequential final : Layer {
  explicit Sequential(std::vector<LayerPointer> layers) : layers(std::move(layers)) {}
  const char* kind() const override { return "sequence"; }
  Shape declare(Declaration& declaration, const Shape& input) override {
    Shape shape = input;
    for (LayerPointer& layer : layers) {
      if (dynamic_cast<Sequential*>(layer.get())) {  // nested sequences share their parent's names
        paths.emplace_back();
        shape = layer->declare(declaration, shape);
      } else {
        const Declaration::Scope scope(declaration, layer->kind());
        paths.push_back(scope.path());
        shape = layer->declare(declaration, shape);
      }
    }
    return shape;
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    Tensor y = x;
    for (size_t i = 0; i < layers.size(); ++i) {
      const Label label(paths[i]);
      y = layers[i]->apply(pass, y);
    }
    return y;
  }
  std::vector<LayerPointer> layers;
  std::vector<std::string> paths;  // of the layers; a nested sequence labels its own
};

struct Residual final : Layer {
  Residual(LayerPointer body, LayerPointer shortcut, LayerPointer before)
      : body(std::move(body)), shortcut(std::move(shortcut)), before(std::move(before)) {}
  const char* kind() const override { return "block"; }
  Shape declare(Declaration& declaration, const Shape& input) override {
    const Shape start = before ? before->declare(declaration, input) : input;
    const Shape output = body->declare(declaration, start);
    Shape other = input;
    if (shortcut) {
      const Declaration::Scope scope(declaration, "shortcut");
      other = shortcut->declare(declaration, start);
    }
    require(output == other, "residual: the body gives {}, the shortcut {}; must be equal", output, other);
    return output;
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    const Tensor start = before ? before->apply(pass, x) : x;
    return body->apply(pass, start) + (shortcut ? shortcut->apply(pass, start) : x);
  }
  LayerPointer body, shortcut, before;
};

}  // namespace

LayerPointer dense(int64_t outputs, bool bias) { return std::make_unique<Dense>(outputs, bias); }
LayerPointer conv2d(const Convolution& how) { return std::make_unique<Conv2dLayer>(how); }
LayerPointer batch_norm(const BatchNorm& how) {
  require<ValueError>(how.bias_fan_in >= 0 && !(how.affine && how.bias_fan_in > 0),
                      "batch_norm: bias_fan_in {} given{}; needs at least 0, and no affine where it is above",
                      how.bias_fan_in, how.affine ? " with affine" : "");
  return std::make_unique<BatchNormLayer>(how);
}
LayerPointer average_pool(int64_t kernel, int64_t stride, int64_t padding) {
  return std::make_unique<Pool>(Pool2d::square(kernel, stride, padding), true);
}
LayerPointer max_pool(int64_t kernel, int64_t stride, int64_t padding) {
  return std::make_unique<Pool>(Pool2d::square(kernel, stride, padding), false);
}
LayerPointer global_average_pool() { return std::make_unique<GlobalAveragePool>(); }
LayerPointer flatten() { return std::make_unique<Flatten>(); }
LayerPointer dropout(double rate) {
  require<ValueError>(rate >= 0 && rate < 1, "dropout: rate {}; needs 0 ≤ rate < 1", rate);
  return std::make_unique<Dropout>(rate);
}
LayerPointer activation(const std::string& name) {
  std::string names;
  for (const auto& entry : kActivations) {
    if (name == entry.name) return std::make_unique<Activation>(entry.function);
    names += std::string(names.empty() ? "" : ", ") + entry.name;
  }
  if (Function own = find_own_activation(name)) return std::make_unique<Activation>(std::move(own));
  for (const std::string& own : own_activation_names()) names += ", " + own;
  throw ValueError(format("activation: '{}' given; there are {}", name, names));
}
LayerPointer relu() { return std::make_unique<Activation>(mollify::relu); }
LayerPointer sequential(std::vector<LayerPointer> layers) { return std::make_unique<Sequential>(std::move(layers)); }
LayerPointer residual(LayerPointer body, LayerPointer shortcut, LayerPointer before) {
  return std::make_unique<Residual>(std::move(body), std::move(shortcut), std::move(before));
}

}  // namespace mollify::nn
