#include <mollify/smoothing/attacks/search.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/rows.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mollify::smoothing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kConfirmations = 40;
constexpr int64_t kVerdictDraws = int64_t{1} << 30;  // from here on draws decide what counts; searches use those below

Tensor lengths(const Tensor& rows) { return sqrt(sum(square(rows), {1}, /*keep=*/true)); }  // of [n, d]: [n, 1]

RandomKey key_of(const Threat& threat, AttackDraw kind) {
  return {threat.seed, stream_of(Purpose::attack, static_cast<uint64_t>(kind) << 32)};
}

// Every row of [n] or [n, d] `count` times, one after the other.
Tensor repeated(const Tensor& rows, int64_t count) {
  const int64_t n = rows.dim(0), d = rows.rank() == 1 ? 1 : rows.dim(1);
  const Tensor all = expand(reshape(rows, {n, 1, d}), {n, count, d});
  return reshape(all, rows.rank() == 1 ? Shape{n * count} : Shape{n * count, d});
}

// Outputs with −∞ for the labels' own.
Tensor wrong_outputs(const Tensor& outputs, const Tensor& labels) {
  const Tensor own = equal(arange(outputs.dim(1), DType::i32, outputs.device()), column(labels));
  return where(own, Tensor::scalar(-kInfinity, outputs.dtype()), outputs);
}

Tensor margins_of(const Tensor& outputs, const Tensor& labels, const Goal& goal) {
  const Tensor own = flatten(gather(outputs, column(labels))), wrong = wrong_outputs(outputs, labels);
  if (goal.targeted) return own - max(wrong, {1});
  if (goal.top == 1) return max(wrong, {1}) - own;
  return flatten(slice(top_k(wrong, goal.top).values, 1, goal.top - 1, goal.top)) - own;
}

// The largest c ≤ x + epsilon of type T, in exact arithmetic (or the one below it). The sum's error is Knuth's two-sum.
template <class T>
T reach(T x, double epsilon) {
  if (std::isinf(epsilon)) return static_cast<T>(epsilon);
  const double a = x, sum = a + epsilon, b = sum - a, error = (a - (sum - b)) + (epsilon - b);
  const T c = static_cast<T>(sum);
  return c < sum || (c == sum && error >= 0) ? c : std::nextafter(c, x);
}

struct Bounds {
  Tensor low, high;
};

// The points within epsilon of each number of x and within the box.
template <class T>
Bounds bounds_around(const Tensor& x, const Box& box, double epsilon) {
  const auto side = [&](const Tensor& bound, double infinite) {
    if (bound.defined()) return expand(bound, x.shape()).to_vector<T>();
    return std::vector<T>(static_cast<size_t>(x.size()), static_cast<T>(infinite));
  };
  const std::vector<T> center = x.to_vector<T>();
  std::vector<T> low = side(box.lower, -kInfinity), high = side(box.upper, kInfinity);
  for (size_t i = 0; i < center.size(); ++i) {
    const double lower = low[i], upper = high[i], number = center[i];
    require<ValueError>(lower <= upper, "attack: a box from {} to {}; needs lower ≤ upper", lower, upper);
    require<ValueError>((lower <= number && number <= upper) || (!box.lower.defined() && !box.upper.defined()),
                        "attack: x has {} where the box goes from {} to {}; needs x within the box", number, lower,
                        upper);
    low[i] = std::max(low[i], -reach(-center[i], epsilon));
    high[i] = std::min(high[i], reach(center[i], epsilon));
  }
  return {to(Tensor::from(low, x.shape()), x.device()), to(Tensor::from(high, x.shape()), x.device())};
}

// Radii [n, 1], f64, to which the l2 projection scales rows [n, d]. With u the dtype's unit roundoff and v that of f64,
// in which it computes, the length's error is below (d + 8)·v·epsilon, and rounding x' moves it by at most u·(‖x‖ +
// epsilon); here is twice their sum less.
Tensor radii(const Tensor& x, double epsilon) {
  const double unit = x.dtype() == DType::f32 ? 0x1p-24 : 0x1p-53, d = static_cast<double>(x.dim(1));
  const Tensor slack = (lengths(cast(x, DType::f64)) + epsilon) * (2 * unit) + 2 * (d + 8) * 0x1p-53 * epsilon;
  return maximum(epsilon - slack, Tensor::scalar(0, DType::f64));
}

