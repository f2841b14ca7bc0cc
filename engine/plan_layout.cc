#include <mollify/engine/plan_layout.h>

#include <mollify/engine/cpu/chain.h>
#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace mollify {
namespace {

size_t at(int i) { return static_cast<size_t>(i); }

// Whether the tensor is the whole of its buffer, in order.
bool is_whole(const RecordedTensor& t, int64_t bytes) {
  return t.layout.offset == 0 && t.layout.is_packed() && t.layout.shape.size() * size_of(t.layout.dtype) == bytes;
}

DType formula_dtype(const RecordedStep& step) {
  for (const RecordedTensor& t : step.in)
    if (is_floating(t.layout.dtype)) return t.layout.dtype;
  return DType::f64;
}

bool is_chainable(const RecordedStep& step) { return step.op->formula && step.out[0].layout.device == Device::cpu; }
int64_t size_of_step(const RecordedStep& step) { return step.out[0].layout.shape.size(); }

// Element k of the tensor is element k of the step's result: block after block is read or written in order.
bool is_linear(const RecordedTensor& t, const RecordedStep& step) {
  return t.layout.is_packed() && t.layout.shape.size() == size_of_step(step) && t.layout.dtype == formula_dtype(step);
}

}  // namespace

PlanLayout::PlanLayout(Recorder&& recording, const std::vector<int>& outputs)
    : steps(std::move(recording.steps)), buffers(std::move(recording.buffers)), homes(buffers.size()), local(buffers.size(), -1),
      arena_offset(buffers.size(), -1), output_(buffers.size()) {
  for (int slot : outputs) output_[at(slot)] = true;
  for (size_t i = 0; i < homes.size(); ++i) homes[i].root = static_cast<int>(i);
  drop_dead_steps();
  elide_copies();
  form_groups();
  find_uses();
  keep_chains_local();
  share_memory();
  lay_out();
}

bool PlanLayout::is_free(int slot) const { return buffers[at(slot)].kind == RecordedBuffer::Kind::made && !is_output(slot); }

void PlanLayout::drop_dead_steps() {
  std::vector<bool> needed = output_;
  std::vector<RecordedStep> live;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    bool used = step->op->assigns > 0;
    for (const RecordedTensor& t : step->out) used |= needed[at(t.slot)];
    if (!used) continue;
    for (const RecordedTensor& t : step->in) needed[at(t.slot)] = true;
    live.push_back(std::move(*step));
  }
  steps.assign(std::make_move_iterator(live.rbegin()), std::make_move_iterator(live.rend()));
}

// A part that has a buffer of its own moves to its place in the joined tensor, and its kernel writes there. The other parts are copied.
void PlanLayout::elide_copies() {
  std::vector<RecordedStep> kept;
  for (RecordedStep& step : steps) {
    if (!step.op->place) {
      kept.push_back(std::move(step));
      continue;
    }
    std::vector<Shape> shapes;
    for (const RecordedTensor& t : step.in) shapes.push_back(t.layout.shape);
    std::vector<size_t> copied;
    std::vector<Layout> places;
    for (size_t i = 0; i < step.in.size(); ++i) {
      places.push_back(step.op->place(step.out[0].layout, shapes, i, step.attributes));
      if (!elide(step.in[i], step.out[0], places[i])) copied.push_back(i);
    }
    if (copied.size() == step.in.size()) {
      kept.push_back(std::move(step));
      continue;
    }
    const Op& assign = assign_operation();
    for (size_t i : copied) {
      const RecordedTensor place{step.out[0].slot, places[i]};
      kept.push_back({&assign, place.layout.device == Device::cpu ? assign.cpu : assign.cuda, {}, {place, step.in[i]}, {place}});
    }
  }
  steps = std::move(kept);
}

bool PlanLayout::elide(const RecordedTensor& part, const RecordedTensor& whole, const Layout& place) {
  const RecordedBuffer& buffer = buffers[at(part.slot)];
  const bool fits = is_free(part.slot) && !buffer.assigned && homes[at(part.slot)].root == part.slot && !buffers[at(whole.slot)].assigned &&
                    is_whole(part, buffer.bytes) && place.is_packed() && place.shape.size() > 0;
  if (!fits) return false;
  homes[at(part.slot)] = {whole.slot, place.offset * size_of(place.dtype)};
  ++copies_elided;
  return true;
}

