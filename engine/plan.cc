#include <mollify/engine/plan.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/plan_program.h>
#include <mollify/engine/trace.h>

#include <atomic>
#include <list>
#include <mutex>
#include <thread>

namespace mollify {

// Captured functions that another one calls are part of it, and those of a trace are traced.
class Captured::State {
 public:
  explicit State(Function function) : function_(std::move(function)) {}

  Tensors call(Inputs in) {
    if (Recorder::current() || detail::is_tracing() || running_ == std::this_thread::get_id())
      return function_(list(in));
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    check(in);
    const Running running(running_);
    NoGrad recording(true);  // the function's own gradients are its own affair
    const Tensors given = list(in);
    Tensors inputs = given;
    for (Tensor& t : inputs) t = packed(t);
    if (aliases_a_copied_input(given, inputs)) return function_(given);
    Entry& entry = find(inputs);
    const Tensors results = !entry.met                                          ? function_(inputs)
                            : !entry.program                                    ? record(entry, inputs)
                            : entry.program->overwrites_by_another_name(inputs) ? function_(inputs)
                                                                                : entry.program->run(inputs, arenas_);
    entry.met = true;
    for (size_t i = 0; i < inputs.size();
         ++i)  // the copy of a strided input is new: a version above 0 says that it was overwritten
      if (&inputs[i].buffer() != &given[i].buffer() && inputs[i].buffer().version() > 0) assign(given[i], inputs[i]);
    return results;
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

  class Running {  // which thread is in a call
   public:
    explicit Running(std::atomic<std::thread::id>& thread) : thread_(thread) { thread_ = std::this_thread::get_id(); }
    ~Running() { thread_ = std::thread::id(); }

   private:
    std::atomic<std::thread::id>& thread_;
  };

  static bool aliases_a_copied_input(const Tensors& given, const Tensors& packed) {
    for (size_t i = 0; i < given.size(); ++i)
      for (size_t j = 0; j < given.size(); ++j)
        if (i != j && share_memory(given[i].buffer(), given[j].buffer()) && &packed[i].buffer() != &given[i].buffer())
          return true;
    return false;
  }

  static Tensors list(Inputs in) {
    Tensors out(in.size());
    for (size_t i = 0; i < in.size(); ++i) out[i] = in[i].detach();
    return out;
  }

  static void check(Inputs in) {
    for (size_t i = 0; i < in.size(); ++i)
      require<GraphError>(
          !(is_recording() && in[i].needs_grad()),
          "capture: input {} of shape {} has a history, which a replay does not carry on; needs no_grad or detach", i,
          in[i].shape());
  }

  Entry& find(const Tensors& inputs) {
    const auto same = [&](const Entry& entry) {
      bool equal = entry.inputs.size() == inputs.size();
      for (size_t i = 0; equal && i < inputs.size(); ++i)
        equal = entry.inputs[i].shape == inputs[i].shape() && entry.inputs[i].dtype == inputs[i].dtype() &&
                entry.inputs[i].device == inputs[i].device();
      return equal;
    };
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (same(*entry)) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entries_.front();
      }
    if (entries_.size() == kMostPlans) entries_.pop_back();
    Entry& entry = entries_.emplace_front();
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
    for (const RecordedBuffer& buffer : recorder.buffers)
      if (buffer.kind == RecordedBuffer::Kind::input && buffer.assigned)
        inputs[static_cast<size_t>(buffer.input)].buffer().changed();
    entry.program = std::make_unique<Program>(std::move(recorder), results, inputs);
    return results;
  }

  Function function_;
  std::mutex mutex_;
  std::atomic<std::thread::id> running_;
  std::list<Entry> entries_;  // the one used last first
  Arenas arenas_;
};

void require_no_capture(const char* operation) {
  const Recorder* recorder = Recorder::current();
  require<GraphError>(
      !recorder || recorder->in_kernel(),
      "{}: called in a captured function, whose replays would not do it again; needs a call outside of it", operation);
}

Captured::Captured(Function function) : state_(std::make_unique<State>(std::move(function))) {}
Captured::~Captured() = default;
Captured::Captured(Captured&&) noexcept = default;
Captured& Captured::operator=(Captured&&) noexcept = default;

Tensors Captured::operator()(Inputs in) { return state_->call(in); }
std::vector<PlanSummary> Captured::plans() const { return state_->plans(); }

}  // namespace mollify
