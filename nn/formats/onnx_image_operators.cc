// The operators on images, (N, C, H, W) in the file and channels last here.
#include <mollify/nn/formats/onnx_operators.h>

#include <mollify/engine/file.h>

#include <algorithm>

namespace mollify::nn::formats::detail {
namespace {

constexpr int64_t kLargestWindow = int64_t{1} << 26;  // of extents, strides, dilations and padding

struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads;  // pads: top, left, bottom, right
  std::string auto_pad;
  bool ceil = false;
};

std::vector<int64_t> window_integers(NodeReader& node, const char* name, size_t count, int64_t otherwise,
                                     int64_t least) {
  const std::vector<int64_t> values = node.integers(name, std::vector<int64_t>(count, otherwise));
  const auto fits = [&](int64_t value) { return value >= least && value <= kLargestWindow; };
  require<FormatError>(values.size() == count && std::all_of(values.begin(), values.end(), fits),
                       "{} has {} numbers{}; needs {} (two dimensions) of {} to 2^26", name, values.size(),
                       values.size() == count ? ", some out of range" : "", count, least);
  return values;
}

Window read_window(NodeReader& node, std::optional<Shape> weight) {
  Window out;
  if (weight) {
    out.kernel = {(*weight)[2], (*weight)[3]};
    require<FormatError>(node.integers("kernel_shape", out.kernel) == out.kernel,
                         "kernel_shape is another than that of the weight, {}; needs it", *weight);
  } else {
    require<FormatError>(node.has_attribute("kernel_shape"), "kernel_shape is not given; needs it");
    out.kernel = window_integers(node, "kernel_shape", 2, 1, 1);
  }
  out.strides = window_integers(node, "strides", 2, 1, 1);
  out.dilations = window_integers(node, "dilations", 2, 1, 1);
  out.pads = window_integers(node, "pads", 4, 0, 0);
  out.auto_pad = node.text("auto_pad", "NOTSET");
  const bool known = out.auto_pad == "NOTSET" || out.auto_pad == "VALID" || out.auto_pad == "SAME_UPPER" ||
                     out.auto_pad == "SAME_LOWER";
  require<FormatError>(known, "auto_pad is {}; needs NOTSET, VALID, SAME_UPPER or SAME_LOWER", excerpt(out.auto_pad));
  if (out.auto_pad == "VALID") out.pads.assign(4, 0);
  return out;
}

// The pads for an image of these extents: with SAME, so that there are ⌈extent/stride⌉ windows, the odd one at the end
// (UPPER) or the beginning (LOWER).
std::vector<int64_t> padding(const Window& window, const Shape& image) {
  std::vector<int64_t> pads = window.pads;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t extent = image[2 + static_cast<int>(i)], stride = window.strides[i],
                  covered = (window.kernel[i] - 1) * window.dilations[i] + 1;
    if (window.auto_pad.starts_with("SAME")) {
      const int64_t total = std::max<int64_t>(0, ((extent + stride - 1) / stride - 1) * stride + covered - extent);
      pads[i] = window.auto_pad == "SAME_LOWER" ? (total + 1) / 2 : total / 2;
      pads[i + 2] = total - pads[i];
    }
    require(!window.ceil || (extent + pads[i] + pads[i + 2] - covered) % stride == 0,
            "ceil_mode with an input of {}: windows that reach over the edge cannot be read here; needs 0", image);
  }
  return pads;
}

Run build_conv(NodeReader& node) {
  node.require_inputs(2, 3);
  const std::optional<Shape>& weight = node.shape(1);
  require<FormatError>(weight && weight->rank() == 4, "weight is {}; needs a constant (O, C/group, KH, KW)",
                       weight.value_or(Shape()));
  const Window window = read_window(node, weight);
  const int64_t groups = node.integer("group", 1);
  require<FormatError>(groups >= 1 && groups <= (*weight)[0],
                       "group is {}, weight is {}; needs 1 to the weight's first extent", groups, *weight);
  return [=](std::span<const Value> in, const Tensor&) -> Values {
    const Value x = as_image(in[0]);
    require(in[1].is_constant(), "weight depends on the network's input; needs a constant");
    require(in.size() < 3 || !in[2].tensor.defined() || in[2].form == Form::constant,
            "bias depends on the network's input; needs a constant");
    const std::vector<int64_t> pads = padding(window, file_shape(x));
    const Tensor w = in[1].form == Form::filter ? in[1].tensor : permute(in[1].tensor, {0, 2, 3, 1});
    const Conv2d how{window.strides[0],   window.strides[1],   pads[0], pads[2], pads[1], pads[3],
                     window.dilations[0], window.dilations[1], groups};
    return {{conv2d(x.tensor, w, in.size() > 2 ? in[2].tensor : Tensor(), how), Form::image}};
  };
}

