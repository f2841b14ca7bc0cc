#include <mollify/experiments/critical_batch.h>

#include <mollify/engine/ops.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;
using smoothing::CriticalBatch;
using smoothing::CriticalBatchSearch;

constexpr int64_t kSmallest = 8, kLargest = 1024;  // of the powers of two

// Sato & Iiduka, arXiv 2311.08745, Table 2: CIFAR-100, with the stop on minibatches.
constexpr double kPublishedEpsilon = 0.5;
constexpr struct {
  const char* network;
  double learning_rate;
  int64_t batch;

  double bound() const { return static_cast<double>(batch) * kPublishedEpsilon * kPublishedEpsilon / learning_rate; }
} kPublished[] = {{"ResNet-18", 0.01, 128}, {"ResNet-18", 0.05, 256}, {"ResNet-18", 0.1, 512}, {"ResNet-18", 0.5, 512},
                  {"WRN-28-10", 0.01, 4},   {"WRN-28-10", 0.05, 4},   {"WRN-28-10", 0.1, 4},   {"WRN-28-10", 0.5, 4}};

double samples_of(const CriticalBatch::Run& run) { return static_cast<double>(run.batch) * run.steps; }
// Of a bound on C² in C²; NaN where there is none.
double ratio(double bound, double c2) { return bound > 0 && c2 > 0 ? bound / c2 : NAN; }
ordered_json json_number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

const char* name_of(CriticalBatchSearch::Stop stop) {
  return stop == CriticalBatchSearch::Stop::gradients ? "gradients" : "minibatches";
}

std::string verdict_of(const CriticalBatchFindings& f) {
  if (f.found.batch == 0) return format("none came to {} within {} steps\n", f.how.epsilon, f.how.most_steps);
  // The first gradient is one of the saved weights: no step was taken.
  const auto idle = [](const CriticalBatch::Run& run) { return run.steps == 1; };
  if (std::all_of(f.found.runs.begin(), f.found.runs.end(), idle))
    return format(
        "the saved weights are at {} already: b* says nothing; a smaller --epsilon or earlier weights would\n",
        f.how.epsilon);
  const bool edge = f.found.batch == f.how.batches.front() || f.found.batch == f.how.batches.back();
  return format(
      "b* = {}{}: the published bound b*·ε²/η is {}, {} times the C² of the saved weights ({}), {} times that "
      "where its run ended ({})\n",
      f.found.batch, edge ? " (the grid's edge)" : "", number_text(f.found.bound, "%.4g"),
      number_text(ratio(f.found.bound, f.c2), "%.3g"), number_text(f.c2, "%.4g"),
      number_text(ratio(f.found.bound, f.c2_at_end), "%.3g"), number_text(f.c2_at_end, "%.4g"));
}

}  // namespace

Options critical_batch_options(CriticalBatchRequest& r) {
  return {
      {{"critical-batch", "Critical batch",
        "SGD from these weights with batches of several sizes: which takes the fewest samples, and its bound on C²",
        nullptr},
       &r.asked,
       {}},
      {{"critical-stop", "Critical batch",
        "what comes to --epsilon: the root mean square of the full gradients' norms, or, as published, the mean of the "
        "minibatches'",
        nullptr},
       &r.stop,
       one_of({"gradients", "minibatches"})},
      {{"critical-batches", "Critical batch", "sizes of batches, such as 8,16,32",
        "powers of two from 8 to 1024, at most all images"},
       &r.batches,
       {}},
      {{"epsilon", "Critical batch", "the gradient's norm to come to", nullptr}, &r.epsilon, above(0)},
      {{"most-steps", "Critical batch", "of a run", nullptr}, &r.most_steps, at_least(1)},
      {{"repeats", "Critical batch", "runs of each size, whose steps are averaged", nullptr}, &r.repeats, at_least(1)},
  };
}

CriticalBatchSearch search_of(const CriticalBatchRequest& r, double learning_rate, int64_t images) {
  require<UsageError>(learning_rate > 0, "mollify noise: --lr: {} given with --critical-batch; needs above 0",
                      learning_rate);
  CriticalBatchSearch how{
      .batches = {},
      .learning_rate = learning_rate,
      .epsilon = r.epsilon,
      .stop = r.stop == "gradients" ? CriticalBatchSearch::Stop::gradients : CriticalBatchSearch::Stop::minibatches,
      .most_steps = r.most_steps,
      .repeats = r.repeats};
  if (r.batches.empty()) {
    for (int64_t batch = std::min(kSmallest, images); batch <= std::min(kLargest, images); batch *= 2)
      how.batches.push_back(batch);
    return how;
  }
  const auto given = rising_numbers(r.batches);
  require<UsageError>(given && given->back() <= images,
                      "mollify noise: --critical-batches: {} given; needs rising whole numbers between commas, such as "
                      "8,16,32, at most the {} images",
                      r.batches, images);
  how.batches = *given;
  return how;
}

