#include <mollify/experiments/robustness/verify.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/networks.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/robustness/verify_list.h>
#include <mollify/nn/bounds/verify.h>
#include <mollify/smoothing/attacks/falsify.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <new>
#include <thread>

namespace mollify::experiments {
namespace {

using nn::bounds::Outcome;
using nn::bounds::Verdict;
using nn::formats::Case;
using nn::formats::Halfspaces;
using nn::formats::Property;

constexpr double kSeconds = 60;

Shape one_row(const nn::Network& network) {
  Shape shape = network.input();
  shape.insert(0, 1);
  return shape;
}

// Looks for a point of the case's box that reaches the set; empty where none was found.
std::vector<double> attack(const NamedNetwork& named, const Case& box, const Halfspaces& unsafe, double seconds) {
  if (unsafe.rows() == 0) return box.lower;
  const int64_t outputs = static_cast<int64_t>(unsafe.coefficients.size()) / unsafe.rows();
  const auto flat = [f = named.function(DType::f64)](const Tensor& x) { return flatten(f(x), 1); };
  const auto tensor = [&](const std::vector<double>& values, const Shape& shape) {
    return to(Tensor::from(values, shape), named.weights.device());
  };
  const auto found = smoothing::falsify(flat,
                                        smoothing::halfspaces(tensor(unsafe.coefficients, {unsafe.rows(), outputs}),
                                                              tensor(unsafe.bounds, {unsafe.rows()})),
                                        tensor(box.lower, named.network.input()),
                                        tensor(box.upper, named.network.input()), {.seconds = seconds});
  return found.found ? found.x.to_vector<double>() : std::vector<double>();
}

nn::bounds::VerifyOptions options_for(const NamedNetwork& named, double seconds, StatusLine& status) {
  const Shape shape = one_row(named.network);
  nn::bounds::VerifyOptions options{.seconds = seconds};
  options.attack = [&named](const Case& box, const Halfspaces& unsafe, double share) {
    return attack(named, box, unsafe, share);
  };
  if (named.weights.dtype() == DType::f32)
    options.replay = [f = named.function(DType::f32), shape,
                      device = named.weights.device()](std::span<const double> x) {
      return cast(f(to(cast(Tensor::from(x, shape), DType::f32), device)), DType::f64).to_vector<double>();
    };
  options.progress = [&status](const nn::bounds::VerifyProgress& p) {
    if (!status.due()) return;
    status.update(format("{} s  {}  {} domains, {} open, worst bound {}", std::round(10 * p.seconds) / 10, p.stage,
                         p.domains, p.open, p.worst));
  };
  options.stop = interrupted;
  return options;
}

// Pairs as VNN-COMP prints them.
std::string witness_text(const Outcome& outcome) {
  std::string text;
  const auto add = [&text](const char* name, const std::vector<double>& values) {
    for (size_t i = 0; i < values.size(); ++i)
      text += format("{}({}_{} {})", text.empty() ? "(" : "\n ", name, i, values[i]);
  };
  add("X", outcome.input);
  add("Y", outcome.output);
  return text + ")\n";
}

// Errors of this one instance make it unknown; a network that bounds cannot read throws.
Outcome verified(const NamedNetwork& named, const Property& property, double timeout, Clock::time_point start) {
  StatusLine status;
  const nn::bounds::Graph graph(named.function(DType::f64), named.network.input(), DType::f64, named.weights.device());
  Outcome unknown;
  try {
    return nn::bounds::verify(graph, property, options_for(named, timeout - seconds_since(start), status));
  } catch (const MemoryError& error) { unknown.stage = error.what(); } catch (const std::bad_alloc&) {
    unknown.stage = "out of memory";
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mollify verify: %s\n", error.what());
    unknown.stage =
        format("internal error: {}", error.what());  // also for a list of instances, which shows stages only
  }
  return unknown;
}

// Answers "unknown" and ends the process where the work does not: shortly after its time is over, or after an
// interrupt, even while it loads or is within one pass of bounds.
class Watchdog {
 public:
  explicit Watchdog(double seconds)
      : end_(Clock::now() +
             std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds + kGrace))),
        thread_([this] { watch(); }) {}
  ~Watchdog() {
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      answered_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  // The caller answers; waits forever where the watchdog does.
  void answer() {
    mutex_.lock();
    answered_ = true;
    mutex_.unlock();
    changed_.notify_all();
  }

 private:
  static constexpr double kGrace = 0.5;  // seconds, for the work to end by itself

  void watch() {
    std::unique_lock<std::mutex> lock(mutex_);
    Clock::time_point asked = Clock::time_point::max();  // when an interrupt was seen
    while (!answered_ && Clock::now() < end_ && seconds_since(std::min(asked, Clock::now())) < kGrace) {
      changed_.wait_for(lock, std::chrono::milliseconds(50));
      if (interrupted() && asked == Clock::time_point::max()) asked = Clock::now();
    }
    if (answered_) return;
    std::printf("unknown\nstage: %s (0 domains, 0 s)\n", interrupted() ? "interrupted" : "out of time");
    std::fflush(stdout);
    _exit(interrupted() ? 130 : 0);
  }

  const Clock::time_point end_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool answered_ = false;
  std::thread thread_;
};

int verify_one(const VerifyCommand& command, Device device) {
  const auto start = Clock::now();
  catch_interrupts();
  Watchdog watchdog(command.timeout.value_or(kSeconds));
  const NoGrad guard;
  const NamedNetwork named = read_network("mollify verify", command.network, device);
  const Property property = nn::formats::read_vnnlib(command.property);
  const int64_t inputs = named.network.input().size(), outputs = named.network.output().size();
  require<FormatError>(property.inputs == inputs && property.outputs == outputs,
                       "{}: a property of {} inputs and {} outputs; {} has {} and {}", command.property,
                       property.inputs, property.outputs, command.network, inputs, outputs);
  Outcome outcome = verified(named, property, command.timeout.value_or(kSeconds), start);
  watchdog.answer();
  const bool stopped = outcome.verdict == Verdict::unknown && interrupted();
  std::string text = to_string(outcome.verdict) + "\n";
  if (outcome.verdict == Verdict::sat) text += witness_text(outcome);
  const double seconds = std::round(1000 * seconds_since(start)) / 1000;
  text += format("stage: {} ({} domains, {} s)\n", stopped ? "interrupted" : outcome.stage, outcome.domains, seconds);
  std::fputs(text.c_str(), stdout);
  return stopped ? 130 : 0;
}

}  // namespace