namespace {

// What the steps of a chain so far have done to one buffer.
struct Access {
  bool written = false;
  bool in_order = true;  // read and written as element k for element k of the result, at one offset
  int64_t offset = -1;   // in bytes
};

}  // namespace

// A chain goes on while each step has its size, and no step meets out of order what another one writes. Small steps run whole, one
// after another.
void PlanLayout::form_groups() {
  std::map<int, Access> seen;  // by root
  const auto offset = [&](const RecordedTensor& t) { return homes[at(t.slot)].offset + t.layout.offset * size_of(t.layout.dtype); };
  const auto in_order = [&](const RecordedTensor& t, const RecordedStep& step) {
    const auto before = seen.find(homes[at(t.slot)].root);
    return is_linear(t, step) && (before == seen.end() || (before->second.in_order && before->second.offset == offset(t)));
  };
  const auto joins = [&](const StepGroup& group, const RecordedStep& step) {
    const RecordedStep& first = steps[at(group.first)];
    if (!group.chain || !is_chainable(step)) return false;
    if (std::max(size_of_step(first), size_of_step(step)) <= cpu::Chain::kBlock) return true;
    bool fits = size_of_step(first) == size_of_step(step) && at(group.last - group.first) + 1 < cpu::Chain::kMostPasses;
    for (const RecordedTensor& t : step.in) {
      const auto before = seen.find(homes[at(t.slot)].root);
      fits = fits && (before == seen.end() || !before->second.written || in_order(t, step));
    }
    for (const RecordedTensor& t : step.out) fits = fits && (!seen.contains(homes[at(t.slot)].root) || (is_linear(t, step) && in_order(t, step)));
    return fits;
  };
  for (int i = 0; i < static_cast<int>(steps.size()); ++i) {
    const RecordedStep& step = steps[at(i)];
    if (groups.empty() || !joins(groups.back(), step)) {
      seen.clear();
      groups.push_back({i, i, is_chainable(step)});
    } else {
      groups.back().last = i;
    }
    group_of_.push_back(static_cast<int>(groups.size()) - 1);
    if (!is_chainable(step)) continue;
    for (const auto* list : {&step.in, &step.out})
      for (const RecordedTensor& t : *list) {
        const bool ordered = in_order(t, step);
        Access& access = seen[homes[at(t.slot)].root];
        access.in_order = ordered;
        access.offset = offset(t);
        access.written |= list == &step.out;
      }
  }
}

void PlanLayout::find_uses() {
  uses_.assign(buffers.size(), {});
  for (int i = 0; i < static_cast<int>(steps.size()); ++i) {
    const auto use = [&](const RecordedTensor& t) {
      Use& of = uses_[at(t.slot)];
      if (of.first < 0) of.first = i;
      of.last = i;
    };
    for (const RecordedTensor& t : steps[at(i)].in) use(t);
    for (const RecordedTensor& t : steps[at(i)].out) use(t);
  }
}

// What only one long chain touches, in order, needs no memory but a block of each thread's.
void PlanLayout::keep_chains_local() {
  std::vector<bool> scattered(buffers.size());
  for (const RecordedStep& step : steps)
    for (const auto* list : {&step.in, &step.out})
      for (const RecordedTensor& t : *list)
        if (!is_chainable(step) || !is_linear(t, step) || homes[at(t.slot)].root != t.slot) {
          scattered[at(t.slot)] = true;
          scattered[at(homes[at(t.slot)].root)] = true;
        }
  for (StepGroup& group : groups) {
    if (!group.chain || size_of_step(steps[at(group.first)]) <= cpu::Chain::kBlock) continue;
    std::vector<int> free_blocks;
    for (int i = group.first; i <= group.last; ++i) {
      for (const RecordedTensor& t : steps[at(i)].out) {
        const Use& use = uses_[at(t.slot)];
        if (!is_free(t.slot) || scattered[at(t.slot)] || use.first != i || use.last > group.last || local[at(t.slot)] >= 0) continue;
        if (free_blocks.empty()) free_blocks.push_back(group.locals++);
        local[at(t.slot)] = free_blocks.back();
        free_blocks.pop_back();
      }
      std::vector<int> ended;
      for (const auto* list : {&steps[at(i)].in, &steps[at(i)].out})
        for (const RecordedTensor& t : *list)
          if (local[at(t.slot)] >= 0 && uses_[at(t.slot)].last == i) ended.push_back(local[at(t.slot)]);
      std::sort(ended.begin(), ended.end());
      ended.erase(std::unique(ended.begin(), ended.end()), ended.end());
      free_blocks.insert(free_blocks.end(), ended.begin(), ended.end());
    }
  }
}

