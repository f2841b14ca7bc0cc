// Whether a plan's layout gives every step the bytes that the recording gave it: an independent reading of the outcome.
#include <mollify/engine/ops/rules.h>
#include <mollify/engine/plan_layout.h>

#include <algorithm>
#include <iterator>
#include <map>

namespace mollify {
namespace {

size_t at(int i) { return static_cast<size_t>(i); }

// Bytes [first, last) of one memory: an arena, or a root that has memory of its own.
struct Bytes {
  int memory;
  int64_t first, last;
  bool overlaps(const Bytes& other) const { return memory == other.memory && first < other.last && other.first < last; }
};

Bytes bytes_of(const PlanLayout& layout, const RecordedTensor& t) {
  const Home home = layout.home(t.slot);
  const int64_t arena = layout.arena_offset[at(home.root)], size = size_of(t.layout.dtype);
  int64_t first = layout.first_byte(t) + std::max<int64_t>(0, arena), last = first + size;
  for (int axis = 0; axis < t.layout.shape.rank(); ++axis) {
    const int64_t reach = (t.layout.shape[axis] - 1) * t.layout.strides[axis] * size;
    (reach < 0 ? first : last) += reach;
  }
  if (t.layout.shape.size() == 0) last = first;
  const int device = static_cast<int>(layout.buffers[at(home.root)].device);
  return {arena >= 0 ? -1 - device : home.root, first, last};
}

// Which buffer wrote each byte of a memory last.
class Writers {
 public:
  void write(const Bytes& bytes, int slot) {
    if (bytes.first == bytes.last) return;
    cut(bytes.first);
    cut(bytes.last);
    ranges_.erase(ranges_.lower_bound(bytes.first), ranges_.lower_bound(bytes.last));
    ranges_[bytes.first] = {bytes.last, slot};
  }
  // Calls visit(slot) for all who wrote some of the bytes.
  template <class Visit>
  void each(const Bytes& bytes, const Visit& visit) const {
    auto range = ranges_.upper_bound(bytes.first);
    if (range != ranges_.begin()) --range;
    for (; range != ranges_.end() && range->first < bytes.last; ++range)
      if (range->second.last > bytes.first) visit(range->second.slot);
  }

 private:
  struct Range {
    int64_t last;
    int slot;
  };
  void cut(int64_t byte) {
    auto range = ranges_.upper_bound(byte);
    if (range == ranges_.begin() || (--range)->second.last <= byte) return;
    const Range after = range->second;
    range->second.last = byte;
    ranges_[byte] = after;
  }

  std::map<int64_t, Range> ranges_;
};

// Whether what `writer` left may be what `reader` means: it is the same buffer, or a part of it that lies there by a
// join.
bool stands_for(const PlanLayout& layout, int writer, int reader) {
  if (writer == reader) return true;
  return layout.elided[at(writer)] && layout.home(writer).root == layout.home(reader).root;
}

void check_values(const PlanLayout& layout) {
  std::map<int, Writers> memories;
  for (const RecordedStep& step : layout.steps) {
    for (const RecordedTensor& t : step.in) {
      const bool only_written = step.op == &assign_operation() && &t == &step.in[0];
      if (only_written || layout.local[at(t.slot)] >= 0) continue;
      const Bytes bytes = bytes_of(layout, t);
      memories[bytes.memory].each(bytes, [&](int writer) {
        require<Error>(stands_for(layout, writer, t.slot),
                       "capture: internal error: '{}' would read bytes of buffer {} as buffer {}", step.op->name,
                       writer, t.slot);
      });
    }
    for (const RecordedTensor& t : step.out) {
      if (layout.local[at(t.slot)] >= 0) continue;
      const Bytes bytes = bytes_of(layout, t);
      memories[bytes.memory].write(bytes, t.slot);
    }
  }
}

void check_order(const PlanLayout& layout, const StepGroup& group) {
  struct Access {
    Bytes bytes;
    bool written, ordered;
  };
  std::vector<Access> all;
  for (int i = group.first; i <= group.last; ++i) {
    const RecordedStep& step = layout.steps[at(i)];
    for (const auto* list : {&step.in, &step.out})
      for (const RecordedTensor& t : *list)
        if (layout.local[at(t.slot)] < 0)
          all.push_back({bytes_of(layout, t), list == &step.out, PlanLayout::in_block_order(t, step)});
  }
  for (const Access& a : all)
    for (const Access& b : all)
      require<Error>(!a.written || !a.bytes.overlaps(b.bytes) || &a == &b ||
                         (a.ordered && b.ordered && a.bytes.first == b.bytes.first),
                     "capture: internal error: a chain from '{}' on meets memory that it writes out of order",
                     layout.steps[at(group.first)].op->name);
}

}  // namespace

void check_invariants(const PlanLayout& layout) {
  check_values(layout);
  for (const StepGroup& group : layout.groups)
    if (group.last > group.first && layout.runs_in_blocks(group)) check_order(layout, group);
}

}  // namespace mollify
