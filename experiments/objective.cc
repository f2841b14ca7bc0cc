#include <mollify/experiments/objective.h>

#include <mollify/experiments/device.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/smoothing/attacks.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using nn::bounds::Bounds;
using nn::bounds::Box;
using nn::bounds::Graph;
using nn::bounds::Method;

constexpr double kLeastEpsilon = 1e-6;   // of balls in training: what divides by radii stays finite
constexpr double kLeastCrownShare = 1e-5;
constexpr int64_t kBoxBatch = 500, kWalkBatch = 50;  // images that are certified at once

Tensor per_channel(const std::vector<float>& values, double otherwise, Device device) {
  return values.empty() ? Tensor::scalar(otherwise)
                        : to(Tensor::from(values, {static_cast<int64_t>(values.size())}), device);
}

// Cut off where pixels end, but never so that `inside` leaves it.
Box within_pixels(const Box& box, const Tensor& inside, const PixelRange& range) {
  return {minimum(maximum(box.lower, range.low), inside), maximum(minimum(box.upper, range.high), inside)};
}

void write(const Tensor& number, double value) { assign(number, Tensor::scalar(value, number.dtype())); }

struct Way { const char* objective; Method training, certifying; };
constexpr Way kWays[] = {
    {"natural", Method::ibp, Method::ibp},
    {"pgd", Method::ibp, Method::ibp},
    {"ibp", Method::ibp, Method::ibp},
    {"hbox", Method::hbox, Method::ibp},
    {"deepz", Method::deepz, Method::deepz},
    {"crown-ibp", Method::crown_ibp, Method::crown_ibp},
    {"deeppoly", Method::crown, Method::crown},
    {"alpha-crown", Method::alpha_crown, Method::crown},
    {"sabr", Method::ibp, Method::ibp},
    {"mtl-ibp", Method::ibp, Method::ibp},
};
const Way& way_of(const std::string& objective) {
  for (const Way& way : kWays)
    if (objective == way.objective) return way;
  throw ValueError(format("objective: '{}' given; needs one of --objective's", objective));
}

}  // namespace

PixelRange::PixelRange(const datasets::Preparation& preparation, Device device) {
  const Tensor mean = per_channel(preparation.mean, 0, device),
               deviation = per_channel(preparation.deviation, 1, device);
  unit = 1.0 / deviation;
  low = -mean / deviation;
  high = (1.0 - mean) / deviation;
}

Box pixel_ball(const Tensor& images, const Tensor& epsilon, const PixelRange& range, bool outward) {
  Tensor radius = range.unit * epsilon;
  if (outward)
    radius = radius + (abs(images) + radius + abs(range.low) + abs(range.high)) *
                          (4 * nn::bounds::unit_roundoff(images.dtype()));
  return within_pixels({images - radius, images + radius}, images, range);
}

Box small_box(const Tensor& images, const Tensor& adversarial, const Tensor& tau, const Tensor& rest,
              const PixelRange& range) {
  const Tensor small = range.unit * tau, way = range.unit * rest;
  const Tensor center = clip(adversarial, images - way, images + way);
  return within_pixels({center - small, center + small}, center, range);
}

Objective::Objective(const TrainOptions& options, const nn::Network& network, const datasets::Preparation& preparation,
                     int64_t batches, LossFunction loss, Device device)
    : options_(options),
      network_(network),
      range_(preparation, device),
      batches_(batches),
      loss_(loss),
      finds_stable_neurons_(device == Device::cpu && certified(options.objective) &&
                            nn::bounds::walks_boxes(way_of(options.objective).training)) {
  require<UsageError>(network.statistics().empty() || !certified(options.objective),
                      "mollify train: --objective: {} given with {}, whose batch norm bounds cannot follow while its "
                      "statistics move; needs a model "
                      "without",
                      options.objective, options.model);
  Numbers& n = numbers_;
  for (Tensor* number : {&n.radius, &n.tau, &n.rest, &n.natural, &n.bounded, &n.walked, &n.boxed, &n.regularizer})
    *number = zeros({});
  advance(0);
}

double Objective::epsilon(int64_t step) const {
  const auto steps = [&](int64_t epochs) { return static_cast<double>(epochs * batches_); };
  return nn::bounds::smooth_ramp(static_cast<double>(step) - steps(options_.epsilon_start),
                                 steps(options_.epsilon_epochs), options_.epsilon);
}

void Objective::advance(int64_t step) {
  const TrainOptions& o = options_;
  const double reached = epsilon(step), radius = std::max(reached, kLeastEpsilon), rest = (1 - o.sabr_lambda) * radius;
  step_ = step;
  attack_radius_.reset();
  if (o.objective == "pgd") {
    phase_ = {.natural = true};
    attack_radius_ = reached > 0 ? std::optional(reached) : std::nullopt;
    return;
  }
  const bool started = step >= o.epsilon_start * batches_;
  const double natural = started ? *o.kappa_start + (o.kappa - *o.kappa_start) * (reached / o.epsilon) : 1;
  const double grown = radius / o.epsilon;  // as a share of the last radius
  const double walked = o.objective == "crown-ibp" ? o.mix + (1 - o.mix) * (1 - grown) : 1;
  const double regularizer = *o.regularizer * (1 - grown);
  const bool bounded = started && natural < 1, walks = walked >= kLeastCrownShare;
  phase_ = {.natural = natural > 0,
            .bounded = bounded,
            .walked = bounded && walks,
            .boxed = bounded && (!walks || walked != 1),
            .regularized = bounded && regularizer > 0};
  if (bounded && o.objective == "sabr") attack_radius_ = rest;
  if (bounded && o.objective == "mtl-ibp") attack_radius_ = radius;
  write(numbers_.radius, radius);
  write(numbers_.tau, o.sabr_lambda * radius);
  write(numbers_.rest, rest);
  write(numbers_.natural, natural);
  write(numbers_.bounded, 1 - natural);
  write(numbers_.walked, walked);
  write(numbers_.boxed, 1 - walked);
  write(numbers_.regularizer, regularizer);
}

