#include <mollify/experiments/sharpness.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/run_folder.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/smoothing/curvature.h>
#include <mollify/smoothing/sharpness.h>

#include <algorithm>
#include <cstdio>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using smoothing::Eigenvalues;
using smoothing::Measured;
using smoothing::Spectrum;

struct Found {
  smoothing::Sharpness worst, average;
  std::optional<Eigenvalues> eigenvalues;
  std::optional<Measured> trace;
  std::optional<Spectrum> density;
};

// Measures one after the other, and shows how far each is.
Found measured(const SharpnessCommand& command, const WeightsOnData& on) {
  StatusLine status;
  std::string what;
  int64_t done = 0;
  const auto begin = [&](const char* name) {
    what = name;
    done = 0;
  };
  const smoothing::SampleLosses losses =
      on.losses({.normalised_outputs = command.normalised_outputs}, [&](int64_t images) {
        done += images;
        if (status.due()) status.update(format("{}: {} images", what, done));
      });
  const auto seed = static_cast<uint64_t>(command.seed);
  const Tensor& w = on.weights();
  Found found;
  begin("worst case, batches");
  found.worst =
      smoothing::worst_case_sharpness(losses, w,
                                      {.norm = command.norm == "l2" ? smoothing::Norm::l2 : smoothing::Norm::linf,
                                       .rho = command.rho,
                                       .adaptive = command.adaptive,
                                       .batch = command.batch,
                                       .steps = command.steps,
                                       .restarts = command.restarts,
                                       .seed = seed});
  begin("average");
  found.average = smoothing::average_sharpness(
      losses, w, {.rho = command.rho, .adaptive = command.adaptive, .samples = command.samples, .seed = seed});
  const smoothing::SymmetricMatrix hessian = smoothing::hessian_of(losses, w);
  begin("eigenvalues");
  if (command.eigenvalues > 0)
    found.eigenvalues = smoothing::largest_eigenvalues(
        hessian, command.eigenvalues,
        {.products = std::min(command.lanczos_steps, w.size()), .tolerance = 1e-4, .seed = seed});
  begin("trace");
  if (command.trace > 0) found.trace = smoothing::trace_of(hessian, command.trace, seed);
  begin("density");
  if (command.density > 0)
    found.density = smoothing::spectral_density(hessian, command.density, command.lanczos_steps, seed);
  return found;
}

std::string with_error(double value, double error) {
  return number_text(value, "%.5g") + " ± " + number_text(error, "%.2g");
}

void print_text(const SharpnessCommand& command, const WeightsOnData& on, const Found& found) {
  std::printf("%s%s\n", on.about().c_str(), command.normalised_outputs ? ", outputs normalised" : "");
  std::printf("%s\n", format("neighbourhood of radius {}{}", command.rho,
                             command.adaptive ? ", in units of each weight's magnitude" : "")
                          .c_str());
  Table table({"", "rise of the loss"});
  table.add(
      {format("worst case, {}, mean of {} batches of {}", command.norm, found.worst.batches.size(), command.batch),
       with_error(found.worst.value, found.worst.standard_error)});
  table.add({format("average, normal noise, {} samples", command.samples),
             with_error(found.average.value, found.average.standard_error)});
  std::printf("%s", table.text().c_str());
  if (found.eigenvalues) {
    Table values({"largest eigenvalues of the Hessian", "error at most"});
    for (size_t i = 0; i < found.eigenvalues->values.size(); ++i)
      values.add(
          {number_text(found.eigenvalues->values[i], "%.6g"), number_text(found.eigenvalues->errors[i], "%.2g")});
    std::printf("%s%s\n", values.text().c_str(),
                format("after {} products; the smallest one seen is {}", found.eigenvalues->products,
                       number_text(found.eigenvalues->smallest, "%.4g"))
                    .c_str());
  }
  if (found.trace)
    std::printf("trace of the Hessian %s\n", with_error(found.trace->value, found.trace->standard_error).c_str());
}

void print_json(const SharpnessCommand& command, const WeightsOnData& on, const Found& found) {
  ordered_json out = {{"weights", command.request.weights},
                      {"model", on.network().name()},
                      {"data", on.data()},
                      {"images", on.images()},
                      {"loss", on.loss()},
                      {"norm", command.norm},
                      {"rho", command.rho},
                      {"adaptive", command.adaptive},
                      {"normalised_outputs", command.normalised_outputs},
                      {"worst_case", found.worst.value},
                      {"worst_case_error", found.worst.standard_error},
                      {"average", found.average.value},
                      {"average_error", found.average.standard_error}};
  if (found.eigenvalues) {
    out["eigenvalues"] = found.eigenvalues->values;
    out["eigenvalue_errors"] = found.eigenvalues->errors;
  }
  if (found.trace) {
    out["trace"] = found.trace->value;
    out["trace_error"] = found.trace->standard_error;
  }
  std::printf("%s\n", out.dump().c_str());
}

