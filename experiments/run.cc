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

}  // namespace mollify::experiments