int64_t most_images(const CriticalBatchSearch& how, int64_t images) {
  const int64_t full = how.stop == CriticalBatchSearch::Stop::gradients ? images : 0;
  int64_t sum = 0;
  for (const int64_t batch : how.batches) sum += (batch + full) * how.most_steps * how.repeats;
  return sum;
}

CriticalBatchFindings critical_batch_of(smoothing::GradientNoise& noise, const Tensor& weights,
                                        const CriticalBatchSearch& how) {
  const auto minibatch = [&](const Tensor& w, int64_t batch, int64_t number) {
    return cast(noise.batch_gradient_at(w, batch, number), w.dtype());
  };
  const auto full = [&](const Tensor& w) { return noise.full_gradient_at(w); };
  return {how, smoothing::critical_batch(weights, minibatch, full, how)};
}

std::string text_of(const CriticalBatchFindings& f) {
  std::string text =
      format("SGD at learning rate {} until the {} to {}:\n", f.how.learning_rate,
             f.how.stop == CriticalBatchSearch::Stop::gradients ? "root mean square of the full gradients' norms comes"
                                                                : "mean of the minibatches' gradients' norms comes",
             f.how.epsilon);
  Table table({"batch b", "steps T(b)", "samples b·T(b)"});
  for (const CriticalBatch::Run& run : f.found.runs) {
    const bool ended = std::isfinite(run.steps);
    table.add({std::to_string(run.batch), ended ? number_text(run.steps, "%.6g") : "-",
               ended ? number_text(samples_of(run), "%.6g") : "-"});
  }
  text += table.text() + verdict_of(f);
  text += format("The paper has no C² beside its bound. Its Table 2 (CIFAR-100, ε {}):\n", kPublishedEpsilon);
  Table published({"network", "learning rate", "b*", "bound", "in the one at .01"});
  double first = 0;
  for (const auto& row : kPublished) {
    if (row.learning_rate == 0.01) first = row.bound();
    published.add({row.network, format("{}", row.learning_rate), std::to_string(row.batch),
                   number_text(row.bound(), "%.4g"), number_text(row.bound() / first, "%.3g")});
  }
  return text + published.text();
}

ordered_json json_of(const CriticalBatchFindings& f) {
  ordered_json out = {{"stop", name_of(f.how.stop)},
                      {"learning_rate", f.how.learning_rate},
                      {"epsilon", f.how.epsilon},
                      {"most_steps", f.how.most_steps},
                      {"repeats", f.how.repeats},
                      {"runs", ordered_json::array()},
                      {"batch", f.found.batch > 0 ? ordered_json(f.found.batch) : ordered_json()},
                      {"bound", f.found.batch > 0 ? ordered_json(f.found.bound) : ordered_json()},
                      {"c2", json_number(f.c2)},
                      {"c2_at_end", json_number(f.c2_at_end)},
                      {"bound_by_c2", json_number(ratio(f.found.bound, f.c2))},
                      {"bound_by_c2_at_end", json_number(ratio(f.found.bound, f.c2_at_end))},
                      {"published", ordered_json::array()}};
  for (const CriticalBatch::Run& run : f.found.runs)
    out["runs"].push_back(
        {{"batch", run.batch}, {"steps", json_number(run.steps)}, {"samples", json_number(samples_of(run))}});
  for (const auto& row : kPublished)
    out["published"].push_back(
        {{"network", row.network}, {"learning_rate", row.learning_rate}, {"batch", row.batch}, {"bound", row.bound()}});
  return out;
}

void write(const CriticalBatchFindings& f, const std::string& title, const std::filesystem::path& folder) {
  std::string csv = "batch,steps,samples\n";
  Curve steps{"steps T(b)", 0, {}, {}}, samples{"samples b·T(b)", 1, {}, {}};
  for (const CriticalBatch::Run& run : f.found.runs) {
    const bool ended = std::isfinite(run.steps);
    csv +=
        format("{},{},{}\n", run.batch, csv_number(ended ? run.steps : NAN), csv_number(ended ? samples_of(run) : NAN));
    for (Curve* curve : {&steps, &samples}) curve->x.push_back(static_cast<double>(run.batch));
    steps.y.push_back(run.steps);
    samples.y.push_back(samples_of(run));
  }
  write_text(folder / "critical_batch.csv", csv);
  std::vector<CurvePanel> panels;
  for (const Curve* curve : {&steps, &samples}) {
    CurvePanel panel{curve->name, "batch b", "", {*curve}, 0, 0};
    std::tie(panel.low, panel.high) = range_of(panel.curves);
    panel.low = std::max(1.0, panel.low);  // also where no run ended
    panel.high = std::max(panel.low, panel.high);
    panel.logarithmic = panel.logarithmic_x = true;
    panels.push_back(panel);
  }
  write_text(folder / "critical_batch.svg", curves_svg(title, panels));
}

}  // namespace mollify::experiments