bool Objective::attacks(const std::string& objective) {
  return objective == "pgd" || objective == "sabr" || objective == "mtl-ibp";
}

// Points of the ball with pixel radius attack_radius_, which the box bounds where channels differ. Draws depend on the
// seed, the step and the row.
Tensors Objective::inputs(const Tensor& weights, const Tensor& state, const Tensor& images,
                          const Tensor& labels) const {
  if (!attack_radius_) return {images, labels};
  const Tensor fixed = weights.detach();
  const auto outputs = [&](const Tensor& x) { return network_(fixed, state, x, nn::Mode::evaluate).output; };
  const Box ball = pixel_ball(images, Tensor::scalar(*attack_radius_), range_);
  const double widest = max(range_.unit).item() * *attack_radius_;
  const Tensor attacked =
      smoothing::pgd(outputs, images, labels,
                     {.epsilon = widest,
                      .steps = options_.attack_steps,
                      .stop_at_success = false,
                      .seed = (static_cast<uint64_t>(options_.seed) << 32) + static_cast<uint64_t>(step_)},
                     {ball.lower, ball.upper})
          .inputs;
  if (options_.objective == "pgd") return {attacked, labels};
  return {images, labels, attacked};
}

Tensor Objective::loss_of_margins(const Bounds& bounds, const Tensor& rows) const {
  if (options_.fusion) return nn::bounds::fused_cross_entropy(bounds, rows);
  if (!phase_.boxed) return nn::bounds::worst_case_cross_entropy(bounds.lower(rows));
  const Tensor boxed = nn::bounds::lower_by_boxes(bounds, rows);
  return nn::bounds::worst_case_cross_entropy(
      phase_.walked ? bounds.lower(rows) * numbers_.walked + boxed * numbers_.boxed : boxed);
}

Tensor Objective::bounded_loss(const Tensor& weights, const Tensors& inputs) const {
  const Tensor &images = inputs[0], &labels = inputs[1];
  const Graph graph(network_, weights);
  const Box box = options_.objective == "sabr" ? small_box(images, inputs[2], numbers_.tau, numbers_.rest, range_)
                                               : pixel_ball(images, numbers_.radius, range_);
  const Bounds bounds(graph, {box},
                      {.method = way_of(options_.objective).training,
                       .read_stable = finds_stable_neurons_,
                       .alpha = {.steps = options_.alpha_steps}});
  const Tensor rows = nn::bounds::margin_rows(labels, network_.output()[0], weights.dtype());
  Tensor loss = loss_of_margins(bounds, rows);
  if (options_.objective == "mtl-ibp")
    loss = loss * options_.mtl_alpha + loss_(network_(weights, inputs[2]), labels) * (1 - options_.mtl_alpha);
  return phase_.regularized ? loss + nn::bounds::relu_regularizer(bounds) * numbers_.regularizer : loss;
}

Objective::Result Objective::operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs) const {
  const Tensor &images = inputs[0], &labels = inputs[1];
  Result result;
  if (options_.objective == "pgd") {
    const nn::Network::Result evaluated = network_(weights, state, images, nn::Mode::train);
    result = {loss_(evaluated.output, labels), evaluated.output.detach(), evaluated.state.detach()};
  } else {
    const Tensor outputs = network_(phase_.natural ? weights : weights.detach(), images);
    result = {{}, outputs.detach(), state};
    if (phase_.natural) result.loss = loss_(outputs, labels) * numbers_.natural;
    if (phase_.bounded) {
      const Tensor bound = bounded_loss(weights, inputs) * numbers_.bounded;
      result.loss = result.loss.defined() ? result.loss + bound : bound;
    }
  }
  if (options_.l1 > 0) result.loss = result.loss + nn::bounds::weight_norm_l1(network_, weights) * options_.l1;
  return result;
}

Method certifying_method(const std::string& objective) { return way_of(objective).certifying; }

std::optional<double> certified_share(const nn::Network& network, const Tensor& weights,
                                      const datasets::Dataset& dataset, const datasets::Preparation& preparation,
                                      double epsilon, Method method, int64_t limit, const std::function<bool()>& stop) {
  const NoGrad guard;
  const FullPrecision exact;
  const Device device = weights.device();
  const PixelRange range(preparation, device);
  const Graph graph(network, weights);
  const datasets::Dataset images = limit > 0 && limit < dataset.size() ? datasets::take(dataset, 0, limit) : dataset;
  const bool boxes = method == Method::ibp;
  datasets::Loader loader(images,
                          {.batch_size = boxes ? kBoxBatch : kWalkBatch, .shuffle = false, .preparation = preparation});
  loader.start_epoch(0);
  int64_t certain = 0;
  while (const auto batch = loader.next()) {
    if (stop && stop()) return std::nullopt;
    const Bounds bounds(graph,
                        {pixel_ball(to(batch->images, device), Tensor::scalar(epsilon), range, /*outward=*/true)},
                        {.method = method, .roundoff = nn::bounds::unit_roundoff(DType::f32)});
    const std::vector<float> least =
        min(bounds.lower(nn::bounds::margin_rows(to(batch->labels, device), images.classes)), {1}).to_vector<float>();
    certain +=
        std::count_if(least.begin(), least.end(), [](float margin) { return margin > 0 && std::isfinite(margin); });
  }
  return static_cast<double>(certain) / static_cast<double>(std::max<int64_t>(1, images.size()));
}

}  // namespace mollify::experiments
