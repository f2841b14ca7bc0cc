#include <mollify/experiments/noise.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/optim/graduated.h>
#include <mollify/smoothing/gradient_noise.h>
#include <mollify/smoothing/gradient_tails.h>

#include <cmath>
#include <cstdio>
#include <tuple>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using smoothing::NoiseEstimate;
using smoothing::Tails;

struct Named {
  std::string name;
  NoiseEstimate estimate;
};

struct Found {
  std::vector<Named> estimates;  // the first one is the most accurate
  double delta = NAN;            // of the learning rate and the batch
  // Upper bounds of it under momentum, with the gradient's norm here for its largest (optim/graduated.h).
  double heavy_ball = NAN, normalized_heavy_ball = NAN;
  std::optional<Tails> tails;
  std::optional<CriticalBatchFindings> critical;
};

constexpr double kLearningRate = 0.1;  // of the search for the critical batch, where none is given

std::string number(double value) { return number_text(value, "%.5g"); }
ordered_json json_number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

// Measures one after the other, and shows how far each is.
Found measured(const NoiseCommand& command, const WeightsOnData& on) {
  std::optional<smoothing::CriticalBatchSearch> search;  // what is wrong with it shows first
  if (command.critical_batch.asked)
    search = search_of(command.critical_batch, command.learning_rate.value_or(kLearningRate), on.images());
  std::optional<Progress> progress;
  int64_t done = 0;
  const auto begin = [&](const char* what, int64_t images) { progress.emplace(what, images, done = 0); };
  const smoothing::SampleLosses losses = on.losses({.batch_statistics = command.batch_statistics},
                                                   [&](int64_t images) { progress->update(done += images); });
  smoothing::GradientNoise noise(losses, on.weights(), static_cast<uint64_t>(command.seed));
  const int64_t small = command.batch, large = std::min(command.large_batch, on.images()), count = command.batches;
  Found found;
  if (command.single) {
    begin("single images", on.images());
    found.estimates.push_back({"all single images", noise.from_singles()});
  }
  begin("batches", small * count);
  found.estimates.push_back({format("{} batches of {}", count, small), noise.from_batches(small, count)});
  begin("batches of two sizes", (small + large) * count);
  found.estimates.push_back(
      {format("{} batches each of {} and {}", count, small, large), noise.from_two_batches(small, large, count)});
  if (command.learning_rate) {
    const NoiseEstimate& best = found.estimates[0].estimate;
    const double rate = *command.learning_rate, c2 = std::max(0.0, best.c2), c = std::sqrt(c2),
                 norm = std::sqrt(std::max(0.0, best.squared_gradient));
    found.delta = smoothing::degree_of_smoothing(rate, c2, small, on.images());
    found.heavy_ball = optim::heavy_ball_degree_bound(rate, small, command.momentum, c, norm);
    found.normalized_heavy_ball = optim::normalized_heavy_ball_degree_bound(rate, small, command.momentum, c, norm);
  }
  if (command.tails) {
    begin("tails", on.images() + small * command.draws);
    found.tails = smoothing::tails_of([&](int64_t draw) { return noise.deviation(small, draw); },
                                      {.draws = command.draws, .seed = static_cast<uint64_t>(command.seed)});
  }
  if (search) {
    begin("critical batch, at most", most_images(*search, on.images()));
    found.critical = critical_batch_of(noise, on.weights(), *search);
    found.critical->c2 = found.estimates[0].estimate.c2;
    if (found.critical->found.batch > 0) {
      smoothing::GradientNoise end(losses, found.critical->found.end, static_cast<uint64_t>(command.seed));
      begin("where it ended", command.single ? on.images() : small * count);
      found.critical->c2_at_end = (command.single ? end.from_singles() : end.from_batches(small, count)).c2;
    }
  }
  return found;
}

