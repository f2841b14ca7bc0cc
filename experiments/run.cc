#include <mollify/experiments/run.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/networks.h>
#include <mollify/nn/formats/npy.h>

#include <cstdio>

namespace mollify::experiments {

int run_command(const RunCommand& command) {
  require_given(command.network, "run", "NETWORK", "a file .onnx, .onnx.gz or .safetensors");
  require_given(command.input, "run", "--input", "a .npy file");
  require_given(command.output, "run", "--output", "a .npy file");
  use_threads(command.threads);
  const NoGrad guard;
  const DType dtype = command.dtype == "f64" ? DType::f64 : DType::f32;
  const Device device = use_device("run", command.device);
  const NamedNetwork named = read_network("mollify run", command.network, device);
  const Rows rows = read_rows(command.input, named.network, dtype);
  const auto f = [on_device = named.function(dtype), device](const Tensor& x) {
    return to(on_device(to(x, device)), Device::cpu);
  };
  const Tensor outputs = in_parts(f, rows.values, command.batch);
  Shape shape = outputs.shape();
  if (!rows.has_axis) shape.erase(0);
  nn::formats::write_npy(command.output, reshape(outputs, shape));
  std::printf("%s: %s\n", command.output.c_str(), format("{} {}", dtype, shape).c_str());
  return 0;
}

Options options_of(RunCommand& c) {
  Options all;
  add(all,
      {network_option(c.network),
       {{"input", "Options",
         "array (.npy) of the network's input shape, in the file's own order of axes, or of rows of it", ""},
        &c.input,
        {}},
       {{"output", "Options", "file (.npy) for the outputs, with rows where the input has them", ""}, &c.output, {}},
       {{"dtype", "Options", "numbers in which the network is evaluated", nullptr}, &c.dtype, one_of({"f32", "f64"})},
       {{"batch", "Options", "rows evaluated at once", nullptr}, &c.batch, at_least(1)}});
  add(all, device_option(c.device, "Options"));
  all.push_back(threads_option(c.threads, "Options"));
  return all;
}

}  // namespace mollify::experiments
