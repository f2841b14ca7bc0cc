#include <mollify/smoothing/attacks/fab.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/attacks/search.h>
#include <mollify/smoothing/rows.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr double kMostToX = 0.1;     // alpha_max: of the weight of x's own projection
constexpr double kOvershoot = 1.05;  // eta
constexpr double kBackward = 0.9;    // beta
constexpr int kNewtonSteps = 100;    // mostly fewer than ten are taken

// A linearised boundary per row: gap + gradient·(z − x) = 0, gap < 0 where the goal is not reached.
struct Plane {
  Tensor gap, gradient;
};  // f64: [n, 1], [n, d]

// The step from x to the nearest point of low ≤ z ≤ high on the plane, all f64; where the box has none, as far as it
// goes. Number j moves at a rate r_j (1 in linf, |g_j| in l2) until it meets its bound, at time t_j = room_j/r_j: the
// gap closes by h(t) = Σ |g_j|·r_j·min(t, t_j), which is concave, so that Newton's steps rise to the time where it is
// closed and pass a bound each.
Tensor step_to(const Plane& plane, const Tensor& x, const Tensor& low, const Tensor& high, Norm norm) {
  const Tensor zero = zeros({}, DType::f64, x.device()), way = -sign(plane.gap) * sign(plane.gradient);
  const Tensor slope = abs(plane.gradient), rate = norm == Norm::linf ? sign(slope) : slope;
  const Tensor room = where(greater(way, zero), high - x, x - low), wanted = abs(plane.gap);
  const auto moved = [&](const Tensor& time) { return minimum(rate * time, room); };
  Tensor time = zeros_like(wanted);
  for (int i = 0; i < kNewtonSteps; ++i) {
    const Tensor left = wanted - sum(slope * moved(time), {1}, /*keep=*/true);
    const Tensor speed = sum(where(less(rate * time, room), slope * rate, zero), {1}, /*keep=*/true);
    const Tensor goes_on = logical_and(greater(left, wanted * 1e-12), greater(speed, zero));
    if (any(goes_on).item() == 0) break;
    time = where(goes_on, time + left / speed, time);
  }
  return way * moved(time);
}

Tensor sizes(const Tensor& steps, Norm norm_) {
  return norm_ == Norm::linf ? max(abs(steps), {1}, /*keep=*/true) : norm(steps, {1}, /*keep=*/true);
}

class Fab {
 public:
  Fab(Search& search, const FabOptions& how, int64_t classes)
      : search_(search),
        how_(how),
        classes_(classes),
        by_targets_(how.targets > 0 && by_class(search.threat())),
        single_(by_targets_ || !by_class(search.threat())) {}

  static bool by_class(const Threat& threat) { return !threat.goal.targeted && threat.goal.top == 1; }

  void run(int64_t number, int64_t rank) {
    Tensor x = number == 0 ? search_.center() : start(number);
    search_.follow({&x});
    for (int64_t step = 0; step < how_.steps && search_.left() > 0; ++step) {
      const Plane plane = nearest_plane(x, rank);
      const auto wide = [](const Tensor& t) { return cast(t, DType::f64); };
      const Tensor at = wide(x), center = wide(search_.center());
      const Tensor low = wide(search_.low()), high = wide(search_.high());
      const Norm norm = search_.threat().norm;
      const Tensor of_x = step_to(plane, at, low, high, norm);
      const Tensor shifted = plane.gap + sum(plane.gradient * (center - at), {1}, /*keep=*/true);
      const Tensor of_center = step_to({shifted, plane.gradient}, center, low, high, norm);
      const Tensor a = sizes(of_x, norm), b = sizes(of_center, norm);
      const Tensor share =
          minimum(a / maximum(a + b, Tensor::scalar(1e-300, DType::f64)), Tensor::scalar(kMostToX, DType::f64));
      const Tensor next = (at + of_x * kOvershoot) * (1 - share) + (center + of_center * kOvershoot) * share;
      x = search_.project(cast(next, x.dtype()));
      const Tensor tried = x, scores = search_.scores(tried), margins = search_.margins(scores);
      const Tensor missed = column(less(margins, zeros_like(margins)));
      x = where(missed, x, search_.center() + (x - search_.center()) * kBackward);
      search_.record(tried, scores);
    }
  }

 private:
  // Within half of epsilon, or of the distance that was found.
  Tensor start(int64_t number) {
    const Tensor z = search_.normals(AttackDraw::restart, number);
    const Tensor found = minimum(search_.distances(), Tensor::scalar(search_.threat().epsilon, DType::f64));
    const Tensor reach = where(less(found, full({}, INFINITY, DType::f64)), found, ones_like(found));
    return search_.project(
        search_.center() +
        z * cast(column(reach) * 0.5 / cast(sizes(z, search_.threat().norm), DType::f64), z.dtype()));
  }

  // The linearised boundary that is nearest in the norm without the box, by the dual norm of its gradient.
  Plane nearest_plane(const Tensor& x, int64_t rank) {
    if (single_) {
      const auto at = search_.evaluate(x, by_targets_ ? Objective::targeted_margins : Objective::margin, rank);
      return plane_of(at);
    }
    Plane nearest;
    Tensor distance;
    for (int64_t target = 0; target < classes_; ++target) {
      const Plane one = plane_of(search_.evaluate(x, Objective::targeted_margins, target));
      const Tensor dual = search_.threat().norm == Norm::linf ? sum(abs(one.gradient), {1}, /*keep=*/true)
                                                              : norm(one.gradient, {1}, /*keep=*/true);
      const Tensor away = abs(one.gap) / (dual + 1e-12);
      const Tensor nearer = distance.defined() ? less(away, distance) : ones_like(less(away, away));
      nearest = {target == 0 ? one.gap : where(nearer, one.gap, nearest.gap),
                 target == 0 ? one.gradient : where(nearer, one.gradient, nearest.gradient)};
      distance = target == 0 ? away : minimum(away, distance);
    }
    return nearest;
  }

  static Plane plane_of(const Search::Evaluation& at) {
    return {column(cast(at.loss, DType::f64)), cast(at.gradient, DType::f64)};
  }

  Search& search_;
  const FabOptions& how_;
  const int64_t classes_;           // wrong ones
  const bool by_targets_, single_;  // one wrong class a run; one gradient a step
};

}  // namespace

Adversarial fab(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, const FabOptions& how) {
  check_attack(f, x, labels, threat, /*needs_ball=*/false);
  require<ValueError>(how.steps >= 1 && how.restarts >= 1 && how.targets >= 0,
                      "attack: steps {}, restarts {}, targets {}; need steps ≥ 1, restarts ≥ 1, targets ≥ 0", how.steps,
                      how.restarts, how.targets);
  const NoGrad guard;
  Search search(f, x, labels, threat, Keep::nearest);
  const bool by_class = Fab::by_class(threat);
  const int64_t wrong = search.start(by_class ? Objective::targeted_margins : Objective::margin, how.targets);
  Fab fab(search, how, wrong);
  const int64_t targets = how.targets > 0 && by_class ? wrong : 1;
  for (int64_t number = 0; number < how.restarts * targets && search.left() > 0; ++number)
    fab.run(number / targets, number % targets);
  return search.result();
}

}  // namespace mollify::smoothing
