#include <mollify/smoothing/loss/population.h>

#include <mollify/engine/ops.h>

namespace mollify::smoothing {
namespace {

using Sides = Population::Sides;
using Directions = Population::Directions;

// 1 where the number is finite, else 0: ∞ − ∞ and NaN are no 0.
Tensor is_finite(const Tensor& x) { return cast(equal(x - x, zeros_like(x)), x.dtype()); }

// Centred ranks of the numbers that count, from −½ to ½ and 0 for a single one; equal numbers share the mean of theirs.
Tensor centered_ranks(const Tensor& values, const Tensor& counts) {
  const Tensor row = reshape(values, {1, values.size()}), column = reshape(values, {values.size(), 1});
  const Tensor smaller = cast(less(row, column), values.dtype()), same = cast(equal(row, column), values.dtype());
  const Tensor below = sum((smaller + same * 0.5) * reshape(counts, {1, counts.size()}), {1}) - 0.5;  // itself is half
  return below / maximum(sum(counts) - 1.0, Tensor::scalar(1, values.dtype())) - 0.5;
}

}  // namespace

PopulationEstimate::PopulationEstimate(const Population& how, const Tensor& step, int64_t weights, const Tensor& s,
                                       Device device)
    : how_(how),
      step_(step),
      s_(s),
      weights_(weights),
      device_(device),
      key_{how.seed, stream_of(Purpose::monte_carlo)} {
  require<ValueError>(how.pairs >= 1 && how.pairs < int64_t{1} << 31,
                      "population: {} pairs; needs at least 1 and less than 2^31", how.pairs);
  require(s.rank() == 0 || s.shape() == Shape{weights},
          "population: s is {} for {} weights; needs one number, or one for each", s.shape(), weights);
}

Tensor PopulationEstimate::direction(int64_t pair) const {
  const RandomKey key{key_.seed, key_.stream + static_cast<uint64_t>(pair)};
  const auto draw = how_.directions == Directions::normal ? normal : signs;
  return draw({weights_}, key, step_, s_.dtype(), device_);
}

Tensor PopulationEstimate::directions() const {
  if (how_.directions == Directions::normal) {
    const Tensor streams = arange(how_.pairs, DType::i32, device_);
    return normal_rows({how_.pairs, weights_}, key_, streams, step_, s_.dtype());
  }
  std::vector<Tensor> rows;
  for (int64_t j = 0; j < how_.pairs; ++j) rows.push_back(direction(j));
  return stack(rows);
}

Tensor PopulationEstimate::drawn_sum(const Tensor& coefficients) const {
  return (how_.directions == Directions::normal ? normal_sum : signs_sum)(coefficients, weights_, key_, step_);
}

bool PopulationEstimate::center_counts(const Members& members) const {
  return how_.sides == Sides::one && !how_.ranks && members.center.defined();  // ranks are centred
}

Tensor PopulationEstimate::counted(const Members& members) const {
  Tensor counts = is_finite(members.plus);
  if (members.minus.defined()) counts = counts * is_finite(members.minus);
  if (center_counts(members)) counts = counts * is_finite(members.center);
  return counts;
}

Tensor PopulationEstimate::left_out(const Members& members) const {
  return static_cast<double>(how_.pairs) - sum(counted(members));
}

Members PopulationEstimate::valued(const Members& members) const {
  const Tensor counts = counted(members), none = zeros_like(members.plus);
  const auto kept = [&](const Tensor& values) { return where(greater(counts, none), values, none); };
  Members out{kept(members.plus), members.minus.defined() ? kept(members.minus) : Tensor(), {}};
  if (!how_.ranks) return out;
  const bool pairs = out.minus.defined();
  const Tensor all = pairs ? concat({out.plus, out.minus}) : out.plus;
  const Tensor ranks = centered_ranks(all, pairs ? concat({counts, counts}) : counts);
  out.plus = kept(slice(ranks, 0, 0, how_.pairs));
  if (pairs) out.minus = kept(slice(ranks, 0, how_.pairs, 2 * how_.pairs));
  return out;
}

Tensor PopulationEstimate::gradient(const Members& members) const {
  const Tensor counts = counted(members);
  const Members v = valued(members);
  Tensor difference = v.plus;
  if (how_.sides == Sides::two) difference = (v.plus - v.minus) * 0.5;
  if (center_counts(members)) {
    const Tensor none = zeros_like(v.plus);
    difference = where(greater(counts, none), v.plus - members.center, none);
  }
  return drawn_sum(difference / maximum(sum(counts), Tensor::scalar(1, s_.dtype()))) / s_;
}

Tensor PopulationEstimate::scale_gradient(const Members& members) const {
  require<ValueError>(how_.directions == Directions::normal && how_.pairs >= 2,
                      "population: the gradient in s of {} pairs of {} directions; needs two pairs of normal ones",
                      how_.pairs, how_.directions == Directions::normal ? "normal" : "sign");
  const Tensor counts = counted(members), one = Tensor::scalar(1, s_.dtype());
  const Members v = valued(members);
  const Tensor value = v.minus.defined() ? (v.plus + v.minus) * 0.5 : v.plus;
  const Tensor all = sum(counts), others = (sum(value) - value) / maximum(all - 1.0, one);
  const Tensor coefficients = (value - others) * counts / maximum(all, one);
  Tensor total = zeros(s_.shape(), s_.dtype(), device_);
  for (int64_t j = 0; j < how_.pairs; ++j) {
    const Tensor z = direction(j), c = reshape(slice(coefficients, 0, j, j + 1), {});
    total = total + c * (s_.rank() == 0 ? sum_of_squares(z) - static_cast<double>(weights_) : square(z) - 1.0);
  }
  return total / s_;
}

}  // namespace mollify::smoothing
