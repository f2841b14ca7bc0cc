// What moves a number during training: functions of the step, which counts from 0.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::optim {

using Schedule = std::function<double(int64_t step)>;

Schedule constant(double value);
// value·factor^⌊step / every⌋; geometric for every = 1
Schedule step_decay(double value, double factor, int64_t every);
// value·factor^(number of `steps` ≤ step), the steps rising
Schedule milestones(double value, double factor, std::vector<int64_t> steps);
// From `value` at step 0 to `last` at step `steps` along half a cosine (Loshchilov & Hutter 2017); `last` from then on.
Schedule cosine(double value, int64_t steps, double last = 0);
// value·(1 − step/steps)^power, 0 from step `steps` on: the best order of graduated optimisation for power in (0, 1]
// (Sato & Iiduka).
Schedule polynomial(double value, int64_t steps, double power);
// (step + 1)/steps of what `then` starts with, for the first `steps` steps; after them `then`, counted from their end.
Schedule linear_warmup(int64_t steps, Schedule then);

}  // namespace mollify::optim
#pragma GCC visibility pop
