#include <mollify/experiments/training/objectives/bounded.h>

#include <mollify/experiments/training/settings.h>
#include <mollify/nn/bounds/certified_loss.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

using nn::bounds::Bounds;
using nn::bounds::Box;
using nn::bounds::Graph;

constexpr double kLeastEpsilon = 1e-6;  // of balls in training: what divides by radii stays finite
constexpr double kLeastWalkedShare = 1e-5;

}  // namespace

BoundedObjective::BoundedObjective(const char* name, nn::bounds::Method training, nn::bounds::Method certifying,
                                   double regularizer)
    : name_(name), training_(training), certifying_(certifying), usual_regularizer_(regularizer) {
  Numbers& n = numbers_;
  for (Tensor* number : {&n.radius, &n.natural, &n.bounded, &n.walked, &n.boxed, &n.regularizer}) *number = zeros({});
}

Options BoundedObjective::options() {
  Options all = BallObjective::options();
  add(all, {{{"kappa", "Objective", "share of the natural loss once the radius is grown", nullptr}, &kappa_, share()},
            {{"kappa-start", "Objective", "its share at radius 0; in between it moves with the radius", "as --kappa"},
             &kappa_start_,
             share()},
            {{"regularizer", "Objective",
              "weight of the regulariser of Shi et al. 2021, which falls to 0 as the radius grows",
              "0.5 where boxes are IBP's or hbox's, else 0"},
             &regularizer_,
             at_least(0)}});
  return all;
}

void BoundedObjective::resolve(RunOptions& run) {
  require<UsageError>(run.loss == "cross_entropy",
                      "mollify train: --loss: {} given with --objective {}; needs cross_entropy", run.loss, name());
  if (run.initialization.empty()) run.initialization = "ibp";
  if (run.optimizer.empty()) run.optimizer = "adam";
  if (run.schedule.empty()) run.schedule = "milestones";
  if (!run.learning_rate && run.optimizer != "sgd") run.learning_rate = 0.002;
  if (!run.clip_norm) run.clip_norm = 10;
  if (run.epochs == 0) run.epochs = 20;
  BallObjective::resolve(run);
  if (!kappa_start_) kappa_start_ = kappa_;
  if (!regularizer_) regularizer_ = usual_regularizer_;
  require_epochs(run);
}

void BoundedObjective::require_epochs(const RunOptions& run) const {
  const int64_t grown = start_ + growing_;
  require<UsageError>(grown <= run.epochs,
                      "mollify train: --eps-epochs: the radius has grown after {} epochs; needs at most --epochs, {}",
                      grown, run.epochs);
}

void BoundedObjective::prepare(const Setting& setting) {
  require<UsageError>(setting.network.statistics().empty(),
                      "mollify train: --objective: {} given with {}, whose batch norm bounds cannot follow while its "
                      "statistics move; needs a model without",
                      name(), setting.network.name());
  BallObjective::prepare(setting);
  finds_stable_neurons_ = setting.device == Device::cpu && nn::bounds::walks_boxes(training_);
  advance(0);
}

void BoundedObjective::advance(int64_t step) {
  const double reached = *radius(step);
  step_ = step;
  radius_ = std::max(reached, kLeastEpsilon);
  const bool started = step >= setting().timetable.first_step(start_);
  const double natural = started ? *kappa_start_ + (kappa_ - *kappa_start_) * (reached / epsilon_) : 1;
  const double grown = radius_ / epsilon_;  // as a share of the last radius
  const double walked = walked_share(grown), regularizer = *regularizer_ * (1 - grown);
  const bool bounded = started && natural < 1, walks = walked >= kLeastWalkedShare;
  phase_ = {.natural = natural > 0,
            .bounded = bounded,
            .walked = bounded && walks,
            .boxed = bounded && (!walks || walked != 1),
            .regularized = bounded && regularizer > 0};
  assign(numbers_.radius, radius_);
  assign(numbers_.natural, natural);
  assign(numbers_.bounded, 1 - natural);
  assign(numbers_.walked, walked);
  assign(numbers_.boxed, 1 - walked);
  assign(numbers_.regularizer, regularizer);
}

int64_t BoundedObjective::phase() const {
  return phase_.natural | phase_.bounded << 1 | phase_.walked << 2 | phase_.boxed << 3 | phase_.regularized << 4;
}

const char* BoundedObjective::uncaptured() const {
  return finds_stable_neurons_ ? "steps of bounds run as they are, without capture: less work than for all neurons"
                               : "";
}

Option BoundedObjective::fusion_option() {
  return {{"fusion", "Objective",
           "loss fusion for crown-ibp, deepz and deeppoly: one row walks back in place of one for each wrong class",
           nullptr},
          &fusion_,
          {}};
}

Box BoundedObjective::box(const Tensors& inputs) const { return pixel_ball(inputs[0], numbers_.radius, range()); }

nn::bounds::Options BoundedObjective::bounds_options() const {
  return {.method = training_, .read_stable = finds_stable_neurons_};
}

Tensor BoundedObjective::loss_of_margins(const Bounds& bounds, const Tensor& rows) const {
  if (fusion_) return nn::bounds::fused_cross_entropy(bounds, rows);
  if (!phase_.boxed) return nn::bounds::worst_case_cross_entropy(bounds.lower(rows));
  const Tensor boxed = nn::bounds::lower_by_boxes(bounds, rows);
  return nn::bounds::worst_case_cross_entropy(
      phase_.walked ? bounds.lower(rows) * numbers_.walked + boxed * numbers_.boxed : boxed);
}

Tensor BoundedObjective::bounded_loss(const Tensor& weights, const Tensors& inputs) const {
  const Graph graph(setting().network, weights);
  const Bounds bounds(graph, {box(inputs)}, bounds_options());
  const Tensor rows = nn::bounds::margin_rows(inputs[1], setting().network.output()[0], weights.dtype());
  const Tensor loss = mixed(loss_of_margins(bounds, rows), weights, inputs);
  return phase_.regularized ? loss + nn::bounds::relu_regularizer(bounds) * numbers_.regularizer : loss;
}

Objective::Result BoundedObjective::operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                                               const Tensor&) const {
  const Tensor outputs = setting().network(phase_.natural ? weights : weights.detach(), inputs[0]);
  Result result{{}, outputs.detach(), state};
  if (phase_.natural) result.loss = setting().loss(outputs, inputs[1]) * numbers_.natural;
  if (phase_.bounded) {
    const Tensor bound = bounded_loss(weights, inputs) * numbers_.bounded;
    result.loss = result.loss.defined() ? result.loss + bound : bound;
  }
  result.loss = with_weight_norm(result.loss, weights);
  return result;
}

}  // namespace mollify::experiments
