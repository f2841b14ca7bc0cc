#include <mollify/engine/plan_program.h>

#include <mollify/engine/cpu/pointwise.h>

#include <algorithm>
#include <cstring>

namespace mollify {
namespace {

using Kind = RecordedBuffer::Kind;

size_t at(int i) { return static_cast<size_t>(i); }
int64_t bytes_of(const Tensor& t) { return t.size() * size_of(t.dtype()); }

// All bytes of a new buffer, as a tensor.
Tensor memory(int64_t bytes, Device device) { return Tensor::empty(Layout::packed({bytes}, DType::u8, device)); }

Tensor clone(const Tensor& packed) {
  Tensor out = Tensor::empty(Layout::packed(packed.shape(), packed.dtype(), packed.device()));
  if (packed.device() == Device::cpu)
    std::memcpy(out.first_byte(), packed.first_byte(), static_cast<size_t>(bytes_of(packed)));
  else cuda::copy_within(out.first_byte(), packed.first_byte(), bytes_of(packed));
  return out;
}

}  // namespace

char* Arenas::get(Device device, int64_t bytes) {
  Tensor& arena = memory_[static_cast<size_t>(device)];
  if (bytes > 0 && (!arena.defined() || arena.size() < bytes)) arena = memory(bytes, device);
  return arena.defined() ? arena.first_byte() : nullptr;
}

Program::Program(Recorder&& recording, const Tensors& results, Inputs inputs) : summary_{}, inputs_(inputs.size()) {
  summary_.operations = static_cast<int64_t>(recording.steps.size());
  for (const Tensor& t : inputs) summary_.inputs.push_back(t.shape());
  note_results(recording, results);
  std::vector<int> outputs;
  for (const auto& [slot, index] : made_of_) outputs.push_back(slot);
  const PlanLayout layout(std::move(recording), outputs);
  make_places(layout);
  make_instructions(layout);
  std::copy_n(layout.arena_bytes, 2, arena_bytes_);
  summary_.copies_elided = layout.copies_elided;
  summary_.arena_bytes = arena_bytes_[0] + arena_bytes_[1];
  summary_.kernels = static_cast<int64_t>(on_host_.size() + on_device_.size());
}

void Program::note_results(Recorder& recording, const Tensors& results) {
  for (const Tensor& t : results) {
    const RecordedTensor recorded = recording.recorded(t);
    const RecordedBuffer& buffer = recording.buffers[at(recorded.slot)];
    Result result{buffer.kind, static_cast<size_t>(std::max(0, buffer.input)), {}, recorded.layout};
    if (buffer.kind == Kind::held) result.held = t.detach();
    if (buffer.kind == Kind::made) {
      const auto [found, fresh] = made_of_.emplace(recorded.slot, made_.size());
      if (fresh) made_.push_back({memory(buffer.bytes, buffer.device), {}});
      result.index = found->second;
    }
    results_.push_back(std::move(result));
  }
}

void Program::make_places(const PlanLayout& layout) {
  buffers_.resize(layout.buffers.size());
  for (size_t slot = 0; slot < layout.buffers.size(); ++slot) {
    const RecordedBuffer& recorded = layout.buffers[slot];
    if (recorded.kind == Kind::held) {
      buffers_[slot] = &recorded.holder.buffer();
      held_.push_back(recorded.holder);
      if (recorded.assigned) assigned_.push_back(recorded.holder);
    } else {
      make_place(layout, slot);
    }
  }
  if (numbers_.empty()) return;
  numbers_on_device_ = memory(8 * static_cast<int64_t>(numbers_.size()), Device::cuda);
  for (const Place& place : number_places_) place.bind(numbers_on_device_.first_byte());
}

void Program::make_place(const PlanLayout& layout, size_t slot) {
  const RecordedBuffer& recorded = layout.buffers[slot];
  const Home home = layout.home(static_cast<int>(slot));
  Buffer* buffer = buffers_[slot] = Buffer::borrowed(recorded.bytes, recorded.device);
  Place place{Tensor::on(buffer, Layout::packed({recorded.bytes}, DType::u8, recorded.device)), home.offset};
  buffer->release();  // the place's tensor holds it
  if (recorded.kind == Kind::input) {
    Input& input = inputs_[at(recorded.input)];
    input = {std::move(place), recorded.assigned, {}};
    if (recorded.device == Device::cpu) return;
    input.on_device = memory(recorded.bytes, Device::cuda);
    input.place.bind(input.on_device.first_byte());
  } else if (recorded.kind == Kind::number) {
    place.offset = 8 * static_cast<int64_t>(numbers_.size());
    number_of_[static_cast<int>(slot)] = numbers_.size();
    numbers_.push_back(0);
    number_places_.push_back(std::move(place));
  } else if (const auto made = made_of_.find(home.root); made != made_of_.end()) {
    place.bind(made_[made->second].memory.first_byte());
    made_[made->second].places.push_back(std::move(place));
  } else {
    place.offset +=
        std::max<int64_t>(0, layout.arena_offset[at(home.root)]);  // −1: a chain keeps it in blocks of its own
    in_arena_[static_cast<size_t>(recorded.device)].push_back(std::move(place));
  }
}

Program::Instruction Program::instruction(const RecordedStep& step) const {
  Instruction made{step.kernel, step.attributes, Tensors(step.in.size()), Tensors(step.out.size()), std::nullopt, 0};
  for (size_t i = 0; i < step.in.size(); ++i) made.in[i] = Tensor::on(buffers_[at(step.in[i].slot)], step.in[i].layout);
  for (size_t i = 0; i < step.out.size(); ++i)
    made.out[i] = Tensor::on(buffers_[at(step.out[i].slot)], step.out[i].layout);
  if (!step.kernel) made.number = number_of_.at(step.out[0].slot);
  return made;
}

cpu::BlockPass Program::pass(const PlanLayout& layout, const RecordedStep& step) const {
  const Instruction operands = instruction(step);
  const DType dtype = cpu::pointwise_dtype(operands.in);
  cpu::BlockPass made(step.op->formula(dtype), dtype, operands.in, {operands.out.begin(), operands.out.size()});
  for (size_t i = 0; i < step.in.size(); ++i)
    if (const int local = layout.local[at(step.in[i].slot)]; local >= 0)
      made.keep_input_local(static_cast<int>(i), local);
  for (size_t i = 0; i < step.out.size(); ++i)
    if (const int local = layout.local[at(step.out[i].slot)]; local >= 0)
      made.keep_output_local(static_cast<int>(i), local);
  return made;
}

void Program::make_instructions(const PlanLayout& layout) {
  for (const StepGroup& group : layout.groups) {
    const RecordedStep& first = layout.steps[at(group.first)];
    if (!group.chain) {
      const bool on_device = first.kernel && first.out[0].layout.device == Device::cuda;
      (on_device ? on_device_ : on_host_).push_back(instruction(first));
      continue;
    }
    std::vector<cpu::BlockPass> passes;
    for (int i = group.first; i <= group.last; ++i) passes.push_back(pass(layout, layout.steps[at(i)]));
    Instruction made;
    made.chain.emplace(std::move(passes), group.locals);
    on_host_.push_back(std::move(made));
  }
}

Tensors Program::run(const Tensors& inputs, Arenas& arenas) {
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (inputs_[i].assigned) require_writable("capture", inputs[i]);
  bind_arenas(arenas);
  for (size_t i = 0; i < inputs_.size(); ++i) bind_input(inputs_[i], inputs[i]);
  bind_results();
  for (const Instruction& instruction : on_host_) execute(instruction);
  if (!on_device_.empty()) launch();
  for (const Tensor& t : assigned_) t.buffer().changed();
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (inputs_[i].place.holder.defined() && inputs_[i].assigned) give_back(inputs_[i], inputs[i]);
  Tensors results(results_.size());
  for (size_t i = 0; i < results_.size(); ++i) results[i] = result(results_[i], inputs);
  return results;
}

void Program::bind_arenas(Arenas& arenas) {
  for (const Device device : {Device::cpu, Device::cuda}) {
    const auto d = static_cast<size_t>(device);
    if (arena_bytes_[d] == 0) continue;
    char* const base = arenas.get(device, arena_bytes_[d]);
    if (base == arena_[d]) continue;
    for (const Place& place : in_arena_[d]) place.bind(base);
    arena_[d] = base;
    if (device == Device::cuda) graph_.reset();  // it holds the addresses of before
  }
}

void Program::bind_input(const Input& input, const Tensor& given) const {
  if (!input.place.holder.defined()) return;
  if (input.on_device.defined())
    return cuda::copy_within(input.on_device.first_byte(), given.first_byte(), bytes_of(given));
  input.place.bind(given.first_byte());
}

void Program::give_back(const Input& input, const Tensor& given) const {
  if (input.on_device.defined()) cuda::copy_within(given.first_byte(), input.on_device.first_byte(), bytes_of(given));
  given.buffer().changed();
}

bool Program::overwrites_by_another_name(const Tensors& inputs) const {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Buffer& memory = inputs[i].buffer();
    for (const Tensor& t : assigned_)
      if (share_memory(t.buffer(), memory)) return true;
    if (!inputs_[i].assigned) continue;
    for (const Tensor& t : held_)
      if (share_memory(t.buffer(), memory)) return true;
    for (size_t j = 0; j < inputs.size(); ++j)
      if (j != i && share_memory(inputs[j].buffer(), memory)) return true;
  }
  return false;
}