Tensor distances_of(const Tensor& x, const Tensor& center, Norm norm) {
  const Tensor offset = cast(x, DType::f64) - cast(center, DType::f64);
  return norm == Norm::linf ? max(abs(offset), {1}) : flatten(lengths(offset));
}

}  // namespace

bool is_targeted(Objective objective) {
  return objective == Objective::targeted_margins || objective == Objective::targeted_dlr;
}

void check_attack(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, bool needs_ball) {
  require<ValueError>(static_cast<bool>(f), "attack: an empty function given; needs a function of the inputs");
  require(x.rank() >= 2 && x.size() > 0, "attack: x is {}; needs [N, …] with numbers", x.shape());
  require<TypeError>(is_floating(x.dtype()), "attack: x is {}; needs f32 or f64", x.dtype());
  for (const Tensor& bound : {threat.box.lower, threat.box.upper})
    if (bound.defined()) {
      require<TypeError>(bound.dtype() == x.dtype(), "attack: a box of {} given with x of {}; needs one dtype",
                         bound.dtype(), x.dtype());
      require(broadcast("attack: box", bound.shape(), x.shape()) == x.shape(),
              "attack: a box of {} given with x of {}; needs bounds that broadcast to x", bound.shape(), x.shape());
    }
  for (const Tensor& list : {labels, threat.rows.defined() ? threat.rows : labels}) {
    require<TypeError>(list.dtype() == DType::i32, "attack: labels or rows are {}; need i32", list.dtype());
    require(list.shape() == Shape{x.dim(0)}, "attack: labels or rows are {} with x of {}; need one per row",
            list.shape(), x.shape());
  }
  require<ValueError>(threat.epsilon >= 0 && (!needs_ball || std::isfinite(threat.epsilon)),
                      "attack: epsilon {}; needs a finite number ≥ 0", threat.epsilon);
  require<ValueError>(threat.goal.top >= 1 && (threat.goal.top == 1 || !threat.goal.targeted),
                      "attack: top {}; needs at least 1, and 1 for a targeted goal", threat.goal.top);
  if (threat.draws)
    require<ValueError>(threat.draws->count >= 1 && threat.draws->count <= 1 << 16,
                        "attack: {} draws of noise; needs 1 to 65536", threat.draws->count);
}

Search::Search(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, Keep keep)
    : f_(f), threat_(threat), keep_(keep), shape_(x.shape()), all_labels_(labels.detach()), labels_(all_labels_) {
  const int64_t rows = x.dim(0);
  numbers_ = arange(rows, DType::i32, x.device());
  streams_ = all_streams_ = threat.rows.defined() ? threat.rows : numbers_;
  const Bounds bounds = x.dtype() == DType::f32 ? bounds_around<float>(x, threat.box, threat.epsilon)
                                                : bounds_around<double>(x, threat.box, threat.epsilon);
  const auto flat = [&](const Tensor& t) { return reshape(t, {rows, x.size() / rows}); };
  center_ = all_centers_ = best_ = flat(x.detach());
  low_ = flat(bounds.low);
  high_ = flat(bounds.high);
  if (threat.norm == Norm::l2 && std::isfinite(threat.epsilon)) radius_ = radii(center_, threat.epsilon);
}

Tensor Search::outputs_at(const Tensor& rows) {
  Shape shape = shape_;
  shape[0] = rows.dim(0);
  const Tensor outputs = f_(reshape(rows, shape));
  require(outputs.rank() == 2 && outputs.dim(0) == shape[0] && outputs.dim(1) >= 2,
          "attack: f gives {} for {}; needs [N, classes], two classes or more", outputs.shape(), shape);
  require<TypeError>(is_floating(outputs.dtype()), "attack: f gives {}; needs f32 or f64", outputs.dtype());
  if (classes_ == 0) {
    classes_ = outputs.dim(1);
    for (const int32_t label : all_labels_.to_vector<int32_t>())
      require<ValueError>(label >= 0 && label < classes_, "attack: label {} with {} classes; needs 0 ≤ label < classes",
                          label, classes_);
    require<ValueError>(threat_.goal.top < classes_, "attack: top {} of {} classes; needs fewer than all",
                        threat_.goal.top, classes_);
  }
  require(outputs.dim(1) == classes_, "attack: f gives {} after {} classes; needs one number of classes",
          outputs.shape(), classes_);
  return outputs;
}