void print_text(const NoiseCommand& command, const WeightsOnData& on, const Found& found) {
  std::printf("%s%s\n", on.about().c_str(),
              command.batch_statistics ? ", batch norm by the batch's own statistics" : "");
  Table table({"from", "C²", "error", "‖∇f‖²", "C²/‖∇f‖²"});
  for (const auto& [name, e] : found.estimates)
    table.add({name, number(e.c2), number(e.standard_error), number(e.squared_gradient), number(e.noise_scale())});
  std::printf("%s", table.text().c_str());
  if (command.learning_rate)
    std::printf("degree of smoothing at learning rate %g, batch %lld: %s, deviation %s on every weight\n",
                *command.learning_rate, static_cast<long long>(command.batch), number(found.delta).c_str(),
                number(found.delta / std::sqrt(static_cast<double>(on.weights().size()))).c_str());
  if (command.learning_rate && command.momentum > 0)
    std::printf("under momentum %g at most %s, normalized momentum at most %s: upper bounds\n", command.momentum,
                number(found.heavy_ball).c_str(), number(found.normalized_heavy_ball).c_str());
  if (found.critical) std::printf("%s", text_of(*found.critical).c_str());
  if (!found.tails) return;
  const Tails& t = *found.tails;
  std::printf("%s\n",
              format("tails of {} batches of {}: Hill's index {} ± {}, {} of normal noise (below 4: heavy); excess "
                     "kurtosis {}, median {}, {} of all weights pooled as they are ({} of {} weights vary)",
                     t.draws, command.batch, number_text(t.hill, "%.3g"), number_text(t.hill_error, "%.2g"),
                     number_text(t.normal_hill, "%.3g"), number(t.kurtosis), number(t.median_kurtosis),
                     number(t.raw_kurtosis), t.weights - t.constant, t.weights)
                  .c_str());
}

void print_json(const NoiseCommand& command, const WeightsOnData& on, const Found& found) {
  ordered_json out = {{"weights", command.request.weights},
                      {"model", on.network().name()},
                      {"data", on.data()},
                      {"images", on.images()},
                      {"loss", on.loss()},
                      {"estimates", ordered_json::array()}};
  for (const auto& [name, e] : found.estimates)
    out["estimates"].push_back({{"from", name},
                                {"c2", json_number(e.c2)},
                                {"standard_error", json_number(e.standard_error)},
                                {"squared_gradient", json_number(e.squared_gradient)},
                                {"noise_scale", json_number(e.noise_scale())},
                                {"images", e.images}});
  if (command.learning_rate)
    out["degree_of_smoothing"] = {
        {"learning_rate", *command.learning_rate}, {"batch", command.batch}, {"delta", json_number(found.delta)}};
  if (command.learning_rate && command.momentum > 0)
    out["degree_of_smoothing"].update(
        {{"momentum", command.momentum},
         {"heavy_ball_upper_bound", json_number(found.heavy_ball)},
         {"normalized_heavy_ball_upper_bound", json_number(found.normalized_heavy_ball)}});
  if (found.tails)
    out["tails"] = {{"draws", found.tails->draws},
                    {"heavy", found.tails->heavy()},
                    {"excess_kurtosis", json_number(found.tails->kurtosis)},
                    {"median_excess_kurtosis", json_number(found.tails->median_kurtosis)},
                    {"raw_excess_kurtosis", json_number(found.tails->raw_kurtosis)},
                    {"hill", json_number(found.tails->hill)},
                    {"hill_error", json_number(found.tails->hill_error)},
                    {"hill_of_normal", json_number(found.tails->normal_hill)}};
  if (found.critical) out["critical_batch"] = json_of(*found.critical);
  std::printf("%s\n", out.dump().c_str());
}

void write_estimates(const fs::path& folder, const Found& found) {
  std::string csv = "from,c2,standard_error,squared_gradient,noise_scale,images\n";
  for (const auto& [name, e] : found.estimates)
    csv += format("{},{},{},{},{},{}\n", name, csv_number(e.c2), csv_number(e.standard_error),
                  csv_number(e.squared_gradient), csv_number(e.noise_scale()), e.images);
  write_text(folder / "noise.csv", csv);
}

