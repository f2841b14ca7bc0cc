// Choices of the weights that a run trains: the others are masked.
#pragma once

#include <mollify/engine/positions.h>
#include <mollify/engine/random.h>

#include <functional>

#pragma GCC visibility push(default)
namespace mollify::optim {

Positions all_weights(int64_t count, Device device = Device::cpu);

// `count` of the weights `among`, in rising order of their places. Throw ValueError unless 1 ≤ count ≤ as many as there
// are.
Positions largest_weights(const Tensor& weights, const Positions& among,
                          int64_t count);  // by magnitude, first of equals
Positions drawn_weights(const Positions& among, int64_t count, RandomKey key, uint32_t step = 0);
// The one of `candidates` drawn choices, with the candidate's number as step, that scores highest; the first of equals.
Positions best_drawn_weights(const Positions& among, int64_t count, RandomKey key, int64_t candidates,
                             const std::function<double(const Positions& candidate)>& score);

// What moves from one choice to another: values [from.count()] of weights that are active now, and `filler` for those
// that were not.
Tensor moved_values(const Tensor& values, const Positions& from, const Positions& to, double filler = 0);

}  // namespace mollify::optim
#pragma GCC visibility pop