// Rows, whose numbers among the data are given, under the draws from number `first` on; themselves without noise.
Tensor Search::noisy(const Tensor& x, const Tensor& streams, int64_t first) const {
  if (!threat_.draws) return x;
  const int64_t rows = x.dim(0), count = threat_.draws->count;
  const Tensor draws = arange(count, DType::i32, x.device()) + Tensor::scalar(static_cast<double>(first), DType::i32);
  return repeated(x, count) + gaussian_noise({rows * count, x.dim(1)}, threat_.draws->noise, NoiseUse::attack,
                                             repeated(streams, count),
                                             flatten(expand(reshape(draws, {1, count}), {rows, count})), x.dtype());
}

int64_t Search::next_draws() {
  if (!threat_.draws) return 0;
  return (threat_.draws->first + (threat_.draws->fresh ? evaluations_++ * threat_.draws->count : 0)) % kVerdictDraws;
}

Tensor Search::scores_of(const Tensor& outputs) const {
  if (!threat_.draws) return outputs;
  const int64_t count = threat_.draws->count;
  const Tensor each = reshape(log_softmax(outputs), {outputs.dim(0) / count, count, outputs.dim(1)});
  return logsumexp(each, 1) - std::log(static_cast<double>(count));
}

Tensor Search::scores(const Tensor& x) { return scores_of(outputs_at(noisy(x, streams_, next_draws()))); }

Tensor Search::margins(const Tensor& scores) const { return margins_of(scores, labels_, threat_.goal); }

// What is climbed, per row of outputs.
Tensor Search::objective(Objective objective, const Tensor& outputs, const Tensor& labels, const Tensor& target) const {
  const bool targeted = is_targeted(objective);
  if (objective == Objective::cross_entropy) {
    const Tensor loss = cross_entropy(outputs, labels);
    return threat_.goal.targeted ? -loss : loss;
  }
  const Tensor gap = targeted ? flatten(gather(outputs, target)) - flatten(gather(outputs, column(labels)))
                              : margins_of(outputs, labels, threat_.goal);
  if (objective == Objective::margin || objective == Objective::targeted_margins) return gap;
  const Tensor largest = top_k(outputs, targeted ? 4 : 3).values;
  const auto at = [&](int64_t i) { return flatten(slice(largest, 1, i, i + 1)); };
  return gap / ((targeted ? at(0) - (at(2) + at(3)) / 2 : at(0) - at(2)) + 1e-12);
}

Tensor Search::loss(Objective objective, const Tensor& outputs, int64_t rank) const {
  const Tensor target = targets_.defined() ? slice(targets_, 1, rank, rank + 1) : Tensor();
  if (!threat_.draws || threat_.draws->average == Average::log_of_mean)
    return this->objective(objective, scores_of(outputs), labels_, target);
  const int64_t count = threat_.draws->count;
  const Tensor each = this->objective(objective, outputs, repeated(labels_, count),
                                      target.defined() ? repeated(target, count) : Tensor());
  return mean(reshape(each, {outputs.dim(0) / count, count}), {1});
}

Search::Evaluation Search::evaluate(const Tensor& x, Objective objective, int64_t rank) {
  Evaluation found;
  const int64_t draws = next_draws();
  found.gradient = grad([&](const Tensor& t) {
    const Tensor outputs = outputs_at(noisy(t, streams_, draws)), losses = loss(objective, outputs, rank);
    found.scores = scores_of(outputs.detach());
    found.loss = losses.detach();
    return sum(losses);
  })(x);
  return found;
}