void write_tails(const fs::path& folder, const std::string& title, const Tails& tails) {
  std::string csv = "normal,gradients\n";
  for (size_t i = 0; i < tails.normal.size(); ++i)
    csv += format("{},{}\n", csv_number(tails.normal[i]), csv_number(tails.empirical[i]));
  write_text(folder / "quantiles.csv", csv);
  CurvePanel panel{"Quantiles of gradients' noise", "of the normal distribution, in deviations", "", {}, 0, 0};
  panel.curves = {{"normal noise", 0, tails.normal, tails.normal}, {"gradients", 1, tails.normal, tails.empirical}};
  panel.curves[1].points = true;
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  write_text(folder / "quantiles.svg", curves_svg(title, {panel}));
}

}  // namespace

int noise_command(const NoiseCommand& command) {
  require<UsageError>(command.momentum == 0 || command.learning_rate,
                      "mollify noise: --momentum: {} given without --lr; needs the learning rate", command.momentum);
  use_threads(command.threads);
  catch_interrupts();
  const WeightsOnData on("noise", command.request, use_device("noise", command.device));
  Found found;
  try {
    found = measured(command, on);
  } catch (const Interrupted&) {
    std::fprintf(stderr, "mollify noise: interrupted; nothing is written\n");
    return 130;
  }
  if (!command.out.empty()) {
    make_folder("mollify noise: --out", command.out);
    write_estimates(command.out, found);
    if (found.critical) write(*found.critical, format("Critical batch: {}", on.about()), command.out);
    if (found.tails) write_tails(command.out, format("{}, batches of {}", on.about(), command.batch), *found.tails);
  }
  command.json ? print_json(command, on, found) : print_text(command, on, found);
  return 0;
}

Options options_of(NoiseCommand& c) {
  Options all = weights_on_data_options(c.request);
  add(all,
      {{{"batch", "Noise", "images of a batch, drawn without replacement", nullptr}, &c.batch, at_least(1)},
       {{"large-batch", "Noise", "of the larger ones for the estimate from two sizes, at most all", nullptr},
        &c.large_batch,
        at_least(2)},
       {{"batches", "Noise", "batches of each size", nullptr}, &c.batches, at_least(2)},
       {{"single", "Noise", "also C² itself, from the gradient of every single image", nullptr}, &c.single, {}},
       {{"lr", "Noise", "learning rate whose degree of smoothing at --batch is told, and that of --critical-batch",
         "none; 0.1 for --critical-batch"},
        &c.learning_rate,
        at_least(0)},
       {{"momentum", "Noise", "momentum, under which the degree of --lr is known as an upper bound", "none"},
        &c.momentum,
        Rule{.low = 0, .high = 1, .below_high = true}},
       {{"batch-statistics", "Noise",
         "batch norm by the batch's own statistics, as in training; else by those of the weights' file", nullptr},
        &c.batch_statistics,
        {}},
       {{"tails", "Tails", "kurtosis, tail index and quantiles of what batches differ by from all images", nullptr},
        &c.tails,
        {}},
       {{"draws", "Tails", "batches for them", nullptr}, &c.draws, at_least(2)},
       {{"seed", "Run", "seed of the batches", nullptr}, &c.seed, at_least(0)}});
  add(all, critical_batch_options(c.critical_batch));
  add(all, device_options(c.device, "Run"));
  add(all, {threads_option(c.threads, "Run"),
            {{"out", "Run", "folder for noise.csv, of tails quantiles.csv and .svg, and critical_batch.csv and .svg",
              "none"},
             &c.out,
             {}},
            {{"json", "Run", "print one JSON object", nullptr, true}, &c.json, {}}});
  return all;
}

}  // namespace mollify::experiments
