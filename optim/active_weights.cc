#include <mollify/optim/active_weights.h>

#include <mollify/engine/ops.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mollify::optim {
namespace {

void require_count(const char* choice, const Positions& among, int64_t count) {
  require<ValueError>(count >= 1 && count <= among.count(), "{}: {} of {} weights; needs at least 1 and at most all",
                      choice, count, among.count());
}

// Those of `among` whose numbers are listed.
Positions chosen(const Positions& among, std::vector<int64_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  for (int64_t& number : numbers) number = among.list()[static_cast<size_t>(number)];
  return Positions(std::move(numbers), among.size(), among.indices().device());
}

std::vector<int64_t> numbers_up_to(int64_t count) {
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace

Positions all_weights(int64_t count, Device device) { return Positions(numbers_up_to(count), count, device); }

Positions largest_weights(const Tensor& weights, const Positions& among, int64_t count) {
  require_count("largest_weights", among, count);
  const std::vector<double> values =
      cast(to(take(weights.detach(), among.indices()), Device::cpu), DType::f64).to_vector<double>();
  std::vector<int64_t> numbers = numbers_up_to(among.count());
  const auto larger = [&](int64_t a, int64_t b) {
    const double x = std::abs(values[static_cast<size_t>(a)]), y = std::abs(values[static_cast<size_t>(b)]);
    return x > y || (x == y && a < b);
  };
  std::nth_element(numbers.begin(), numbers.begin() + (count - 1), numbers.end(), larger);
  numbers.resize(static_cast<size_t>(count));
  return chosen(among, std::move(numbers));
}

Positions drawn_weights(const Positions& among, int64_t count, RandomKey key, uint32_t step) {
  require_count("drawn_weights", among, count);
  std::vector<int64_t> numbers = numbers_up_to(among.count());
  RandomSequence random(key, step);
  for (size_t i = 0; i < static_cast<size_t>(count); ++i)  // the first `count` of a shuffle (Fisher & Yates)
    std::swap(numbers[i], numbers[i + random.below(numbers.size() - i)]);
  numbers.resize(static_cast<size_t>(count));
  return chosen(among, std::move(numbers));
}

Positions best_drawn_weights(const Positions& among, int64_t count, RandomKey key, int64_t candidates,
                             const std::function<double(const Positions&)>& score) {
  require<ValueError>(candidates >= 1, "best_drawn_weights: {} candidates; needs at least 1", candidates);
  Positions best = drawn_weights(among, count, key, 0);
  double highest = score(best);
  for (int64_t i = 1; i < candidates; ++i) {
    Positions candidate = drawn_weights(among, count, key, static_cast<uint32_t>(i));
    const double here = score(candidate);
    if (!(here > highest)) continue;
    highest = here;
    best = std::move(candidate);
  }
  return best;
}

Tensor moved_values(const Tensor& values, const Positions& from, const Positions& to, double filler) {
  const Tensor whole = put(full({from.size()}, filler, values.dtype(), values.device()), from, values);
  return take(whole, to.indices());
}

}  // namespace mollify::optim
