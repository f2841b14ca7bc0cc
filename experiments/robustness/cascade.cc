#include <mollify/experiments/robustness/cascade.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/nn/bounds/verify.h>
#include <mollify/smoothing/attacks/pgd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <new>

namespace mollify::experiments {
namespace {

namespace bounds = nn::bounds;

// Images bounded at once.
int64_t images_at_once(const std::string& method) { return method == "ibp" ? 256 : method == "crown-ibp" ? 64 : 8; }

// Unsafe sets o_y ≤ o_t, one for each wrong class t, over the ball around an image f64 [1, …].
nn::formats::Property property_of(const bounds::Box& ball, int32_t label, int64_t classes) {
  nn::formats::Case box{ball.lower.to_vector<double>(), ball.upper.to_vector<double>(), {}};
  for (int32_t t = 0; t < classes; ++t) {
    if (t == label) continue;
    nn::formats::Halfspaces set{std::vector<double>(static_cast<size_t>(classes)), {0}};
    set.coefficients[static_cast<size_t>(label)] = 1;
    set.coefficients[static_cast<size_t>(t)] = -1;
    box.unsafe.push_back(std::move(set));
  }
  return {ball.lower.size(), classes, {std::move(box)}};
}

// The label's output less the largest other.
double margin_of(const std::vector<double>& outputs, int32_t label) {
  double other = -std::numeric_limits<double>::infinity();
  for (size_t t = 0; t < outputs.size(); ++t)
    if (static_cast<int32_t>(t) != label) other = std::max(other, outputs[t]);
  return outputs[static_cast<size_t>(label)] - other;
}

bounds::Graph graph_of(const Classifier& classifier, DType dtype) {
  return {classifier.function(dtype), classifier.image_shape(), dtype, classifier.device()};
}

}  // namespace

Cascade::Cascade(const Classifier& classifier, const CascadeOptions& options, Record record,
                 std::function<void(const std::string&)> working_on)
    : classifier_(classifier),
      options_(options),
      record_(std::move(record)),
      working_on_(std::move(working_on)),
      function_(classifier.function(DType::f32)),
      graph_(graph_of(classifier, options.sound ? DType::f64 : DType::f32)),
      exact_graph_(graph_of(classifier, DType::f64)) {}

std::vector<std::string> Cascade::stages(const std::string& method) {
  std::vector<std::string> out = {"clean", "ibp"};
  if (method != "ibp") out.push_back("crown-ibp");
  if (method == "crown") out.push_back("crown");
  if (method == "alpha-crown" || method == "complete") out.push_back("alpha-crown");
  out.push_back("attack");
  if (method == "complete") out.push_back("complete");
  return out;
}

void Cascade::decided(const Open& image, const char* verdict, const std::string& stage, double margin) const {
  record_({image.index, image.label, image.predicted, stage, verdict, margin});
}

Classifier::Batch Cascade::batch_of(const std::vector<Open>& open) const {
  std::vector<int32_t> indices;
  for (const Open& image : open) indices.push_back(image.index);
  return classifier_.batch(indices);
}

void Cascade::decide(const std::vector<int32_t>& indices) {
  std::vector<Open> open;
  for (const std::string& stage : stages(options_.method)) {
    stop_if_interrupted();
    working_on_(stage);
    if (stage == "clean") open = clean(indices);
    else if (open.empty()) return;
    else if (stage == "attack") open = attacked(open);
    else if (stage == "complete") open = completed(open);
    else open = bounded(open, stage);
  }
  for (const Open& image : open) decided(image, "unknown", "none", image.margin);
}

std::vector<Cascade::Open> Cascade::clean(const std::vector<int32_t>& indices) {
  const NoGrad guard;
  const Classifier::Batch batch = classifier_.batch(indices);
  const Tensor outputs = function_(batch.pixels);
  const std::vector<int32_t> answers = argmax(outputs).to_vector<int32_t>(), labels = batch.labels.to_vector<int32_t>();
  const std::vector<double> values = cast(outputs, DType::f64).to_vector<double>();
  const size_t classes = values.size() / indices.size();
  std::vector<Open> open;
  for (size_t i = 0; i < indices.size(); ++i) {
    const Open image{indices[i], labels[i], answers[i], -std::numeric_limits<double>::infinity()};
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * classes);
    if (answers[i] == labels[i]) open.push_back(image);
    else decided(image, "wrong", "clean", margin_of({row, row + static_cast<std::ptrdiff_t>(classes)}, labels[i]));
  }
  return open;
}

