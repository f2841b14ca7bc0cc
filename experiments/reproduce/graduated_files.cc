// Tables as CSV and pictures of `mollify reproduce graduated`.
#include <mollify/experiments/reproduce/graduated_report.h>

#include <mollify/engine/error.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <tuple>

namespace mollify::experiments {
namespace {

using Findings = GraduatedFindings;

struct Line {
  std::string course, title;
  int64_t batch;
};

// One series of some trainings over another: means over the seeds with their deviations.
CurvePanel panel_of(const Findings& findings, const std::vector<Line>& lines, const std::string& title, const char* x,
                    const char* x_title, const char* y, bool logarithmic) {
  CurvePanel panel{.title = title, .x_title = x_title, .unit = "", .curves = {}, .low = 0, .high = 1};
  for (size_t i = 0; i < lines.size(); ++i) {
    Curve curve{lines[i].title, i, {}, {}};
    for (size_t epoch = 0; epoch < static_cast<size_t>(findings.epochs); ++epoch) {
      std::vector<double> ys, xs;
      for (int64_t seed = 0; seed < findings.seeds; ++seed) {
        const auto found = findings.results.find(graduated_key(lines[i].course, lines[i].batch, seed));
        if (found == findings.results.end() || found->second.series_at(y).size() <= epoch) continue;
        ys.push_back(found->second.series_at(y)[epoch]);
        xs.push_back(std::string(x) == "epoch" ? static_cast<double>(epoch + 1) : found->second.series_at(x)[epoch]);
      }
      if (ys.empty()) continue;
      const Summary summary = summary_of(ys);
      curve.x.push_back(xs[0]);
      curve.y.push_back(summary.mean);
      curve.deviation.push_back(summary.count > 1 ? summary.deviation : 0);
    }
    if (!curve.x.empty()) panel.curves.push_back(std::move(curve));
  }
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  panel.logarithmic = logarithmic && !panel.curves.empty();
  if (panel.logarithmic)
    for (const Curve& curve : panel.curves)
      for (const double value : curve.y)
        if (value > 0) panel.low = panel.low > 0 ? std::min(panel.low, value) : value;
  panel.logarithmic_x = std::string(x) == "updates";
  return panel;
}

std::string methods_picture(const Findings& findings, const std::string& title, const std::vector<Line>& lines) {
  return curves_svg(
      title, {panel_of(findings, lines, "test accuracy, %", "epoch", "epoch", "test_accuracy", false),
              panel_of(findings, lines, "test accuracy, %", "updates", "updates", "test_accuracy", false),
              panel_of(findings, lines, "test accuracy, %", "samples", "gradients of images", "test_accuracy", false),
              panel_of(findings, lines, "training loss, as it is trained", "epoch", "epoch", "train_loss", true),
              panel_of(findings, lines, "smoothing, rate/√batch", "epoch", "epoch", "degree", true)});
}

std::vector<Line> lines_of(const std::vector<GraduatedCourse>& courses,
                           const std::function<int64_t(const GraduatedCourse&)>& batch, bool names_batch) {
  std::vector<Line> lines;
  for (const GraduatedCourse& course : courses) {
    const int64_t first = batch(course);
    lines.push_back({course.name, course.title + (names_batch ? format(", from batch {}", first) : ""), first});
  }
  return lines;
}

std::string descent_picture(const Findings& findings) {
  const struct {
    const char *name, *title;
    bool of_sgd;
  } panels[] = {{"loss", "loss f", true}, {"apart", "distance of SGD's weights", true}};
  std::vector<CurvePanel> all;
  for (const auto& [name, title, of_sgd] : panels) {
    CurvePanel panel{.title = title, .x_title = "step", .unit = "", .curves = {}, .low = 0, .high = 1};
    const auto add = [&](const std::string& series, const std::string& curve_title, size_t style) {
      Curve curve{curve_title, style, {}, {}};
      for (size_t place = 0;; ++place) {
        std::vector<double> values;
        double step = 0;
        for (int64_t seed = 0; seed < findings.seeds; ++seed) {
          const auto found = findings.results.find(descent_key(seed));
          if (found == findings.results.end() || found->second.series_at(series).size() <= place) continue;
          values.push_back(found->second.series_at(series)[place]);
          step = found->second.series_at("step")[place];
        }
        if (values.empty()) break;
        const Summary summary = summary_of(values);
        curve.x.push_back(step);
        curve.y.push_back(summary.mean);
        curve.deviation.push_back(summary.count > 1 ? summary.deviation : 0);
      }
      if (!curve.x.empty()) panel.curves.push_back(std::move(curve));
    };
    for (size_t i = 0; i < std::size(kDescentMultiples); ++i)
      add(format("{}_{}", name, i), format("descent, {}δ", kDescentMultiples[i]), i);
    if (std::string(name) == "loss")
      add("loss_sgd", "SGD, mean of its runs", std::size(kDescentMultiples));
    else
      add("spread", "of SGD's weights from their mean", std::size(kDescentMultiples));
    std::tie(panel.low, panel.high) = range_of(panel.curves);
    all.push_back(std::move(panel));
  }
  return curves_svg(format("SGD beside descent on smoothed losses: {}", findings.title), all);
}

void write_csv(const Findings& findings, const std::filesystem::path& folder) {
  std::string results = "course,batch,seed,train_loss,train_accuracy,test_accuracy,updates,diverged\n",
              epochs =
                  "course,batch,seed,epoch,updates,samples,batch_now,rate,degree,train_loss,test_loss,"
                  "test_accuracy\n",
              descent = "seed,multiple,step,deviation,loss,apart,mean_apart,moved,sgd_loss,sgd_spread\n";
  for (const auto* list : {&graduated_methods(), &graduated_decays()})
    for (const GraduatedCourse& course : *list)
      for (const int64_t batch : std::set<int64_t>{findings.batch, findings.published_batch})
        for (int64_t seed = 0; seed < findings.seeds; ++seed) {
          const auto found = findings.results.find(graduated_key(course.name, batch, seed));
          if (found == findings.results.end()) continue;
          const std::string start = format("{},{},{}", course.name, batch, seed);
          results += start;
          for (const char* name : {"train_loss", "train_accuracy", "test_accuracy", "updates", "diverged"})
            results += "," + csv_number(found->second.at(name));
          results += "\n";
          for (size_t epoch = 0; epoch < found->second.series_at("updates").size(); ++epoch) {
            epochs += format("{},{}", start, epoch + 1);
            for (const char* name :
                 {"updates", "samples", "batch", "rate", "degree", "train_loss", "test_loss", "test_accuracy"})
              epochs += "," + csv_number(found->second.series_at(name)[epoch]);
            epochs += "\n";
          }
        }
  for (int64_t seed = 0; seed < findings.seeds; ++seed) {
    const auto found = findings.results.find(descent_key(seed));
    if (found == findings.results.end()) continue;
    const Results& cell = found->second;
    for (size_t i = 0; i < std::size(kDescentMultiples); ++i)
      for (size_t place = 0; place < cell.series_at("step").size(); ++place) {
        descent += format("{},{},{}", seed, kDescentMultiples[i], cell.series_at("step")[place]);
        for (const char* name : {"deviation", "loss", "apart", "mean", "moved"})
          descent += "," + csv_number(cell.series_at(format("{}_{}", name, i))[place]);
        descent += "," + csv_number(cell.series_at("loss_sgd")[place]) + "," +
                   csv_number(cell.series_at("spread")[place]) + "\n";
      }
  }
  write_text(folder / "results.csv", results);
  write_text(folder / "epochs.csv", epochs);
  write_text(folder / "descent.csv", descent);
}

}  // namespace

std::vector<std::string> graduated_files() {
  return {"results.csv", "epochs.csv", "descent.csv", "methods.svg", "published.svg", "decays.svg", "descent.svg"};
}

void write_files(const Findings& findings, const std::filesystem::path& folder) {
  write_csv(findings, folder);
  const auto equal = [&](const GraduatedCourse&) { return findings.batch; };
  const auto published = [&](const GraduatedCourse& course) {
    return course.batch_share > 0 ? findings.batch : findings.published_batch;
  };
  write_text(folder / "methods.svg",
             methods_picture(findings, format("Methods from batch {}: {}", findings.batch, findings.title),
                             lines_of(graduated_methods(), equal, false)));
  write_text(folder / "published.svg",
             methods_picture(findings, format("Methods from the published batches: {}", findings.title),
                             lines_of(graduated_methods(), published, true)));
  write_text(folder / "decays.svg", methods_picture(findings, format("Decays of the rate: {}", findings.title),
                                                    lines_of(graduated_decays(), equal, false)));
  write_text(folder / "descent.svg", descent_picture(findings));
}

}  // namespace mollify::experiments