int64_t Search::start(Objective objective, int64_t targets) {
  const bool targeted = is_targeted(objective);
  const Tensor at_x = scores(center_);
  const int64_t needed = objective == Objective::targeted_dlr ? 4 : objective == Objective::dlr ? 3 : 2;
  require<ValueError>(classes_ >= needed, "attack: {} classes; this objective needs at least {}", classes_, needed);
  require<ValueError>(!targeted || !threat_.goal.targeted,
                      "attack: an objective of every wrong class with a targeted goal, which has one class");
  if (targeted) {
    const int64_t wrong = classes_ - 1;
    targets_ = top_k(wrong_outputs(at_x, labels_), targets > 0 ? std::min(targets, wrong) : wrong, 1).indices;
  }
  record(center_, at_x);
  return targeted ? targets_.dim(1) : 1;
}

void Search::record(const Tensor& x, const Tensor& scores) {
  const Tensor margins = this->margins(scores), robust = less(margins, zeros_like(margins));
  const bool first = !margins_.defined();
  if (keep_ == Keep::nearest) {
    const Tensor infinity = Tensor::scalar(kInfinity, DType::f64);
    const Tensor distances = where(robust, infinity, distances_of(x, center_, threat_.norm));
    const Tensor nearer = first ? logical_not(robust) : less(distances, distances_);
    best_ = where(column(nearer), x, best_);
    distances_ = first ? distances : minimum(distances, distances_);
    margins_ = first ? margins : where(nearer, margins, margins_);
    if (!threat_.draws) release(greater(distances_, zeros_like(distances_)));
    return;
  }
  const Tensor infinity = Tensor::scalar(kInfinity, margins.dtype());
  const auto badness = [&](const Tensor& m) { return where(equal(m, m), m, infinity); };
  if (first) {
    best_ = x;
    margins_ = margins;
  } else {
    const Tensor worse = greater(badness(margins), badness(margins_));
    best_ = where(column(worse), x, best_);
    margins_ = where(worse, margins, margins_);
  }
  if (keep_ == Keep::worst_until_success) release(less(margins_, zeros_like(margins_)));
}

// Lets rows go that need no more work.
void Search::release(const Tensor& stays) {
  const std::vector<uint8_t> staying = stays.to_vector<uint8_t>();
  std::vector<int32_t> stay, go;
  for (size_t i = 0; i < staying.size(); ++i) (staying[i] ? stay : go).push_back(static_cast<int32_t>(i));
  if (go.empty()) return;
  const Device device = center_.device();
  const Tensor gone = index_list(go, device), kept = index_list(stay, device);
  released_numbers_.push_back(take(numbers_, gone));
  released_.push_back(take(best_, gone));
  std::vector<Tensor*> parts = {&numbers_, &streams_, &labels_, &center_,  &low_,      &high_,
                                &radius_,  &targets_, &best_,   &margins_, &distances_};
  parts.insert(parts.end(), followers_.begin(), followers_.end());
  for (Tensor* part : parts)
    if (part->defined()) *part = take(*part, kept);
}

Tensor Search::project(const Tensor& x) const {
  if (!radius_.defined()) return clip(x, low_, high_);
  const Tensor center = cast(center_, DType::f64), offset = cast(x, DType::f64) - center, length = lengths(offset);
  const Tensor scale = where(greater(length, radius_), radius_ / length, ones_like(length));
  return clip(cast(center + offset * scale, x.dtype()), low_, high_);
}

Tensor Search::direction(const Tensor& gradient) const {
  Tensor ascent = sign(gradient);
  if (threat_.norm == Norm::l2) {
    const Tensor scaled = gradient / max(abs(gradient), {1}, /*keep=*/true);  // no square underflows then
    ascent = scaled / lengths(scaled);
  }
  return where(equal(ascent, ascent), ascent, zeros_like(ascent));
}

Tensor Search::normals(AttackDraw kind, int64_t number) const {
  return normal_rows(center_.shape(), key_of(threat_, kind), streams_,
                     Tensor::scalar(static_cast<double>(number), DType::i32), center_.dtype());
}