// An error of one batch leaves its images undecided, and the others as they are.
void Cascade::passed_over(const std::string& error) const {
  std::fprintf(stderr, "mollify certify: images left undecided: %s\n", error.c_str());
}

// Lower bounds of the least margin of each image; −∞ of all where there was an error, such as too little memory.
std::vector<double> Cascade::margins(const std::vector<Open>& part, const std::string& method) const {
  const NoGrad guard;
  const std::vector<double> none(part.size(), -std::numeric_limits<double>::infinity());
  const DType dtype = graph_.dtype();
  const Classifier::Batch batch = batch_of(part);
  const bounds::Options how{.method = bounds::method_named(method), .intersect = method != "ibp",
                            .roundoff = options_.sound ? bounds::unit_roundoff(dtype) : 0,
                            .alpha = {.steps = options_.alpha_steps, .stop_when_positive = true}};
  try {
    const bounds::Bounds found(graph_,
                               {bounds::ball(cast(batch.pixels, dtype), options_.epsilon, 0, 1, options_.sound)}, how);
    const Tensor lower = found.lower(bounds::margin_rows(batch.labels, classifier_.images().classes, dtype));
    return cast(min(lower, {1}), DType::f64).to_vector<double>();
  } catch (const std::exception& error) {
    return passed_over(error.what()), none;
  }
}

std::vector<Cascade::Open> Cascade::bounded(const std::vector<Open>& open, const std::string& method) {
  std::vector<Open> left;
  const auto at_once = static_cast<size_t>(images_at_once(method));
  for (size_t first = 0; first < open.size(); first += at_once) {
    stop_if_interrupted();
    working_on_(method);
    const std::vector<Open> part(open.begin() + static_cast<std::ptrdiff_t>(first),
                                 open.begin() + static_cast<std::ptrdiff_t>(std::min(open.size(), first + at_once)));
    const std::vector<double> lower = margins(part, method);
    for (size_t i = 0; i < part.size(); ++i) {
      Open image = part[i];
      if (lower[i] > image.margin) image.margin = lower[i];  // false for NaN
      if (lower[i] > 0 && std::isfinite(lower[i])) decided(image, "certified", method, lower[i]);
      else left.push_back(image);
    }
  }
  return left;
}

std::vector<Cascade::Open> Cascade::attacked(const std::vector<Open>& open) {
  const Classifier::Batch batch = batch_of(open);
  const smoothing::Threat threat{.epsilon = options_.epsilon,
                                 .box = {Tensor::scalar(0), Tensor::scalar(1)},
                                 .seed = static_cast<uint64_t>(options_.seed),
                                 .rows = batch.rows};
  const smoothing::Adversarial found = smoothing::pgd(function_, batch.pixels, batch.labels, threat,
                                                      {.objective = smoothing::Objective::margin,
                                                       .steps = options_.attack_steps,
                                                       .restarts = options_.attack_restarts});
  const std::vector<uint8_t> success = found.success.to_vector<uint8_t>();
  const std::vector<double> margins = cast(found.margins, DType::f64).to_vector<double>();
  std::vector<Open> left;
  for (size_t i = 0; i < open.size(); ++i) {
    if (success[i]) decided(open[i], "attacked", "attack", -margins[i]);
    else left.push_back(open[i]);
  }
  return left;
}

std::vector<Cascade::Open> Cascade::completed(const std::vector<Open>& open) {
  const FullPrecision exact;
  std::vector<Open> left;
  const bounds::VerifyOptions how{.seconds = options_.timeout, .stop = interrupted};
  for (const Open& image : open) {
    working_on_("complete");
    const Tensor pixels = cast(batch_of({image}).pixels, DType::f64);
    const auto property =
        property_of(bounds::ball(pixels, options_.epsilon, 0, 1, true), image.label, classifier_.images().classes);
    bounds::Outcome outcome;
    try {
      outcome = bounds::verify(exact_graph_, property, how);
    } catch (const std::exception& error) {
      passed_over(error.what());
      outcome.verdict = bounds::Verdict::unknown;
    }
    if (outcome.verdict == bounds::Verdict::unknown) stop_if_interrupted();
    if (outcome.verdict == bounds::Verdict::unsat) decided(image, "certified", "complete", std::max(0.0, image.margin));
    else if (outcome.verdict == bounds::Verdict::sat)
      decided(image, "attacked", "complete", margin_of(outcome.output, image.label));
    else left.push_back(image);
  }
  return left;
}

}  // namespace mollify::experiments
