#include <mollify/engine/recorder.h>

#include <mollify/engine/node.h>
#include <mollify/engine/ops.h>

#include <algorithm>
#include <atomic>
#include <mutex>

namespace mollify {

bool share_memory(const Buffer& a, const Buffer& b) {
  const auto *first = static_cast<const char*>(a.data()), *second = static_cast<const char*>(b.data());
  return &a == &b || (first && second && first < second + b.bytes() && second < first + a.bytes());
}
namespace {

thread_local Recorder* active = nullptr;
std::atomic<uint32_t> next_capture{1};

// Numbers of the captures under way, on all threads.
class Running {
 public:
  void add(uint32_t number) {
    const std::lock_guard<std::mutex> guard(mutex_);
    numbers_.push_back(number);
  }
  void remove(uint32_t number) {
    const std::lock_guard<std::mutex> guard(mutex_);
    std::erase(numbers_, number);
  }
  bool holds(uint32_t number) {
    const std::lock_guard<std::mutex> guard(mutex_);
    return std::find(numbers_.begin(), numbers_.end(), number) != numbers_.end();
  }

 private:
  std::mutex mutex_;
  std::vector<uint32_t> numbers_;
};

Running& running() {
  static Running* const all = new Running;  // never destroyed: threads may outlive static objects
  return *all;
}

}  // namespace

Recorder* Recorder::of_this_thread() { return active; }

Recorder::Recorder()
    : number_(next_capture.fetch_add(1)), first_node_(variable(Tensor::scalar(0)).node()->number), before_(active) {
  running().add(number_);
  active = this;
  captures.fetch_add(1);
}
Recorder::~Recorder() {
  captures.fetch_sub(1);
  active = before_;
  running().remove(number_);
}

void Recorder::check_thread(Inputs in) {
  if (captures.load(std::memory_order_relaxed) == 0 || active) return;
  for (const Tensor& t : in) {
    const Buffer::CaptureTag tag = t.buffer().tag;
    require<GraphError>(tag.capture == 0 || tag.slot == kMadeElsewhere || !running().holds(tag.capture),
                        "capture: a tensor {} of a function that another thread captures is used here, where it is not "
                        "written down; needs the capturing thread",
                        t.shape());
  }
}

Recorder::InKernel::InKernel(Recorder* recorder) : recorder_(recorder) {
  if (recorder_) before_ = std::exchange(recorder_->in_kernel_, true);
}
Recorder::InKernel::~InKernel() {
  if (recorder_) recorder_->in_kernel_ = before_;
}

Tensor Recorder::input(const Tensor& x, int number) {
  const int64_t bytes = x.size() * size_of(x.dtype());
  Buffer* buffer = Buffer::borrowed(bytes, x.device(), &x.buffer());
  buffer->rebind(x.first_byte());
  const Tensor made = Tensor::on(buffer, Layout::packed(x.shape(), x.dtype(), x.device()));
  buffer->release();
  buffer->tag = {number_, static_cast<int32_t>(buffers.size())};
  buffers.push_back({.kind = RecordedBuffer::Kind::input,
                     .bytes = bytes,
                     .device = x.device(),
                     .holder = {},
                     .input = number});
  return made;
}

void Recorder::allocated(Buffer& buffer) {
  if (captures.load(std::memory_order_relaxed) == 0) return;
  if (!active) buffer.tag = {next_capture.load(), kMadeElsewhere};
  else if (!active->in_kernel_) buffer.tag = {active->number_, kHostMade};
}

void Recorder::freed(const Buffer& buffer) {
  const size_t slot = static_cast<size_t>(buffer.tag.slot);  // beyond them once the recording was taken away
  if (buffer.tag.capture == number_ && buffer.tag.slot >= 0 && slot < buffers.size()) buffers[slot].alive = false;
}

void Recorder::check_host_access(const Buffer& buffer, const Shape& shape) const {
  require<GraphError>(in_kernel_ || is_constant(buffer),
                      "capture: a value of a tensor {} is read by the host, and would stay the same in every replay; "
                      "needs operations on tensors alone",
                      shape);
}

int Recorder::made(const Tensor& t) {
  Buffer& buffer = t.buffer();
  if (buffer.tag.capture != number_ || buffer.tag.slot < 0) {
    buffer.tag = {number_, static_cast<int32_t>(buffers.size())};
    buffers.push_back(
        {.kind = RecordedBuffer::Kind::made, .bytes = buffer.bytes(), .device = buffer.device(), .holder = {}});
  }
  return buffer.tag.slot;
}

int Recorder::slot_of(const Tensor& t) {
  const Buffer& buffer = t.buffer();
  if (buffer.tag.capture == number_ && buffer.tag.slot >= 0) return buffer.tag.slot;
  require<GraphError>(buffer.tag.slot != kMadeElsewhere || buffer.tag.capture <= number_,
                      "capture: a tensor {} that another thread made meanwhile is read, and would stay the same in "
                      "every replay; needs work on the capturing "
                      "thread, or an input",
                      t.shape());
  const auto [found, fresh] = held_.emplace(&buffer, static_cast<int>(buffers.size()));
  if (fresh)
    buffers.push_back(
        {.kind = RecordedBuffer::Kind::held, .bytes = buffer.bytes(), .device = buffer.device(), .holder = t.detach()});
  return found->second;
}

void Recorder::check_left(const Tensors& results) const {
  std::vector<bool> returned(buffers.size());
  for (const Tensor& t : results)
    if (t.buffer().tag.capture == number_ && t.buffer().tag.slot >= 0)
      returned[static_cast<size_t>(t.buffer().tag.slot)] = true;
  for (size_t i = 0; i < buffers.size(); ++i)
    require<GraphError>(!(buffers[i].alive && buffers[i].kind == RecordedBuffer::Kind::made && !returned[i]),
                        "capture: a tensor of {} bytes that the step made is still held outside of it, and would keep "
                        "this step's values; needs to be a result",
                        buffers[i].bytes);
}

RecordedTensor Recorder::recorded(const Tensor& t) {
  require<GraphError>(!t.needs_grad() || t.node()->number > first_node_,
                      "capture: a tensor {} has a history from before, which a replay does not carry on; needs detach",
                      t.shape());
  return {slot_of(t), t.layout()};
}

void Recorder::step(const Op& op, Kernel kernel, Inputs in, const Attributes& attributes, std::span<const Tensor> out) {
  bool constant = in.size() > 0 && !op.assigns;
  for (const Tensor& t : in) constant = constant && is_constant(t);
  if (constant) return;  // the results are constants too
  RecordedStep step{&op, kernel, attributes, {}, {}};
  for (const Tensor& t : in) step.in.push_back(recorded(t));
  for (const Tensor& t : out) {
    if (op.assigns) {
      require<GraphError>(!is_constant(t),
                          "capture: '{}' overwrites a tensor {} that the step makes itself; needs one from before",
                          op.name, t.shape());
      buffers[static_cast<size_t>(slot_of(t))].assigned = true;
    }
    step.out.push_back({op.assigns ? slot_of(t) : made(t), t.layout()});
  }
  steps.push_back(std::move(step));
}

void Recorder::number(const Tensor& on_cpu, const Tensor& on_device) {
  static const Op number_op{.name = "number", .shape = nullptr};
  RecordedStep step{&number_op, nullptr, {}, {recorded(on_cpu)}, {}};
  step.out.push_back({made(on_device), on_device.layout()});
  buffers[static_cast<size_t>(step.out[0].slot)].kind = RecordedBuffer::Kind::number;
  steps.push_back(std::move(step));
}

}  // namespace mollify
