#include <mollify/optim/schedule.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <cmath>

namespace mollify::optim {

Schedule constant(double value) {
  return [=](int64_t) { return value; };
}

Schedule step_decay(double value, double factor, int64_t every) {
  require<ValueError>(every >= 1, "step_decay: every {} steps; needs at least 1", every);
  return [=](int64_t step) { return value * std::pow(factor, static_cast<double>(step / every)); };
}

Schedule milestones(double value, double factor, std::vector<int64_t> steps) {
  require<ValueError>(std::is_sorted(steps.begin(), steps.end()),
                      "milestones: steps that do not rise; needs them in order");
  return [=](int64_t step) {
    const auto passed = std::upper_bound(steps.begin(), steps.end(), step) - steps.begin();
    return value * std::pow(factor, static_cast<double>(passed));
  };
}

Schedule cosine(double value, int64_t steps, double last) {
  require<ValueError>(steps >= 1, "cosine: over {} steps; needs at least 1", steps);
  return [=](int64_t step) {
    if (step >= steps) return last;
    return last + (value - last) * 0.5 *
                      (1 + std::cos(3.141592653589793 * static_cast<double>(step) / static_cast<double>(steps)));
  };
}

Schedule polynomial(double value, int64_t steps, double power) {
  require<ValueError>(steps >= 1 && power > 0,
                      "polynomial: over {} steps with power {}; needs at least 1 and more than 0", steps, power);
  return [=](int64_t step) {
    return step >= steps ? 0 : value * std::pow(1 - static_cast<double>(step) / static_cast<double>(steps), power);
  };
}

Schedule linear_warmup(int64_t steps, Schedule then) {
  require<ValueError>(steps >= 0, "linear_warmup: over {} steps; needs at least 0", steps);
  return [=](int64_t step) {
    return step < steps ? then(0) * static_cast<double>(step + 1) / static_cast<double>(steps) : then(step - steps);
  };
}

}  // namespace mollify::optim
