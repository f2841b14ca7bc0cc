// `mollify bounds`: bounds of a network's outputs over balls around inputs from a file.
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct BoundsCommand {
  std::string network, input, epsilon, norm = "linf", clip, method = "crown";
  bool fast = false;
  int64_t steps = 20, batch = 16, threads = 0;
  DeviceRequest device;
};
int bounds_command(const BoundsCommand& command);

template <class Visit>
void each_option(BoundsCommand& c, const Visit& visit) {
  visit(Description{"network", "Arguments", "network: .onnx, .onnx.gz, or .safetensors of a run", "", false, true},
        c.network, Rule{});
  visit(Description{"input", "Options",
                    "array (.npy) of the balls' centres: of the network's input shape, or of rows of it", ""},
        c.input, Rule{});
  visit(Description{"eps", "Options", "radius of the balls, such as 0.1 or 8/255, in the network's own input units", "",
                    false, false, "X"},
        c.epsilon, Rule{});
  visit(Description{"norm", "Options", "norm of the balls", nullptr}, c.norm, one_of({"linf", "l2"}));
  visit(Description{"clip", "Options", "range LOW,HIGH of every input, such as 0,1", "none", false, false, "LOW,HIGH"},
        c.clip, Rule{});
  visit(Description{"method", "Options", "method", nullptr}, c.method,
        one_of({"ibp", "hbox", "deepz", "crown-ibp", "crown", "alpha-crown"}));
  visit(Description{"steps", "Options", "steps of alpha-crown", nullptr}, c.steps, at_least(1));
  visit(Description{"fast", "Options",
                    "compute in f32 and let rounding errors be; else the bounds hold in real arithmetic", nullptr},
        c.fast, Rule{});
  visit(Description{"batch", "Options", "rows bounded at once", nullptr}, c.batch, at_least(1));
  each_device_option(c.device, "Options", visit);
  visit(Description{"threads", "Options", "threads; results do not depend on them", "$MOLLIFY_NUM_THREADS, else all"},
        c.threads, thread_rule());
}

}  // namespace mollify::experiments
