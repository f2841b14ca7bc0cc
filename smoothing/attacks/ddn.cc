#include <mollify/smoothing/attacks/ddn.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/attacks/search.h>

#include <cmath>
#include <numbers>

namespace mollify::smoothing {
namespace {

Tensor lengths(const Tensor& rows) { return norm(rows, {1}, /*keep=*/true); }

void check(const Threat& threat, const DdnOptions& how) {
  require<ValueError>(threat.norm == Norm::l2, "attack: ddn is of l2 alone; linf given");
  require<ValueError>(how.steps >= 1 && how.first_norm > 0 && std::isfinite(how.first_norm) && how.gamma > 0 &&
                          how.gamma < 1 && how.levels >= 0,
                      "attack: {} steps, first norm {}, gamma {}, {} levels; need steps ≥ 1, a norm above 0, gamma "
                      "between 0 and 1, levels ≥ 0",
                      how.steps, how.first_norm, how.gamma, how.levels);
  require<ValueError>(how.levels == 0 || (threat.box.lower.defined() && threat.box.upper.defined()),
                      "attack: {} levels without a box; they divide the range of the data", how.levels);
}

// To the nearest level of the box's range, which is one for all rows.
Tensor rounded(const Tensor& x, const Box& box, int64_t levels, Shape shape) {
  shape[0] = 1;
  const auto flat = [&](const Tensor& bound) { return reshape(expand(bound, shape), {1, x.dim(1)}); };
  const Tensor low = flat(box.lower), unit = (flat(box.upper) - low) / static_cast<double>(levels);
  return low + floor((x - low) / unit + 0.5) * unit;
}

// Of unit length; of rows without a gradient a random one.
Tensor direction(const Search& search, const Tensor& gradient, int64_t step) {
  const Tensor along = search.direction(gradient), z = search.normals(AttackDraw::fallback, step);
  return where(equal(lengths(along), zeros({1}, along.dtype(), along.device())), z / lengths(z), along);
}

}  // namespace

Adversarial ddn(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, const DdnOptions& how) {
  check_attack(f, x, labels, threat, /*needs_ball=*/false);
  check(threat, how);
  const NoGrad guard;
  Search search(f, x, labels, threat, Keep::nearest);
  search.start(Objective::cross_entropy, 0);
  if (search.left() == 0) return search.result();

  Tensor offset = zeros_like(search.center());
  // The farthest that a row can go.
  Tensor most = lengths(maximum(search.center() - search.low(), search.high() - search.center()));
  Tensor norms = minimum(full({search.left(), 1}, how.first_norm, x.dtype(), x.device()), most);
  search.follow({&offset, &most, &norms});
  for (int64_t step = 0; step <= how.steps && search.left() > 0; ++step) {
    const Tensor at = search.center() + offset;
    if (step == how.steps) {
      search.record(at, search.scores(at));
      break;
    }
    const Search::Evaluation found = search.evaluate(at, Objective::cross_entropy);
    const Tensor missed = reshape(less(search.margins(found.scores), zeros({}, found.scores.dtype())), norms.shape());
    const double progress = static_cast<double>(step) / static_cast<double>(how.steps);
    const double alpha = 0.01 + 0.99 * (1 + std::cos(std::numbers::pi * progress)) / 2;
    offset = offset + direction(search, found.gradient, step) * alpha;
    const auto factor = [&](double value) { return Tensor::scalar(value, x.dtype()); };
    norms = minimum(norms * where(missed, factor(1 + how.gamma), factor(1 - how.gamma)), most);
    offset = offset * (norms / maximum(lengths(offset), factor(1e-30)));
    Tensor next = search.project(search.center() + offset);
    if (how.levels > 0) next = search.project(rounded(next, threat.box, how.levels, x.shape()));
    offset = next - search.center();
    search.record(at, found.scores);
  }
  return search.result();
}

}  // namespace mollify::smoothing