// Results that the caller still holds stay as they are: the next ones get new memory. On the device they are copied out
// instead, since a graph's addresses are fixed.
void Program::bind_results() {
  for (Made& made : made_) {
    if (made.memory.device() != Device::cpu || made.memory.buffer().unique()) continue;
    made.memory = memory(made.memory.size(), Device::cpu);
    for (const Place& place : made.places) place.bind(made.memory.first_byte());
  }
}

void Program::execute(const Instruction& i) {
  if (i.chain) i.chain->run();
  else if (i.kernel) i.kernel({i.in, {i.out.begin(), i.out.size()}, i.attributes});
  else std::memcpy(&numbers_[i.number], i.in[0].first_byte(), static_cast<size_t>(size_of(i.in[0].dtype())));
}

void Program::launch() {
  if (!numbers_.empty())
    cuda::write_numbers(numbers_.data(), static_cast<int64_t>(numbers_.size()), numbers_on_device_.first_byte());
  if (!graph_) {
    graph_ = std::make_unique<cuda::Graph>([this] {
      for (const Instruction& instruction : on_device_) execute(instruction);
    });
    summary_.kernels = static_cast<int64_t>(on_host_.size()) + graph_->nodes();
  }
  graph_->launch();
}

Tensor Program::result(const Result& of, const Tensors& inputs) const {
  if (of.kind == Kind::held) return Tensor::on(&of.held.buffer(), of.layout);
  if (of.kind == Kind::input) {
    Layout layout = of.layout;  // the recording saw an input that begins at its buffer's first byte
    layout.offset += inputs[of.index].layout().offset;
    return Tensor::on(&inputs[of.index].buffer(), layout);
  }
  const Tensor& memory = made_[of.index].memory;
  return Tensor::on(&(memory.device() == Device::cpu ? memory : clone(memory)).buffer(), of.layout);
}

}  // namespace mollify
