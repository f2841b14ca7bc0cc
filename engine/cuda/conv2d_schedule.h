// Which tile an implicit matrix product uses, and into how many slices its sum is cut: decided by the shape alone,
// since the slices decide the order of the sum.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mollify::cuda {

// A block computes rows × columns of the product at a time, at `speed` multiply-adds per clock of a multiprocessor.
struct TileSize {
  int rows, columns;
  double speed;
};

struct Schedule {
  int tile, slices;
};

// Products [rows, depth] · [depth, columns], `count` of them.
struct Work {
  int64_t count, rows, columns, depth;
  int64_t outputs;                // elements of one slice's result
  int64_t min_depth, max_depth;   // of a slice: what makes one worth it, what keeps the sum accurate
};

// The cheapest of all tiles and slices by an estimate in clocks: whole waves of blocks on a device of 132
// multiprocessors, a fixed cost per block, and the traffic of partial results at 2 KiB per clock. One block alone on a
// multiprocessor hides less of its latencies.
template <int kTiles>
Schedule schedule(const TileSize (&tiles)[kTiles], const Work& work) {
  constexpr int64_t processors = 132, max_partials = int64_t{1} << 26;
  constexpr double block_clocks = 1500, launch_clocks = 4000, bytes_per_clock = 2048;
  const int64_t least = std::max<int64_t>(1, (work.depth + work.max_depth - 1) / work.max_depth);
  Schedule best{0, 1};
  double best_clocks = 0;
  for (int tile = 0; tile < kTiles; ++tile) {
    const TileSize& t = tiles[tile];
    const int64_t blocks =
        work.count * ((work.rows + t.rows - 1) / t.rows) * ((work.columns + t.columns - 1) / t.columns);
    for (int64_t slices = least;; slices += std::max<int64_t>(1, slices / 3)) {
      const bool too_many =
          slices * work.min_depth > work.depth || slices * work.outputs > max_partials || slices > 1024;
      if (too_many && slices > least) break;
      const int64_t turns = (blocks * slices + processors - 1) / processors, depth = (work.depth + slices - 1) / slices;
      const double block =
          static_cast<double>(t.rows) * t.columns * static_cast<double>(depth) / t.speed + block_clocks;
      double clocks = static_cast<double>(turns) * block;
      if (turns == 1) clocks *= 1.25;
      if (slices > 1) clocks += launch_clocks + static_cast<double>(slices * work.outputs) * 8 / bytes_per_clock;
      if (best_clocks == 0 || clocks < best_clocks) {
        best = {tile, static_cast<int>(slices)};
        best_clocks = clocks;
      }
    }
  }
  return best;
}

}  // namespace mollify::cuda