// An elementwise result takes the memory of an operand that it is the last to read.
void PlanLayout::share_memory() {
  std::vector<bool> root_of_others(buffers.size());
  for (size_t i = 0; i < homes.size(); ++i)
    if (homes[i].root != static_cast<int>(i)) root_of_others[at(homes[i].root)] = true;
  const auto may_share = [&](const RecordedTensor& t) {
    return is_free(t.slot) && local[at(t.slot)] < 0 && !root_of_others[at(t.slot)] && is_whole(t, buffers[at(t.slot)].bytes);
  };
  for (int i = 0; i < static_cast<int>(steps.size()); ++i) {
    const RecordedStep& step = steps[at(i)];
    if (!step.op->formula) continue;
    for (const RecordedTensor& out : step.out) {
      if (!may_share(out) || homes[at(out.slot)].root != out.slot || uses_[at(out.slot)].first != i || !is_linear(out, step)) continue;
      for (const RecordedTensor& in : step.in) {
        const int root = homes[at(in.slot)].root;
        if (!may_share(in) || root_of_others[at(root)] || !is_free(root) || uses_[at(root)].last != i || !is_linear(in, step)) continue;
        bool once = true;  // another operand may be another part of the same memory
        for (const RecordedTensor& other : step.in) once &= &other == &in || homes[at(other.slot)].root != root;
        for (const RecordedTensor& other : step.out) once &= homes[at(other.slot)].root != root;
        if (!once) continue;
        homes[at(out.slot)] = {root, 0};
        uses_[at(root)].last = uses_[at(out.slot)].last;
        break;
      }
    }
  }
}

void PlanLayout::lay_out() {
  std::vector<Use> alive(buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (uses_[i].first < 0) continue;
    Use& of = alive[at(homes[i].root)];
    const int first = group_of_[at(uses_[i].first)], last = group_of_[at(uses_[i].last)];
    of = of.first < 0 ? Use{first, last} : Use{std::min(of.first, first), std::max(of.last, last)};
  }
  for (const Device device : {Device::cpu, Device::cuda}) {
    std::vector<ArenaBlock> blocks;
    std::vector<size_t> slots;
    for (size_t i = 0; i < buffers.size(); ++i) {
      if (alive[i].first < 0 || !is_free(static_cast<int>(i)) || local[i] >= 0 || buffers[i].device != device || homes[i].root != static_cast<int>(i)) continue;
      blocks.push_back({buffers[i].bytes, alive[i].first, alive[i].last});
      slots.push_back(i);
    }
    arena_bytes[static_cast<int>(device)] = place_in_arena(blocks, device == Device::cpu ? 64 : 256);
    for (size_t k = 0; k < slots.size(); ++k) arena_offset[slots[k]] = blocks[k].offset;
  }
}

int64_t place_in_arena(std::vector<ArenaBlock>& blocks, int64_t alignment) {
  std::vector<size_t> order(blocks.size()), placed;
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  int64_t size = 0;
  for (size_t i : order) {
    ArenaBlock& block = blocks[i];
    block.offset = 0;
    for (size_t other : placed) {  // by rising offset: the first gap that is wide enough
      const ArenaBlock& taken = blocks[other];
      if (taken.last < block.first || block.last < taken.first) continue;
      if (block.offset + block.bytes <= taken.offset) break;
      block.offset = std::max(block.offset, (taken.offset + taken.bytes + alignment - 1) / alignment * alignment);
    }
    const auto after = std::upper_bound(placed.begin(), placed.end(), block.offset, [&](int64_t offset, size_t other) { return offset < blocks[other].offset; });
    placed.insert(after, i);
    size = std::max(size, block.offset + block.bytes);
  }
  return size;
}

}  // namespace mollify