void write_density(const fs::path& folder, const std::string& title, const Spectrum& spectrum) {
  constexpr int kPoints = 400;
  constexpr double kShare = 0.01;  // of the range: the deviation of each node's normal density
  const auto [least, most] = std::minmax_element(spectrum.nodes.begin(), spectrum.nodes.end());
  const double range = std::max(*most - *least, 1e-12), deviation = kShare * range;
  std::string csv = "eigenvalue,density\n";
  CurvePanel panel{"Density of the Hessian's eigenvalues", "eigenvalue", "", {{"density", 0, {}, {}}}, 0, 0};
  for (int i = 0; i <= kPoints; ++i) {
    const double at = *least - 3 * deviation + (range + 6 * deviation) * i / kPoints;
    panel.curves[0].x.push_back(at);
    panel.curves[0].y.push_back(spectrum.density(at, deviation));
    csv += format("{},{}\n", csv_number(at), csv_number(panel.curves[0].y.back()));
  }
  write_text(folder / "density.csv", csv);
  panel.logarithmic = true;
  panel.high = range_of(panel.curves).second;
  panel.low = 1e-6 * panel.high;
  for (double& y : panel.curves[0].y) y = std::max(y, panel.low);
  write_text(folder / "density.svg", curves_svg(title, {panel}));
}

void write_files(const SharpnessCommand& command, const WeightsOnData& on, const Found& found) {
  make_folder("mollify sharpness: --out", command.out);
  const fs::path folder = command.out;
  std::string csv = "batch,rise\n";
  for (size_t i = 0; i < found.worst.batches.size(); ++i)
    csv += format("{},{}\n", i, csv_number(found.worst.batches[i]));
  write_text(folder / "sharpness.csv", csv);
  if (found.eigenvalues) {
    csv = "eigenvalue,error\n";
    for (size_t i = 0; i < found.eigenvalues->values.size(); ++i)
      csv += format("{},{}\n", csv_number(found.eigenvalues->values[i]), csv_number(found.eigenvalues->errors[i]));
    write_text(folder / "eigenvalues.csv", csv);
  }
  if (found.density) write_density(folder, on.about(), *found.density);
}

}  // namespace

int sharpness_command(const SharpnessCommand& command) {
  require<UsageError>(command.trace != 1, "mollify sharpness: --trace: 1 given; needs 0, or at least 2");
  require<UsageError>(command.density == 0 || !command.out.empty(),
                      "mollify sharpness: --density: {} given; it needs --out, where its table and picture go",
                      command.density);
  use_threads(command.threads);
  catch_interrupts();
  const WeightsOnData on("sharpness", command.request, use_device("sharpness", command.device));
  Found found;
  try {
    found = measured(command, on);
  } catch (const Interrupted&) {
    std::fprintf(stderr, "mollify sharpness: interrupted; nothing is written\n");
    return 130;
  }
  if (!command.out.empty()) write_files(command, on, found);
  command.json ? print_json(command, on, found) : print_text(command, on, found);
  return 0;
}

Options options_of(SharpnessCommand& c) {
  Options all = weights_on_data_options(c.request);
  add(all,
      {{{"norm", "Sharpness", "of the neighbourhood", nullptr}, &c.norm, one_of({"linf", "l2"})},
       {{"rho", "Sharpness", "its radius, and the deviation of the noise of the average", nullptr}, &c.rho, above(0)},
       {{"adaptive", "Sharpness", "in units of each weight's magnitude", nullptr}, &c.adaptive, {}},
       {{"normalised-outputs", "Sharpness", "divide each image's outputs by their root mean square", nullptr},
        &c.normalised_outputs,
        {}},
       {{"batch", "Sharpness", "images of a batch, whose worst case is looked for", nullptr}, &c.batch, at_least(1)},
       {{"steps", "Sharpness", "steps of the ascent", nullptr}, &c.steps, at_least(1)},
       {{"restarts", "Sharpness", "runs of the ascent", nullptr}, &c.restarts, at_least(1)},
       {{"samples", "Sharpness", "samples of the average's noise, in antithetic pairs", nullptr},
        &c.samples,
        at_least(4)},
       {{"eigenvalues", "Curvature", "the N largest of the Hessian", nullptr}, &c.eigenvalues, at_least(0)},
       {{"lanczos-steps", "Curvature", "products with the Hessian for them at most, and for each probe of the density",
         nullptr},
        &c.lanczos_steps,
        at_least(1)},
       {{"trace", "Curvature", "the Hessian's trace from N probes", nullptr}, &c.trace, at_least(0)},
       {{"density", "Curvature", "the density of its eigenvalues from N probes, into --out", nullptr},
        &c.density,
        at_least(0)},
       {{"seed", "Run", "seed of starts, noise and probes", nullptr}, &c.seed, at_least(0)}});
  add(all, device_options(c.device, "Run"));
  add(all,
      {threads_option(c.threads, "Run"),
       {{"out", "Run", "folder for sharpness.csv, eigenvalues.csv, density.csv and density.svg", "none"}, &c.out, {}},
       {{"json", "Run", "print one JSON object", nullptr, true}, &c.json, {}}});
  return all;
}

}  // namespace mollify::experiments