int verify_command(const VerifyCommand& command) {
  use_threads(command.threads);
  const Device device = use_device("verify", command.device);
  if (!command.csv.empty()) {
    require<UsageError>(command.network.empty(), "mollify verify: {} given with --csv; needs one of them",
                        command.network);
    return verify_list(command);
  }
  require_given(command.network, "verify", "NETWORK", "a file .onnx, .onnx.gz or .safetensors, or --csv");
  require_given(command.property, "verify", "PROPERTY", "a file .vnnlib or .vnnlib.gz");
  require<UsageError>(command.out.empty(), "mollify verify: --out: {} given; needs --csv", command.out);
  require<UsageError>(command.jobs == 1, "mollify verify: --jobs: {} given; needs --csv", command.jobs);
  return verify_one(command, device);
}

Options options_of(VerifyCommand& c) {
  Options all;
  add(all, {network_option(c.network),
            {{"property", "Arguments", "unsafe set: .vnnlib or .vnnlib.gz", "", false, true}, &c.property, {}},
            {{"timeout", "Options", "seconds for an instance", "60, or as the list says"}, &c.timeout, above(0)},
            {{"csv", "Options",
              "verify a list in place of one pair: lines network,property,seconds, or columns with the heading "
              "onnx, property, timeout_s, "
              "expected; paths are relative to the list",
              ""},
             &c.csv,
             {}},
            {{"jobs", "Options", "instances of the list at once; above 1, each on one thread", nullptr},
             &c.jobs,
             thread_rule()},
            {{"out", "Options", "file (.csv) for the list's results", "none"}, &c.out, {}}});
  add(all, device_option(c.device, "Options"));
  all.push_back(
      threads_option(c.threads, "Options", "threads; verdicts do not depend on them, but for the time that they take"));
  return all;
}

}  // namespace mollify::experiments
