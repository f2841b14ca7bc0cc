// `mollify run`: a network's outputs for inputs from a file.
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct RunCommand {
  std::string network, input, output, dtype = "f32";
  int64_t batch = 256, threads = 0;
  DeviceRequest device;
};
int run_command(const RunCommand& command);

template <class Visit>
void each_option(RunCommand& c, const Visit& visit) {
  visit(Description{"network", "Arguments", "network: .onnx, .onnx.gz, or .safetensors of a run", "", false, true},
        c.network, Rule{});
  visit(Description{"input", "Options",
                    "array (.npy) of the network's input shape, in the file's own order of axes, or of rows of it", ""},
        c.input, Rule{});
  visit(Description{"output", "Options", "file (.npy) for the outputs, with rows where the input has them", ""},
        c.output, Rule{});
  visit(Description{"dtype", "Options", "numbers in which the network is evaluated", nullptr}, c.dtype,
        one_of({"f32", "f64"}));
  visit(Description{"batch", "Options", "rows evaluated at once", nullptr}, c.batch, at_least(1));
  device_option(c.device, "Options", visit);
  visit(Description{"threads", "Options", "threads; results do not depend on them", "$MOLLIFY_NUM_THREADS, else all"},
        c.threads, thread_rule());
}

}  // namespace mollify::experiments
