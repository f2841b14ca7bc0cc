#include <mollify/experiments/objective.h>

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

// What a difference of pixels becomes by channel: [C], or 1.
Tensor per_channel(const std::vector<float>& values, double otherwise) {
  return values.empty() ? Tensor::scalar(otherwise) : Tensor::from(values, {static_cast<int64_t>(values.size())});
}

struct PixelRange { Tensor unit, low, high; };

PixelRange range_of(const datasets::Preparation& preparation) {
  const Tensor mean = per_channel(preparation.mean, 0), deviation = per_channel(preparation.deviation, 1);
  return {1.0 / deviation, -mean / deviation, (1.0 - mean) / deviation};
}

// Cut off where pixels end, but never so that `inside` leaves it.
Box within_pixels(const Box& box, const Tensor& inside, const PixelRange& range) {
  return {minimum(maximum(box.lower, range.low), inside), maximum(minimum(box.upper, range.high), inside)};
}

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

Box pixel_ball(const Tensor& images, double epsilon, const datasets::Preparation& preparation, bool outward) {
  const PixelRange range = range_of(preparation);
  Tensor radius = range.unit * epsilon;
  if (outward) radius = radius + (abs(images) + radius + abs(range.low) + abs(range.high)) * (4 * nn::bounds::unit_roundoff(images.dtype()));
  return within_pixels({images - radius, images + radius}, images, range);
}

Box small_box(const Tensor& images, const Tensor& adversarial, double epsilon, double lambda, const datasets::Preparation& preparation) {
  const PixelRange range = range_of(preparation);
  const Tensor small = range.unit * (lambda * epsilon), way = range.unit * ((1 - lambda) * epsilon);
  const Tensor center = clip(adversarial, images - way, images + way);
  return within_pixels({center - small, center + small}, center, range);
}

Objective::Objective(const TrainOptions& options, const nn::Network& network, const datasets::Preparation& preparation, int64_t batches,
                     LossFunction loss)
    : options_(options), network_(network), preparation_(preparation), batches_(batches), loss_(loss) {
  require<UsageError>(network.statistics().empty() || !certified(options.objective),
                      "mollify train: --objective: {} given with {}, whose batch norm bounds cannot follow while its statistics move; needs a model "
                      "without", options.objective, options.model);
}

double Objective::epsilon(int64_t step) const {
  const auto steps = [&](int64_t epochs) { return static_cast<double>(epochs * batches_); };
  return nn::bounds::smooth_ramp(static_cast<double>(step) - steps(options_.epsilon_start), steps(options_.epsilon_epochs), options_.epsilon);
}

// Points of the ball with pixel radius `radius`, which the box bounds where channels differ. Draws depend on the seed, the step and the row.
Tensor Objective::attacked(const Tensor& weights, const Tensor& state, const datasets::Batch& batch, double radius, int64_t step) const {
  const Tensor fixed = weights.detach();
  const auto outputs = [&](const Tensor& x) { return network_(fixed, state, x, nn::Mode::evaluate).output; };
  const Box ball = pixel_ball(batch.images, radius, preparation_);
  const double widest = max(range_of(preparation_).unit).item() * radius;
  return smoothing::pgd(outputs, batch.images, batch.labels,
                        {.epsilon = widest, .steps = options_.attack_steps, .stop_at_success = false,
                         .seed = (static_cast<uint64_t>(options_.seed) << 32) + static_cast<uint64_t>(step)},
                        {ball.lower, ball.upper})
      .inputs;
}

// `grown` is the radius as a share of the last one.
Tensor Objective::loss_of_margins(const Bounds& bounds, const Tensor& rows, double grown) const {
  if (options_.fusion) return nn::bounds::fused_cross_entropy(bounds, rows);
  const double share = options_.objective == "crown-ibp" ? options_.mix + (1 - options_.mix) * (1 - grown) : 1;
  if (share < kLeastCrownShare) return nn::bounds::worst_case_cross_entropy(nn::bounds::lower_by_boxes(bounds, rows));
  const Tensor margins = bounds.lower(rows);
  return nn::bounds::worst_case_cross_entropy(share == 1 ? margins : margins * share + nn::bounds::lower_by_boxes(bounds, rows) * (1 - share));
}

