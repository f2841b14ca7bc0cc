// From a recording to what is replayed: which steps are needed, which of them run together, and where every buffer
// lies. Inner header of plan.cc; all of it is decided on the host, for either device.
#pragma once

#include <mollify/engine/recorder.h>

namespace mollify {

// Where a buffer lies: `offset` bytes into the memory of buffer `root`, which may be itself.
struct Home {
  int root;
  int64_t offset = 0;
};

// Steps that run together: a chain of elementwise ones, or a single step.
struct StepGroup {
  int first, last;  // of PlanLayout::steps
  bool chain;
  int locals = 0;  // blocks for what no other group reads
};

// The layout is decided in passes, each of which keeps what the ones before decided:
// 1. every buffer lies in itself;
// 2. parts of a join move into it (elide_copies): from then on home(), and nothing else, tells where a buffer's bytes
// are; 3. steps form groups. Within a chain of more than one block, memory that a step writes is met by all its steps
//    in block order: element k by the part of each step that makes element k, and at one offset;
// 4. what only one chain meets, in block order, gets blocks of its own (local);
// 5. a result moves into the memory of an operand that nobody needs any longer, where rule 3 still holds
// (share_memory); 6. what is left gets a place in the arena, apart from all that is alive in the same group.
// check_invariants holds the outcome against the recording.
struct PlanLayout {
  // outputs: the buffers that the function's results are on.
  PlanLayout(Recorder&& recording, const std::vector<int>& outputs);

  std::vector<RecordedStep> steps;
  std::vector<RecordedBuffer> buffers;
  std::vector<StepGroup> groups;
  std::vector<bool> elided;          // of each buffer: it is a part of a join, and lies within it
  std::vector<int> local;            // of each buffer: its block within its chain, or −1
  std::vector<int64_t> arena_offset;  // of each root that was made and is no output: in its device's arena; else −1
  int64_t arena_bytes[2] = {};       // by device
  int64_t copies_elided = 0;

  Home home(int slot) const;                       // where a buffer's first byte is in the end
  int64_t first_byte(const RecordedTensor& t) const;  // of the tensor, within its root
  // Whether block after block of the step reads or writes the tensor's elements in order.
  static bool in_block_order(const RecordedTensor& t, const RecordedStep& step);
  bool runs_in_blocks(const StepGroup& group) const;

 private:
  struct Use {  // of a root's memory, as steps
    int first = -1, last = -1;
  };

  bool is_output(int slot) const { return output_[static_cast<size_t>(slot)]; }
  bool is_free(int slot) const;  // made here, no output: its place is the plan's to choose
  void drop_dead_steps();
  void elide_copies();
  bool elide(const RecordedTensor& part, const RecordedTensor& whole, const Layout& place);
  void form_groups();
  void find_uses();
  void keep_chains_local();
  void share_memory();
  bool may_move(int step, const RecordedTensor& out, const RecordedTensor& in) const;
  void lay_out();

  std::vector<bool> output_;
  std::vector<Home> within_;  // of each buffer: the next one on the way to its root; a root lies within itself
  std::vector<Use> uses_;     // of roots
  std::vector<int> group_of_;  // of each step
};

// Walks the steps as they will run and follows who wrote each byte last. Throws Error where a step would read bytes of
// another buffer than the recording's, or where steps of one chain meet memory that one of them writes out of block
// order.
void check_invariants(const PlanLayout& layout);

// Offsets of blocks in one arena: those that are alive at the same time do not overlap. Large ones are placed first.
struct ArenaBlock {
  int64_t bytes;
  int first, last;  // alive from … to …, both included
  int64_t offset = 0;
};
int64_t place_in_arena(std::vector<ArenaBlock>& blocks, int64_t alignment);  // returns the arena's size

}  // namespace mollify
