#include <mollify/smoothing/attacks/pgd.h>

#include <mollify/engine/grad.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mollify::smoothing {
namespace {

constexpr uint64_t kStream = stream_of(Purpose::attack);  // below it the purpose, then the row

Tensor column(const Tensor& list) { return reshape(list, {list.size(), 1}); }

Tensor lengths(const Tensor& rows) { return sqrt(sum(square(rows), {1}, /*keep=*/true)); }  // of [n, d]: [n, 1]

// Outputs with −∞ for the labels' own.
Tensor wrong_outputs(const Tensor& outputs, const Tensor& labels) {
  const Tensor own = equal(arange(outputs.dim(1), DType::i32, outputs.device()), column(labels));
  return where(own, Tensor::scalar(-std::numeric_limits<double>::infinity(), outputs.dtype()), outputs);
}

// max_{t ≠ y} o_t − o_y
Tensor margins_of(const Tensor& outputs, const Tensor& labels) {
  return max(wrong_outputs(outputs, labels), {1}) - flatten(gather(outputs, column(labels)));
}

// The largest c ≤ x + epsilon of type T, in exact arithmetic (or the one below it). The sum's error is Knuth's two-sum.
template <class T>
T reach(T x, double epsilon) {
  const double a = x, sum = a + epsilon, b = sum - a, error = (a - (sum - b)) + (epsilon - b);
  const T c = static_cast<T>(sum);
  return c < sum || (c == sum && error >= 0) ? c : std::nextafter(c, x);
}

struct Bounds { Tensor low, high; };

// The points within epsilon of each number of x and within the box.
template <class T>
Bounds bounds_around(const Tensor& x, const Box& box, double epsilon) {
  const auto side = [&](const Tensor& bound, double infinite) {
    if (bound.defined()) return expand(bound, x.shape()).to_vector<T>();
    return std::vector<T>(static_cast<size_t>(x.size()), static_cast<T>(infinite));
  };
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<T> center = x.to_vector<T>();
  std::vector<T> low = side(box.lower, -infinity), high = side(box.upper, infinity);
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

void check(const Function& f, const Tensor& x, const Tensor& labels, const PgdOptions& how, const Box& box) {
  require<ValueError>(static_cast<bool>(f), "attack: an empty function given; needs a function of the inputs");
  require(x.rank() >= 2 && x.size() > 0, "attack: x is {}; needs [N, …] with numbers", x.shape());
  require<TypeError>(is_floating(x.dtype()), "attack: x is {}; needs f32 or f64", x.dtype());
  for (const Tensor& bound : {box.lower, box.upper})
    if (bound.defined()) {
      require<TypeError>(bound.dtype() == x.dtype(), "attack: a box of {} given with x of {}; needs one dtype",
                         bound.dtype(), x.dtype());
      require(broadcast("attack: box", bound.shape(), x.shape()) == x.shape(),
              "attack: a box of {} given with x of {}; needs bounds that broadcast to x", bound.shape(), x.shape());
    }
  for (const Tensor& list : {labels, how.rows.defined() ? how.rows : labels}) {
    require<TypeError>(list.dtype() == DType::i32, "attack: labels or rows are {}; need i32", list.dtype());
    require(list.shape() == Shape{x.dim(0)}, "attack: labels or rows are {} with x of {}; need one per row",
            list.shape(), x.shape());
  }
  require<ValueError>(how.epsilon >= 0 && std::isfinite(how.epsilon), "attack: epsilon {}; needs a finite number ≥ 0",
                      how.epsilon);
  require<ValueError>(how.step_size >= 0 && std::isfinite(how.step_size),
                      "attack: step_size {}; needs a finite number ≥ 0", how.step_size);
  require<ValueError>(how.steps >= 0 && how.restarts >= 1 && how.targets >= 0,
                      "attack: steps {}, restarts {}, targets {}; need steps ≥ 0, "
                      "restarts ≥ 1, targets ≥ 0",
                      how.steps, how.restarts, how.targets);
}

// The rows still under attack, as [n, d], and what is known of those that left.
class Search {
 public:
  Search(const Function& f, const Tensor& x, const Tensor& labels, const PgdOptions& how, const Box& box);
  Adversarial run();
  Adversarial judge(const Tensor& points);

 private:
  bool targeted() const { return how_.objective == Objective::targeted_margins; }
  int64_t left() const { return numbers_.size(); }
  Tensor outputs_at(const Tensor& x);
  Tensor objective(const Tensor& outputs, int64_t rank) const;
  void one_run(int64_t number, int64_t rank);
  Tensor start(int64_t number) const;
  Tensor project(const Tensor& x) const;
  Tensor direction(const Tensor& gradient) const;
  double step_size(int64_t step) const;
  Tensor gradient(int64_t rank);
  void record(const Tensor& outputs, Tensor* gradient = nullptr);
  void release(const std::vector<int32_t>& rows);
  Adversarial result();
  Tensor index_list(const std::vector<int32_t>& places) const {
    return to(Tensor::from(places, {static_cast<int64_t>(places.size())}), center_.device());
  }

  const Function& f_;
  const PgdOptions& how_;
  Shape shape_;  // of the whole batch
  Tensor all_labels_;
  Tensor numbers_, streams_, labels_;    // [n]: in the batch, among the data
  Tensor center_, low_, high_, radius_;  // radius_ of l2 only
  Tensor targets_;                       // [n, targets] of targeted_margins, the easiest first
  Tensor x_, worst_, margins_;           // the current points; the worst so far and their margins [n]
  std::vector<Tensor> released_numbers_, released_;  // of rows that succeeded
  int64_t classes_ = 0;
};

Search::Search(const Function& f, const Tensor& x, const Tensor& labels, const PgdOptions& how, const Box& box)
    : f_(f), how_(how), shape_(x.shape()), all_labels_(labels.detach()), labels_(all_labels_) {
  const int64_t rows = x.dim(0);
  numbers_ = arange(rows, DType::i32, x.device());
  streams_ = how.rows.defined() ? how.rows : numbers_;
  const Bounds bounds =
      x.dtype() == DType::f32 ? bounds_around<float>(x, box, how.epsilon) : bounds_around<double>(x, box, how.epsilon);
  const auto flat = [&](const Tensor& t) { return reshape(t, {rows, x.size() / rows}); };
  center_ = worst_ = x_ = flat(x.detach());
  low_ = flat(bounds.low);
  high_ = flat(bounds.high);
  if (how.norm == Norm::l2) radius_ = radii(center_, how.epsilon);
}

Tensor Search::outputs_at(const Tensor& x) {
  Shape shape = shape_;
  shape[0] = x.dim(0);
  const Tensor outputs = f_(reshape(x, shape));
  require(outputs.rank() == 2 && outputs.dim(0) == shape[0] && outputs.dim(1) >= 2,
          "attack: f gives {} for {}; needs [N, classes], two classes or more", outputs.shape(), shape);
  require<TypeError>(is_floating(outputs.dtype()), "attack: f gives {}; needs f32 or f64", outputs.dtype());
  if (classes_ == 0) {
    classes_ = outputs.dim(1);
    for (const int32_t label : all_labels_.to_vector<int32_t>())
      require<ValueError>(label >= 0 && label < classes_, "attack: label {} with {} classes; needs 0 ≤ label < classes",
                          label, classes_);
  }
  require(outputs.dim(1) == classes_, "attack: f gives {} after {} classes; needs one number of classes",
          outputs.shape(), classes_);
  return outputs;
}

Tensor Search::objective(const Tensor& outputs, int64_t rank) const {
  if (how_.objective == Objective::cross_entropy) return cross_entropy(outputs, labels_);
  if (how_.objective == Objective::margin) return margins_of(outputs, labels_);
  return gather(outputs, slice(targets_, 1, rank, rank + 1)) - gather(outputs, column(labels_));
}

// Steps from and to points in the set. The last point of a run costs no gradient.
void Search::one_run(int64_t number, int64_t rank) {
  x_ = start(number);
  for (int64_t step = 0; step < how_.steps; ++step) {
    const Tensor ascent = gradient(rank);
    if (left() == 0) return;
    x_ = project(x_ + direction(ascent) * step_size(step));
  }
  record(outputs_at(x_));
}

Tensor Search::start(int64_t number) const {
  if (number == 0 && !how_.random_start) return center_;
  const Tensor draw = Tensor::scalar(static_cast<double>(number), DType::i32);
  const RandomKey direction{how_.seed, kStream}, distance{how_.seed, kStream | uint64_t{1} << 32};
  const DType dtype = center_.dtype();
  if (how_.norm == Norm::linf)
    return project(low_ + uniform_rows(center_.shape(), direction, streams_, draw, dtype) * (high_ - low_));
  const Tensor z = normal_rows(center_.shape(), direction, streams_, draw, dtype);
  const Tensor u = uniform_rows({center_.dim(0), 1}, distance, streams_, draw, DType::f64);
  const Tensor length =
      cast(pow(u, 1.0 / static_cast<double>(center_.dim(1))) * how_.epsilon, dtype);  // uniform in the ball's volume
  return project(center_ + z * (length / lengths(z)));
}

Tensor Search::project(const Tensor& x) const {
  if (how_.norm == Norm::linf) return clip(x, low_, high_);
  const Tensor center = cast(center_, DType::f64), offset = cast(x, DType::f64) - center, length = lengths(offset);
  const Tensor scale = where(greater(length, radius_), radius_ / length, ones_like(length));
  return clip(cast(center + offset * scale, x.dtype()), low_, high_);
}

// The step of size 1. Zero where the gradient is zero or NaN: such rows wait for another start.
Tensor Search::direction(const Tensor& gradient) const {
  Tensor ascent = sign(gradient);
  if (how_.norm == Norm::l2) {
    const Tensor scaled = gradient / max(abs(gradient), {1}, /*keep=*/true);  // no square underflows then
    ascent = scaled / lengths(scaled);
  }
  return where(equal(ascent, ascent), ascent, zeros_like(ascent));
}

double Search::step_size(int64_t step) const {
  if (how_.step_size > 0) return how_.step_size;
  return how_.epsilon * (1 - static_cast<double>(step) / static_cast<double>(how_.steps));
}

// The objective's gradient at x_, of the rows that are left after its outputs are recorded.
Tensor Search::gradient(int64_t rank) {
  Tensor outputs;
  Tensor gradient = grad([&](const Tensor& x) {
    const Tensor live = outputs_at(x);
    outputs = live.detach();
    return sum(objective(live, rank));
  })(x_);
  record(outputs, &gradient);
  return gradient;
}

// Keeps x_ where it is the worst so far, and lets rows go that succeeded, out of `gradient` too.
void Search::record(const Tensor& outputs, Tensor* gradient) {
  const Tensor margins = margins_of(outputs, labels_);
  if (margins_.defined()) {
    const Tensor infinity = Tensor::scalar(std::numeric_limits<double>::infinity(), margins.dtype());
    const auto badness = [&](const Tensor& m) { return where(equal(m, m), m, infinity); };
    const Tensor worse = greater(badness(margins), badness(margins_));
    worst_ = where(column(worse), x_, worst_);
    margins_ = where(worse, margins, margins_);
  } else {
    worst_ = x_;
    margins_ = margins;
  }
  if (!how_.stop_at_success) return;
  const std::vector<uint8_t> robust = less(margins_, zeros_like(margins_)).to_vector<uint8_t>();
  std::vector<int32_t> stay, go;
  for (size_t i = 0; i < robust.size(); ++i) (robust[i] ? stay : go).push_back(static_cast<int32_t>(i));
  if (go.empty()) return;
  release(go);
  const Tensor kept = index_list(stay);
  for (Tensor* part : {&numbers_, &streams_, &labels_, &center_, &low_, &high_, &radius_, &targets_, &x_, &worst_,
                       &margins_, gradient})
    if (part && part->defined()) *part = take(*part, kept);
}

void Search::release(const std::vector<int32_t>& rows) {
  const Tensor list = index_list(rows);
  released_numbers_.push_back(take(numbers_, list));
  released_.push_back(take(worst_, list));
}

Adversarial Search::run() {
  if (how_.stop_at_success || targeted()) {
    const Tensor outputs = outputs_at(center_);
    if (targeted()) {
      const int64_t wrong = classes_ - 1;
      targets_ =
          top_k(wrong_outputs(outputs, labels_), how_.targets > 0 ? std::min(how_.targets, wrong) : wrong, 1).indices;
    }
    record(outputs);
  }
  const int64_t targets = targeted() ? targets_.dim(1) : 1;
  for (int64_t number = 0; number < how_.restarts * targets && left() > 0; ++number) one_run(number, number % targets);
  return result();
}

// A number that is not finite would leave the ball unseen, and becomes x's.
Adversarial Search::judge(const Tensor& points) {
  record(outputs_at(center_));
  const Tensor flat = reshape(points.detach(), center_.shape());
  x_ = project(where(equal(flat - flat, zeros_like(flat)), flat, center_));
  record(outputs_at(x_));
  return result();
}

// In the batch's order. Where rows left early, f may have computed their outputs among others: the margins are taken
// again.
Adversarial Search::result() {
  Tensor inputs = worst_, margins = margins_;
  if (!released_.empty()) {
    released_numbers_.push_back(numbers_);
    released_.push_back(worst_);
    const std::vector<int32_t> order = concat(released_numbers_).to_vector<int32_t>();
    std::vector<int32_t> place(order.size());
    for (size_t i = 0; i < order.size(); ++i) place[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
    inputs = take(concat(released_), index_list(place));
    margins = margins_of(outputs_at(inputs), all_labels_);
  }
  const Tensor robust = less(margins, zeros_like(margins));
  return {reshape(inputs, shape_), equal(robust, zeros_like(robust)), margins};
}

}  // namespace

Adversarial pgd(const Function& f, const Tensor& x, const Tensor& labels, const PgdOptions& options, const Box& box) {
  check(f, x, labels, options, box);
  const NoGrad guard;
  return Search(f, x, labels, options, box).run();
}

Adversarial judged(const Function& f, const Tensor& x, const Tensor& labels, const Tensor& points, Norm norm,
                   double epsilon, const Box& box) {
  const PgdOptions how{.norm = norm, .epsilon = epsilon, .stop_at_success = false};
  check(f, x, labels, how, box);
  require(points.shape() == x.shape(), "attack: points are {} with x of {}; needs one shape", points.shape(),
          x.shape());
  require<TypeError>(points.dtype() == x.dtype(), "attack: points are {} with x of {}; needs one dtype", points.dtype(),
                     x.dtype());
  const NoGrad guard;
  return Search(f, x, labels, how, box).judge(points);
}

}  // namespace mollify::smoothing
