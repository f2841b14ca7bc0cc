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

}  // namespace

PlanLayout::PlanLayout(Recorder&& recording, const std::vector<int>& outputs)
    : steps(std::move(recording.steps)),
      buffers(std::move(recording.buffers)),
      elided(buffers.size()),
      local(buffers.size(), -1),
      arena_offset(buffers.size(), -1),
      output_(buffers.size()) {
  for (int slot : outputs) output_[at(slot)] = true;
  for (size_t i = 0; i < buffers.size(); ++i) within_.push_back({static_cast<int>(i)});
  drop_dead_steps();
  elide_copies();
  form_groups();
  find_uses();
  keep_chains_local();
  share_memory();
  lay_out();
  check_invariants(*this);
}

Home PlanLayout::home(int slot) const {
  Home at_last{slot};
  while (within_[at(at_last.root)].root != at_last.root) {
    const Home& next = within_[at(at_last.root)];
    at_last = {next.root, at_last.offset + next.offset};
  }
  return at_last;
}

int64_t PlanLayout::first_byte(const RecordedTensor& t) const {
  return home(t.slot).offset + t.layout.offset * size_of(t.layout.dtype);
}

bool PlanLayout::in_block_order(const RecordedTensor& t, const RecordedStep& step) {
  return t.layout.is_packed() && t.layout.shape.size() == size_of_step(step) && t.layout.dtype == formula_dtype(step);
}

bool PlanLayout::runs_in_blocks(const StepGroup& group) const {
  return group.chain && size_of_step(steps[at(group.first)]) > cpu::Chain::kBlock;
}

bool PlanLayout::is_free(int slot) const {
  return buffers[at(slot)].kind == RecordedBuffer::Kind::made && !is_output(slot);
}

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

// A part that has a buffer of its own moves to its place in the joined tensor, and its kernel writes there. The other
// parts are copied.
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
      kept.push_back(
          {&assign, place.layout.device == Device::cpu ? assign.cpu : assign.cuda, {}, {place, step.in[i]}, {place}});
    }
  }
  steps = std::move(kept);
}

bool PlanLayout::elide(const RecordedTensor& part, const RecordedTensor& whole, const Layout& place) {
  const RecordedBuffer& buffer = buffers[at(part.slot)];
  const bool fits = is_free(part.slot) && !buffer.assigned && within_[at(part.slot)].root == part.slot &&
                    !buffers[at(whole.slot)].assigned && is_whole(part, buffer.bytes) && place.is_packed() &&
                    place.shape.size() > 0;
  if (!fits) return false;
  within_[at(part.slot)] = {whole.slot, place.offset * size_of(place.dtype)};
  elided[at(part.slot)] = true;
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

// A chain goes on while each step has its size, and no step meets out of order what another one writes. Small steps run
// whole, one after another.
void PlanLayout::form_groups() {
  std::map<int, Access> seen;  // by root
  const auto in_order = [&](const RecordedTensor& t, const RecordedStep& step) {
    const auto before = seen.find(home(t.slot).root);
    return in_block_order(t, step) &&
           (before == seen.end() || (before->second.in_order && before->second.offset == first_byte(t)));
  };
  const auto joins = [&](const StepGroup& group, const RecordedStep& step) {
    const RecordedStep& first = steps[at(group.first)];
    if (!group.chain || !is_chainable(step)) return false;
    if (std::max(size_of_step(first), size_of_step(step)) <= cpu::Chain::kBlock) return true;
    bool fits = size_of_step(first) == size_of_step(step) && at(group.last - group.first) + 1 < cpu::Chain::kMostPasses;
    for (const RecordedTensor& t : step.in) {
      const auto before = seen.find(home(t.slot).root);
      fits = fits && (before == seen.end() || !before->second.written || in_order(t, step));
    }
    for (const RecordedTensor& t : step.out) fits = fits && (!seen.contains(home(t.slot).root) || in_order(t, step));
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
        Access& access = seen[home(t.slot).root];
        access.in_order = ordered;
        access.offset = first_byte(t);
        access.written |= list == &step.out;
      }
  }
}

