// The arena of a plan: blocks that live at the same time never overlap, and little is wasted.
#include <mollify/engine/plan_layout.h>
#include <mollify/engine/random.h>

#include <gtest/gtest.h>

#include <algorithm>

namespace mollify {
namespace {

int64_t most_alive(const std::vector<ArenaBlock>& blocks) {
  int64_t most = 0;
  for (const ArenaBlock& at : blocks) {
    int64_t sum = 0;
    for (const ArenaBlock& block : blocks)
      if (block.first <= at.first && at.first <= block.last) sum += block.bytes;
    most = std::max(most, sum);
  }
  return most;
}

TEST(Arena, BlocksAliveTogetherDoNotOverlap) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    RandomSequence random({seed, 1});
    std::vector<ArenaBlock> blocks;
    for (int i = 0; i < 200; ++i) {
      const int first = static_cast<int>(random.below(100));
      blocks.push_back({static_cast<int64_t>(random.below(5000)), first, first + static_cast<int>(random.below(12))});
    }
    const int64_t size = place_in_arena(blocks, 64);
    for (size_t i = 0; i < blocks.size(); ++i) {
      EXPECT_EQ(blocks[i].offset % 64, 0);
      EXPECT_LE(blocks[i].offset + blocks[i].bytes, size);
      for (size_t j = 0; j < i; ++j) {
        const ArenaBlock &a = blocks[i], &b = blocks[j];
        const bool together = a.first <= b.last && b.first <= a.last;
        const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        EXPECT_FALSE(together && overlap) << i << " and " << j;
      }
    }
    EXPECT_LE(size, most_alive(blocks) * 3 / 2);
  }
}

TEST(Arena, OfNothingIsEmpty) {
  std::vector<ArenaBlock> none, empty{{0, 0, 5}, {0, 2, 3}};
  EXPECT_EQ(place_in_arena(none, 64), 0);
  EXPECT_EQ(place_in_arena(empty, 64), 0);
}

}  // namespace
}  // namespace mollify
