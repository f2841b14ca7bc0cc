// What a capture writes down: the kernels that the funnel runs on this thread, and the buffers that they read and
// write.
#pragma once

#include <mollify/engine/op.h>

#include <unordered_map>
#include <vector>

namespace mollify {

// Whether buffers have memory in common: they are one, or others lent the same memory twice (Buffer::foreign).
bool share_memory(const Buffer& a, const Buffer& b);

// A tensor of a recording: part of one of its buffers.
struct RecordedTensor {
  int slot = -1;
  Layout layout;
};

struct RecordedStep {
  const Op* op;
  Kernel kernel;  // null: in[0], a number of the CPU, goes to the device as out[0]
  Attributes attributes;
  std::vector<RecordedTensor> in, out;
};

struct RecordedBuffer {
  enum class Kind { input, made, held, number };
  Kind kind;
  int64_t bytes;
  Device device;
  Tensor holder;          // of what is held: memory from before the capture, or a constant that the host made
  int input = -1;         // which one
  bool alive = true;      // of what was made: somebody holds it
  bool assigned = false;  // some step overwrites it
};

class Recorder {
 public:
  // Throws GraphError where a tensor of another thread's capture is among them: what is done here is not written down
  // there.
  static void check_thread(Inputs in);

  // The capture under way on this thread, or null.
  static Recorder* current() { return captures.load(std::memory_order_relaxed) == 0 ? nullptr : of_this_thread(); }

  Recorder();  // starts
  ~Recorder();
  Recorder(const Recorder&) = delete;

  // Makes a tensor of the function's input number `number`, with the values of x.
  Tensor input(const Tensor& x, int number);

  // For the funnel: one run of a kernel; a number's way to the device. Constants that the host makes, and what is
  // computed from them alone, are computed once.
  void step(const Op& op, Kernel kernel, Inputs in, const Attributes& attributes, std::span<const Tensor> out);
  void number(const Tensor& on_cpu, const Tensor& on_device);
  bool is_constant(const Tensor& t) const { return is_constant(t.buffer()); }
  // While a kernel runs, what it does inside is not recorded, and it may read values.
  class InKernel {
   public:
    explicit InKernel(Recorder* recorder);
    ~InKernel();

   private:
    Recorder* recorder_;
    bool before_ = false;
  };
  bool in_kernel() const { return in_kernel_; }

  // For buffers: birth and death. While another thread captures, it learns what was made elsewhere meanwhile.
  static void allocated(Buffer& buffer);
  void freed(const Buffer& buffer);
  // Throws GraphError unless the host may read or write the buffer: a constant that it made itself since the capture
  // began.
  void check_host_access(const Buffer& buffer, const Shape& shape) const;

  // Throws GraphError when something else than `results` holds a tensor that the function made.
  void check_left(const Tensors& results) const;

  // The tensor as the recording knows it; holds buffers that it had not met.
  RecordedTensor recorded(const Tensor& t);

  std::vector<RecordedStep> steps;
  std::vector<RecordedBuffer> buffers;

 private:
  static inline std::atomic<int> captures{
      0};  // on all threads: nearly always 0, and cheaper to ask than a thread's own pointer
  static Recorder* of_this_thread();

  // Slots of a buffer's tag beside the recording's own numbers: made by the host of that capture; or by a thread that
  // captured nothing while others did, before the capture of that number.
  static constexpr int32_t kHostMade = -1, kMadeElsewhere = -2;
  bool is_constant(const Buffer& buffer) const { return buffer.tag.capture == number_ && buffer.tag.slot == kHostMade; }
  int slot_of(const Tensor& t);
  int made(const Tensor& t);

  uint32_t number_;
  uint64_t first_node_;  // histories from before have smaller numbers
  bool in_kernel_ = false;
  std::unordered_map<const Buffer*, int> held_;
  Recorder* before_;
};

}  // namespace mollify
