#include <mollify/engine/plan.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/plan_program.h>
#include <mollify/engine/trace.h>

#include <mutex>

namespace mollify {

// Captured functions that another one calls are part of it, and those of a trace are traced.
class Captured::State {
 public:
  explicit State(Function function) : function_(std::move(function)) {}

  Tensors call(Inputs in) {
    if (Recorder::current() || detail::is_tracing()) return function_(list(in));
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    check(in);
    NoGrad recording(true);  // the function's own gradients are its own affair
    Tensors inputs = list(in);
    for (Tensor& t : inputs) t = packed(t);
    Entry& entry = find(inputs);
    if (entry.program) return entry.program->run(inputs, arenas_);
    return entry.met ? record(entry, inputs) : (entry.met = true, function_(inputs));
  }

  std::vector<PlanSummary> plans() const {
    std::vector<PlanSummary> all;
    for (const Entry& entry : entries_)
      if (entry.program) all.push_back(entry.program->summary());
    return all;
  }

 private:
  struct Entry {  // one set of input shapes
    std::vector<Layout> inputs;
    bool met = false;
    std::unique_ptr<Program> program;
  };

  static Tensors list(Inputs in) {
    Tensors out(in.size());
    for (size_t i = 0; i < in.size(); ++i) out[i] = in[i].detach();
    return out;
  }

  static void check(Inputs in) {
    for (size_t i = 0; i < in.size(); ++i)
      require<GraphError>(!(is_recording() && in[i].needs_grad()),
                          "capture: input {} of shape {} has a history, which a replay does not carry on; needs no_grad or detach", i, in[i].shape());
  }

  Entry& find(const Tensors& inputs) {
    const auto same = [&](const Entry& entry) {
      bool equal = entry.inputs.size() == inputs.size();
      for (size_t i = 0; equal && i < inputs.size(); ++i)
        equal = entry.inputs[i].shape == inputs[i].shape() && entry.inputs[i].dtype == inputs[i].dtype() && entry.inputs[i].device == inputs[i].device();
      return equal;
    };
    for (Entry& entry : entries_)
      if (same(entry)) return entry;
    Entry& entry = entries_.emplace_back();
    for (const Tensor& t : inputs) entry.inputs.push_back(t.layout());
    return entry;
  }

  Tensors record(Entry& entry, const Tensors& inputs) {
    Recorder recorder;
    Tensors seen(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) seen[i] = recorder.input(inputs[i], static_cast<int>(i));
    Tensors results = function_(seen);
    for (Tensor& t : results) t = t.detach();
    seen = {};
    recorder.check_left(results);
    entry.program = std::make_unique<Program>(std::move(recorder), results, inputs);
    return results;
  }

  Function function_;
  std::mutex mutex_;
  std::vector<Entry> entries_;
  Arenas arenas_;
};

Captured::Captured(Function function) : state_(std::make_unique<State>(std::move(function))) {}
Captured::~Captured() = default;
Captured::Captured(Captured&&) noexcept = default;
Captured& Captured::operator=(Captured&&) noexcept = default;

Tensors Captured::operator()(Inputs in) { return state_->call(in); }
std::vector<PlanSummary> Captured::plans() const { return state_->plans(); }

}  // namespace mollify