void PlanLayout::find_uses() {
  uses_.assign(buffers.size(), {});
  for (int i = 0; i < static_cast<int>(steps.size()); ++i) {
    const auto use = [&](const RecordedTensor& t) {
      Use& of = uses_[at(home(t.slot).root)];
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
        if (!is_chainable(step) || !in_block_order(t, step) || home(t.slot).root != t.slot) {
          scattered[at(t.slot)] = true;
          scattered[at(home(t.slot).root)] = true;
        }
  for (StepGroup& group : groups) {
    if (!runs_in_blocks(group)) continue;
    std::vector<int> free_blocks;
    for (int i = group.first; i <= group.last; ++i) {
      for (const RecordedTensor& t : steps[at(i)].out) {
        const Use& use = uses_[at(t.slot)];
        if (!is_free(t.slot) || scattered[at(t.slot)] || use.first != i || use.last > group.last ||
            local[at(t.slot)] >= 0)
          continue;
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
  for (int i = 0; i < static_cast<int>(steps.size()); ++i) {
    const RecordedStep& step = steps[at(i)];
    if (!step.op->formula) continue;
    for (const RecordedTensor& out : step.out) {
      const auto in =
          std::find_if(step.in.begin(), step.in.end(), [&](const RecordedTensor& t) { return may_move(i, out, t); });
      if (in == step.in.end()) continue;
      const Home place = home(in->slot);
      within_[at(out.slot)] = place;
      uses_[at(place.root)].last = uses_[at(out.slot)].last;
    }
  }
}

// Whether step `i` may leave `out` where it reads `in`.
bool PlanLayout::may_move(int i, const RecordedTensor& out, const RecordedTensor& in) const {
  const RecordedStep& step = steps[at(i)];
  const int root = home(in.slot).root;
  const auto whole = [&](const RecordedTensor& t) {
    return local[at(t.slot)] < 0 && is_whole(t, buffers[at(t.slot)].bytes) && in_block_order(t, step);
  };
  const bool fits = is_free(out.slot) && home(out.slot).root == out.slot && uses_[at(out.slot)].first == i &&
                    whole(out) && is_free(root) && uses_[at(root)].last == i && whole(in) && local[at(root)] < 0;
  if (!fits) return false;
  for (const auto* list : {&step.in, &step.out})  // another operand may be another part of the same memory
    for (const RecordedTensor& t : *list)
      if (&t != &in && home(t.slot).root == root) return false;
  const StepGroup& group = groups[at(group_of_[at(i)])];
  if (!runs_in_blocks(group)) return true;
  for (int k = group.first; k <= group.last; ++k)
    for (const auto* list : {&steps[at(k)].in, &steps[at(k)].out})
      for (const RecordedTensor& t : *list)
        if ((home(t.slot).root == root && (!in_block_order(t, steps[at(k)]) || first_byte(t) != first_byte(in))) ||
            (home(t.slot).root == out.slot && !in_block_order(t, steps[at(k)])))
          return false;
  return true;
}

void PlanLayout::lay_out() {
  for (const Device device : {Device::cpu, Device::cuda}) {
    std::vector<ArenaBlock> blocks;
    std::vector<size_t> slots;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const int slot = static_cast<int>(i);
      if (home(slot).root != slot || uses_[i].first < 0 || !is_free(slot) || local[i] >= 0 ||
          buffers[i].device != device)
        continue;
      blocks.push_back({buffers[i].bytes, group_of_[at(uses_[i].first)], group_of_[at(uses_[i].last)]});
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
    const auto after = std::upper_bound(placed.begin(), placed.end(), block.offset,
                                        [&](int64_t offset, size_t other) { return offset < blocks[other].offset; });
    placed.insert(after, i);
    size = std::max(size, block.offset + block.bytes);
  }
  return size;
}

}  // namespace mollify
