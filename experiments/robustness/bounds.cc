#include <mollify/experiments/robustness/bounds.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/networks.h>
#include <mollify/nn/bounds/bounds.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

// JSON has no infinities and no NaN.
ordered_json json_of(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  return number;
}

ordered_json nested(const std::vector<double>& numbers, const Shape& shape, int axis, size_t& at) {
  if (axis == shape.rank()) return json_of(numbers[at++]);
  ordered_json list = ordered_json::array();
  for (int64_t i = 0; i < shape[axis]; ++i) list.push_back(nested(numbers, shape, axis + 1, at));
  return list;
}

ordered_json nested(const Tensor& values, bool has_axis) {
  Shape shape = values.shape();
  if (!has_axis) shape.erase(0);
  size_t at = 0;
  return nested(cast(values, DType::f64).to_vector<double>(), shape, 0, at);
}

// Bounds of the outputs over the balls around x.
nn::bounds::Box bounds_around(const nn::bounds::Graph& graph, const Tensor& x, double epsilon, const Range& range,
                              bool l2, const nn::bounds::Options& options) {
  const bool outward = options.roundoff > 0;
  nn::bounds::Region region{nn::bounds::ball(x, epsilon, range.low, range.high, outward)};
  if (l2) {
    region.center = x;
    region.radius = Tensor::scalar(outward ? epsilon * (1 + 4 * options.roundoff) : epsilon, x.dtype());
  }
  return nn::bounds::Bounds(graph, region, options).output();
}

}  // namespace

int bounds_command(const BoundsCommand& command) {
  require_given(command.network, "bounds", "NETWORK", "a file .onnx, .onnx.gz or .safetensors");
  require_given(command.input, "bounds", "--input", "a .npy file");
  const double epsilon = radius_of("mollify bounds: --eps", command.epsilon);
  const Range range = range_of("mollify bounds: --clip", command.clip);
  use_threads(command.threads);
  const NoGrad guard;
  const DType dtype = command.fast ? DType::f32 : DType::f64;
  const Device device = use_device_for_bounds("bounds", command.device, command.fast);
  const NamedNetwork named = read_network("mollify bounds", command.network, device);
  const Rows rows = read_rows(command.input, named.network, dtype);
  require<UsageError>(
      command.clip.empty() || (min(rows.values).item() >= range.low && max(rows.values).item() <= range.high),
      "mollify bounds: --clip: {} given; {} has numbers outside of it", command.clip, command.input);
  const nn::bounds::Graph graph(named.function(dtype), named.network.input(), dtype, device);
  const nn::bounds::Options options{.method = nn::bounds::method_named(command.method),
                                    .roundoff = command.fast ? 0 : nn::bounds::unit_roundoff(dtype),
                                    .alpha = {.steps = command.steps}};
  std::vector<Tensor> lower, upper;
  for (int64_t first = 0, count = rows.values.shape()[0]; first < count; first += command.batch) {
    const Tensor x = to(slice(rows.values, 0, first, std::min(count, first + command.batch)), device);
    const nn::bounds::Box box = bounds_around(graph, x, epsilon, range, command.norm == "l2", options);
    lower.push_back(box.lower);
    upper.push_back(box.upper);
  }
  const ordered_json out = {{"lower", nested(concat(lower), rows.has_axis)},
                            {"upper", nested(concat(upper), rows.has_axis)}};
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

Options options_of(BoundsCommand& c) {
  Options all;
  add(all,
      {network_option(c.network),
       {{"input", "Options", "array (.npy) of the balls' centres: of the network's input shape, or of rows of it", ""},
        &c.input,
        {}},
       {{"eps", "Options", "radius of the balls, such as 0.1 or 8/255, in the network's own input units", "", false,
         false, "X"},
        &c.epsilon,
        {}},
       {{"norm", "Options", "norm of the balls", nullptr}, &c.norm, one_of({"linf", "l2"})},
       {{"clip", "Options", "range LOW,HIGH of every input, such as 0,1", "none", false, false, "LOW,HIGH"},
        &c.clip,
        {}},
       {{"method", "Options", "method", nullptr},
        &c.method,
        one_of({"ibp", "hbox", "deepz", "crown-ibp", "crown", "alpha-crown"})},
       {{"steps", "Options", "steps of alpha-crown", nullptr}, &c.steps, at_least(1)},
       {{"fast", "Options", "compute in f32 and let rounding errors be; else the bounds hold in real arithmetic",
         nullptr},
        &c.fast,
        {}},
       {{"batch", "Options", "rows bounded at once", nullptr}, &c.batch, at_least(1)}});
  add(all, device_options(c.device, "Options"));
  all.push_back(threads_option(c.threads, "Options"));
  return all;
}

}  // namespace mollify::experiments