Tensor Search::random_point(int64_t run) const {
  const Tensor draw = Tensor::scalar(static_cast<double>(run), DType::i32);
  const DType dtype = center_.dtype();
  if (threat_.norm == Norm::linf) {
    const Tensor u = uniform_rows(center_.shape(), key_of(threat_, AttackDraw::direction), streams_, draw, dtype);
    return project(low_ + u * (high_ - low_));
  }
  const Tensor z = normals(AttackDraw::direction, run);
  const Tensor u = uniform_rows({center_.dim(0), 1}, key_of(threat_, AttackDraw::distance), streams_, draw, DType::f64);
  const Tensor length =
      cast(pow(u, 1.0 / static_cast<double>(center_.dim(1))) * threat_.epsilon, dtype);  // uniform in the ball's volume
  return project(center_ + z * (length / lengths(z)));
}

// In the batch's order.
Tensor Search::best_of_all() const {
  if (released_.empty()) return best_;
  std::vector<Tensor> numbers = released_numbers_, rows = released_;
  numbers.push_back(numbers_);
  rows.push_back(best_);
  const std::vector<int32_t> order = concat(numbers).to_vector<int32_t>();
  std::vector<int32_t> place(order.size());
  for (size_t i = 0; i < order.size(); ++i) place[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
  return take(concat(rows), index_list(place, all_centers_.device()));
}

// By the draws of the `number`-th verdict, of rows of the whole batch.
Tensor Search::verdict(const Tensor& rows, int64_t number) {
  const int64_t first = kVerdictDraws + (threat_.draws ? number * threat_.draws->count : 0);
  return margins_of(scores_of(outputs_at(noisy(rows, all_streams_, first))), all_labels_, threat_.goal);
}

// Near a boundary every second set of new draws says that the goal is missed, and of many evaluations the luckiest is
// nearest. Rows move away from x, by a twentieth at a time, until three sets of new draws in a row confirm them.
void Search::confirm() {
  const Tensor offsets = best_ - center_, zero = zeros({left(), 1}, DType::f64, best_.device());
  Tensor in_a_row = zero;
  for (int64_t number = 1; number <= kConfirmations; ++number) {
    const Tensor margins = verdict(best_, number), sure = greater_equal(in_a_row, Tensor::scalar(3, DType::f64));
    const Tensor missed = column(less(margins, zeros_like(margins)));
    in_a_row = where(sure, in_a_row, where(missed, zero, in_a_row + 1));
    const Tensor farther = project(center_ + offsets * std::pow(1.05, number));
    best_ = where(logical_and(missed, logical_not(sure)), farther, best_);
  }
}

// Where rows left early, f may have computed their outputs among others: the margins are taken again, and always with
// new draws.
Adversarial Search::result() {
  if (keep_ == Keep::nearest && threat_.draws) confirm();
  const Tensor inputs = best_of_all();
  const Tensor margins = released_.empty() && !threat_.draws ? margins_ : verdict(inputs, 0);
  const Tensor robust = less(margins, zeros_like(margins)), success = equal(robust, zeros_like(robust));
  const Tensor none = Tensor::scalar(std::numeric_limits<double>::quiet_NaN(), DType::f64);
  return {reshape(inputs, shape_), success, margins,
          where(success, distances_of(inputs, all_centers_, threat_.norm), none)};
}

Adversarial judged(const Function& f, const Tensor& x, const Tensor& labels, const Tensor& points,
                   const Threat& threat) {
  check_attack(f, x, labels, threat, /*needs_ball=*/true);
  require(points.shape() == x.shape(), "attack: points are {} with x of {}; needs one shape", points.shape(),
          x.shape());
  require<TypeError>(points.dtype() == x.dtype(), "attack: points are {} with x of {}; needs one dtype", points.dtype(),
                     x.dtype());
  const NoGrad guard;
  Search search(f, x, labels, threat, Keep::worst);
  search.start(Objective::margin, 0);
  const Tensor flat = reshape(points.detach(), search.center().shape());
  const Tensor there = search.project(where(equal(flat - flat, zeros_like(flat)), flat, search.center()));
  search.record(there, search.scores(there));
  return search.result();
}

}  // namespace mollify::smoothing
