// `mollify verify`: does a network meet a property, for one pair of files or a list of them?
#pragma once

#include <mollify/experiments/options.h>

namespace mollify::experiments {

struct VerifyCommand {
  std::string network, property;
  std::optional<double> timeout;  // 60, or as the list says
  std::string csv, out;
  int64_t jobs = 1, threads = 0;
  DeviceRequest device;
};
// Exit status: 0 for every verdict; 130 after an interrupt. Of a list: 1 where a verdict contradicts the list, else 2
// where files could not be used.
int verify_command(const VerifyCommand& command);

template <class Visit>
void each_option(VerifyCommand& c, const Visit& visit) {
  visit(Description{"network", "Arguments", "network: .onnx, .onnx.gz, or .safetensors of a run", "", false, true},
        c.network, Rule{});
  visit(Description{"property", "Arguments", "unsafe set: .vnnlib or .vnnlib.gz", "", false, true}, c.property, Rule{});
  visit(Description{"timeout", "Options", "seconds for an instance", "60, or as the list says"}, c.timeout, above(0));
  visit(Description{"csv", "Options",
                    "verify a list in place of one pair: lines network,property,seconds, or columns with the heading "
                    "onnx, property, timeout_s, "
                    "expected; paths are relative to the list",
                    ""},
        c.csv, Rule{});
  visit(Description{"jobs", "Options", "instances of the list at once; above 1, each on one thread", nullptr}, c.jobs,
        thread_rule());
  visit(Description{"out", "Options", "file (.csv) for the list's results", "none"}, c.out, Rule{});
  device_option(c.device, "Options", visit);
  visit(Description{"threads", "Options", "threads; verdicts do not depend on them, but for the time that they take",
                    "$MOLLIFY_NUM_THREADS, else all"},
        c.threads, thread_rule());
}

}  // namespace mollify::experiments
