// Draws of Philox numbers into packed memory.
#pragma once

#include <mollify/engine/random.h>

namespace mollify::cpu {

enum class Distribution { uniform, normal, signs };

// out[i] = number i of the draw (key, step), for first ≤ i < first + count; first is a multiple of 4.
// f32: number i is word i of the draw; f64: words 2i and 2i + 1. Normals come from pairs of uniforms (u, v) by Box and
// Muller:
// √(−2 ln u)·cos 2πv and √(−2 ln u)·sin 2πv. Signs are those of uniform numbers less ½.
template <class T>
void draw(Distribution distribution, RandomKey key, uint32_t step, int64_t first, int64_t count, T* out);

// out[i] = Σ coefficients[j]·(number i of the draw with j added to the key's stream), in rising order of j.
template <class T>
void draw_sum(Distribution distribution, const T* coefficients, int64_t draws, RandomKey key, uint32_t step,
              int64_t count, T* out);

}  // namespace mollify::cpu