// The image before a Pad with −∞, whose padding the pooling then takes over, where no window would lie beyond the
// image.
Value unpadded(const Value& x, const Window& window, std::vector<int64_t>& pads) {
  if (!x.padded) return x;
  std::vector<int64_t> all = pads;
  for (size_t i = 0; i < all.size(); ++i)
    if ((all[i] += x.padded->pads[i]) >= window.kernel[i % 2]) return x;
  pads = all;
  return x.padded->image;
}

Run pool(NodeReader& node, const std::function<Tensor(const Tensor& x, const Pool2d& how, const Tensor& one)>& f,
         bool pads_itself = false) {
  node.require_inputs(1, 1);
  Window window = read_window(node, {});
  window.ceil = node.integer("ceil_mode", 0) != 0;
  require<FormatError>(window.dilations == std::vector<int64_t>{1, 1}, "dilations other than 1; needs 1");
  return [=](std::span<const Value> in, const Tensor& one) -> Values {
    std::vector<int64_t> pads = padding(window, file_shape(in[0]));
    const Value x = as_image(pads_itself ? unpadded(in[0], window, pads) : in[0]);
    const Pool2d how{window.kernel[0], window.kernel[1], window.strides[0], window.strides[1],
                     pads[0],          pads[2],          pads[1],           pads[3]};
    return {{f(x.tensor, how, one), Form::image}};
  };
}

Run build_average_pool(NodeReader& node) {
  const bool include_padding = node.integer("count_include_pad", 0) != 0;
  return pool(node, [include_padding](const Tensor& x, const Pool2d& how, const Tensor& one) {
    const Tensor mean = average_pool2d(x, how);
    if (include_padding || std::max({how.pad_top, how.pad_bottom, how.pad_left, how.pad_right}) == 0) return mean;
    return mean /
           average_pool2d(expand(one, {1, x.shape()[1], x.shape()[2], 1}), how);  // by each window's share of the image
  });
}

Run build_max_pool(NodeReader& node) {
  require<FormatError>(node.integer("storage_order", 0) == 0, "storage_order is set; needs 0");
  return pool(
      node, [](const Tensor& x, const Pool2d& how, const Tensor&) { return max_pool2d(x, how); }, /*pads_itself=*/true);
}

Run build_global_average_pool(NodeReader& node) {
  node.require_inputs(1, 1);
  return [](std::span<const Value> in, const Tensor&) -> Values {
    return {reduced(as_image(in[0]), {2, 3}, true, true)};
  };
}

// scale·(x − mean)/√(variance + ε) + shift, a number per channel (the file's axis 1)
Run build_batch_norm(NodeReader& node) {
  node.require_inputs(5, 5);
  const double epsilon = node.number("epsilon", 1e-5F);
  node.ignore_attribute("momentum");
  require<FormatError>(
      node.integer("training_mode", 0) == 0 && node.integer("is_test", 1) != 0 && node.integer("spatial", 1) != 0,
      "training mode, or statistics of each pixel; needs inference with statistics of each channel");
  return [epsilon](std::span<const Value> in, const Tensor&) -> Values {
    const Value& x = in[0];
    const Shape shape = file_shape(x);
    require(shape.rank() >= 2, "input is {}; needs (N, C, …)", shape);
    for (const Value& statistic : in.subspan(1))
      require(statistic.form == Form::constant && statistic.tensor.shape() == Shape{shape[1]},
              "input is {}, a scale, shift, mean or variance is {}; needs a constant number per channel", shape,
              file_shape(statistic));
    // Not folded into one offset: its rounding could cancel, and bounds could not charge it.
    const Tensor factor = in[1].tensor / sqrt(in[4].tensor + epsilon);
    Shape channels{shape[1]};  // from the channel axis to the tensor's last one
    if (x.form != Form::image)
      for (int axis = 2; axis < shape.rank(); ++axis) channels.push_back(1);
    return {{(x.tensor - reshape(in[3].tensor, channels)) * reshape(factor, channels) + reshape(in[2].tensor, channels),
             x.form}};
  };
}

constexpr Operator kImage[] = {{"AveragePool", build_average_pool},
                               {"BatchNormalization", build_batch_norm},
                               {"Conv", build_conv},
                               {"GlobalAveragePool", build_global_average_pool},
                               {"MaxPool", build_max_pool}};

}  // namespace

std::span<const Operator> image_operators() { return kImage; }

}  // namespace mollify::nn::formats::detail