Tensor Objective::bounded_loss(const Tensor& weights, const datasets::Batch& batch, double epsilon, int64_t step) const {
  const bool sabr = options_.objective == "sabr", mtl = options_.objective == "mtl-ibp";
  const double grown = epsilon / options_.epsilon;
  const Graph graph(network_, weights);
  Tensor adversarial;
  if (sabr || mtl) adversarial = attacked(weights, {}, batch, sabr ? (1 - options_.sabr_lambda) * epsilon : epsilon, step);
  const Box box = sabr ? small_box(batch.images, adversarial, epsilon, options_.sabr_lambda, preparation_)
                       : pixel_ball(batch.images, epsilon, preparation_);
  const Bounds bounds(graph, {box}, {.method = way_of(options_.objective).training, .alpha = {.steps = options_.alpha_steps}});
  const Tensor rows = nn::bounds::margin_rows(batch.labels, network_.output()[0], weights.dtype());
  Tensor loss = loss_of_margins(bounds, rows, grown);
  if (mtl) loss = loss * options_.mtl_alpha + loss_(network_(weights, adversarial), batch.labels) * (1 - options_.mtl_alpha);
  const double regularizer = *options_.regularizer * (1 - grown);
  return regularizer > 0 ? loss + nn::bounds::relu_regularizer(bounds) * regularizer : loss;
}

Objective::Result Objective::operator()(const Tensor& weights, const Tensor& state, const datasets::Batch& batch, int64_t step) const {
  const double radius = epsilon(step);
  Result result;
  result.state = state;
  if (options_.objective == "pgd") {
    const Tensor images = radius > 0 ? attacked(weights, state, batch, radius, step) : batch.images;
    const nn::Network::Result evaluated = network_(weights, state, images, nn::Mode::train);
    result = {loss_(evaluated.output, batch.labels), evaluated.output.detach(), evaluated.state.detach()};
  } else {
    const bool bounded = step >= options_.epsilon_start * batches_;
    const double kappa = bounded ? *options_.kappa_start + (options_.kappa - *options_.kappa_start) * (radius / options_.epsilon) : 1;
    const Tensor outputs = network_(kappa > 0 ? weights : weights.detach(), batch.images);
    result.outputs = outputs.detach();
    if (kappa > 0) result.loss = loss_(outputs, batch.labels) * kappa;
    if (bounded && kappa < 1) {
      const Tensor bound = bounded_loss(weights, batch, std::max(radius, kLeastEpsilon), step) * (1 - kappa);
      result.loss = result.loss.defined() ? result.loss + bound : bound;
    }
  }
  if (options_.l1 > 0) result.loss = result.loss + nn::bounds::weight_norm_l1(network_, weights) * options_.l1;
  return result;
}

Method certifying_method(const std::string& objective) { return way_of(objective).certifying; }

std::optional<double> certified_share(const nn::Network& network, const Tensor& weights, const datasets::Dataset& dataset,
                                      const datasets::Preparation& preparation, double epsilon, Method method, int64_t limit,
                                      const std::function<bool()>& stop) {
  const NoGrad guard;
  const Graph graph(network, weights);
  const datasets::Dataset images = limit > 0 && limit < dataset.size() ? datasets::take(dataset, 0, limit) : dataset;
  const bool boxes = method == Method::ibp;
  datasets::Loader loader(images, {.batch_size = boxes ? kBoxBatch : kWalkBatch, .shuffle = false, .preparation = preparation});
  loader.start_epoch(0);
  int64_t certain = 0;
  while (const auto batch = loader.next()) {
    if (stop && stop()) return std::nullopt;
    const Bounds bounds(graph, {pixel_ball(batch->images, epsilon, preparation, /*outward=*/true)},
                        {.method = method, .roundoff = nn::bounds::unit_roundoff(DType::f32)});
    const std::vector<float> least = min(bounds.lower(nn::bounds::margin_rows(batch->labels, images.classes)), {1}).to_vector<float>();
    certain += std::count_if(least.begin(), least.end(), [](float margin) { return margin > 0 && std::isfinite(margin); });
  }
  return static_cast<double>(certain) / static_cast<double>(std::max<int64_t>(1, images.size()));
}

}  // namespace mollify::experiments
