// A plan as it is replayed: instructions over buffers that are bound to memory. Inner header of plan.cc.
#pragma once

#include <mollify/engine/cpu/chain.h>
#include <mollify/engine/cuda/device.h>
#include <mollify/engine/plan.h>
#include <mollify/engine/plan_layout.h>

#include <map>
#include <memory>
#include <optional>

namespace mollify {

// The memory of intermediate results, one for all plans of a function: only one of them runs at a time.
class Arenas {
 public:
  // Its first byte, of at least `bytes`; it moves when it has to grow.
  char* get(Device device, int64_t bytes);

 private:
  Tensor memory_[2];
};

class Program {
 public:
  // `results`: what the function returned while it was recorded.
  Program(Recorder&& recording, const Tensors& results, Inputs inputs);
  // Whether an input shares memory with another one or with a tensor from outside, and the steps overwrite one of the
  // two.
  bool overwrites_by_another_name(const Tensors& inputs) const;
  // `inputs` are packed and have the shapes of the recording, and none is overwritten by another name.
  Tensors run(const Tensors& inputs, Arenas& arenas);
  const PlanSummary& summary() const { return summary_; }

 private:
  // A buffer of the steps, `offset` bytes into memory that is bound to it.
  struct Place {
    Tensor holder;  // keeps the buffer
    int64_t offset;
    void bind(char* base) const { holder.buffer().rebind(base + offset); }
  };
  // A run of a kernel or of a chain of formulas; or, with neither, a number on its way to the device.
  struct Instruction {
    Kernel kernel = nullptr;
    Attributes attributes;
    Tensors in, out;
    std::optional<cpu::Chain> chain;
    size_t number = 0;
  };
  struct Input {
    Place place;        // empty where the function does not read it
    bool assigned = false;
    Tensor on_device;   // a CUDA graph reads it here
  };
  struct Made {  // memory that results are on
    Tensor memory;
    std::vector<Place> places;
  };
  struct Result {
    RecordedBuffer::Kind kind;
    size_t index;   // of an input, or among `made_`
    Tensor held;    // what was there before the recording
    Layout layout;  // within its memory
  };

  void note_results(Recorder& recording, const Tensors& results);
  void make_places(const PlanLayout& layout);
  void make_place(const PlanLayout& layout, size_t slot);
  void make_instructions(const PlanLayout& layout);
  Instruction instruction(const RecordedStep& step) const;
  cpu::BlockPass pass(const PlanLayout& layout, const RecordedStep& step) const;

  void bind_arenas(Arenas& arenas);
  void bind_input(const Input& input, const Tensor& given) const;
  void give_back(const Input& input, const Tensor& given) const;  // what the steps overwrote
  void bind_results();
  void execute(const Instruction& instruction);
  void launch();
  Tensor result(const Result& of, const Tensors& inputs) const;

  PlanSummary summary_;
  std::vector<Result> results_;
  std::vector<Input> inputs_;
  std::vector<Made> made_;
  std::map<int, size_t> made_of_;             // recorded buffer → among `made_`
  std::vector<Buffer*> buffers_;  // the steps' buffer for each recorded one; the places and `held_` keep them
  std::vector<Tensor> held_, assigned_;       // what was there before the recording; what of it the steps overwrite
  std::vector<Place> in_arena_[2];            // by device
  int64_t arena_bytes_[2] = {};
  char* arena_[2] = {};                       // what they are bound to
  std::vector<Instruction> on_host_, on_device_;
  std::vector<Place> number_places_;
  std::map<int, size_t> number_of_;           // recorded buffer → among the numbers
  std::vector<uint64_t> numbers_;             // their bits in this run
  Tensor numbers_on_device_;
  std::unique_ptr<cuda::Graph> graph_;
};

}  // namespace mollify
