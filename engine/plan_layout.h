// From a recording to what is replayed: which steps are needed, which of them run together, and where every buffer lies. Inner header of
// plan.cc; all of it is decided on the host, for either device.
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

struct PlanLayout {
  // outputs: the buffers that the function's results are on.
  PlanLayout(Recorder&& recording, const std::vector<int>& outputs);

  std::vector<RecordedStep> steps;
  std::vector<RecordedBuffer> buffers;
  std::vector<StepGroup> groups;
  std::vector<Home> homes;           // of each buffer
  std::vector<int> local;            // of each buffer: its block within its chain, or −1
  std::vector<int64_t> arena_offset;  // of each root that was made and is no output: in its device's arena; else −1
  int64_t arena_bytes[2] = {};       // by device
  int64_t copies_elided = 0;

 private:
  struct Use {  // of a buffer, as steps; first: where it is made
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
  void lay_out();

  std::vector<bool> output_;
  std::vector<Use> uses_;
  std::vector<int> group_of_;  // of each step
};

// Offsets of blocks in one arena: those that are alive at the same time do not overlap. Large ones are placed first.
struct ArenaBlock {
  int64_t bytes;
  int first, last;  // alive from … to …, both included
  int64_t offset = 0;
};
int64_t place_in_arena(std::vector<ArenaBlock>& blocks, int64_t alignment);  // returns the arena's size

}  // namespace mollify
