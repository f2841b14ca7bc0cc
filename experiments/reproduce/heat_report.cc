#include <mollify/experiments/reproduce/heat_report.h>

#include <mollify/engine/error.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace mollify::experiments {
namespace {

// Of every seed that has it.
Summary of(const HeatFindings& findings, const std::string& method,
           const std::function<double(const Results&)>& number) {
  std::vector<double> numbers;
  for (int64_t seed = 0; seed < findings.seeds; ++seed) {
    const auto found = findings.results.find(heat_key(method, seed));
    numbers.push_back(found == findings.results.end() ? NAN : number(found->second));
  }
  return summary_of(numbers);
}

Summary number(const HeatFindings& findings, const std::string& method, const char* which) {
  return of(findings, method, [&](const Results& results) { return results.at(which); });
}

// Share of images with at least this radius, %.
double share_beyond(const std::vector<double>& radii, double radius) {
  if (radii.empty()) return NAN;
  const auto beyond = std::count_if(radii.begin(), radii.end(), [&](double r) { return r >= radius; });
  return 100 * static_cast<double>(beyond) / static_cast<double>(radii.size());
}

Summary certified(const HeatFindings& findings, const std::string& method, double radius) {
  return of(findings, method,
            [&](const Results& results) { return share_beyond(results.series_at("certified"), radius); });
}

// Distances; what is not broken, NaN once read from a file, is beyond all of them.
std::vector<double> distances(const Results& results, const char* which) {
  std::vector<double> all = results.series_at(which);
  for (double& one : all)
    if (std::isnan(one)) one = INFINITY;
  return all;
}

double median_distance(const Results& results, const char* which) {
  std::vector<double> all = distances(results, which);
  if (all.empty()) return NAN;
  std::sort(all.begin(), all.end());
  const double middle = all[all.size() / 2];
  return std::isinf(middle) ? NAN : middle;
}

// Names and titles of what has results.
std::vector<std::pair<std::string, std::string>> rows() {
  std::vector<std::pair<std::string, std::string>> all;
  for (const HeatMethod& method : heat_methods()) all.emplace_back(method.name, method.title);
  all.emplace_back(kHeatMoments, "propagated moments of the baseline");
  return all;
}

Report claims(const HeatFindings& findings) {
  Report report;
  report.add("What the paper says. A claim holds beyond two standard errors.\n");
  Table table({"claim", "difference", ""});
  const auto claim = [&](const std::string& text, const Summary& less, const Summary& more, const char* digits) {
    table.add({text, difference_text(more, less, digits), to_string(below(less, more))});
  };
  for (const char* heat : {"heat-0.5", "heat-1", "heat-5"}) {
    claim(format("{} is nearer to the average than the baseline", heat),
          scaled(number(findings, heat, "distance"), 100), scaled(number(findings, "baseline", "distance"), 100),
          "%.2f");
    claim(format("{} is nearer to it than propagated moments", heat), scaled(number(findings, heat, "distance"), 100),
          scaled(number(findings, kHeatMoments, "distance"), 100), "%.2f");
    for (const double radius : {findings.noise, 2 * findings.noise}) {
      const std::string at = number_text(radius, "%.3g");
      claim(format("{} certifies more than randomized smoothing at {}", heat, at),
            certified(findings, "gaussian", radius), certified(findings, heat, radius), "%.1f");
      claim(format("{} certifies more than the baseline at {}", heat, at), certified(findings, "baseline", radius),
            certified(findings, heat, radius), "%.1f");
    }
    const auto ddn = [&](const char* method) {
      return of(findings, method, [](const Results& results) { return median_distance(results, "ddn"); });
    };
    claim(format("DDN goes farther on {} than on randomized smoothing", heat), ddn("gaussian"), ddn(heat), "%.3f");
    claim(format("DDN goes farther on {} than on the baseline", heat), ddn("baseline"), ddn(heat), "%.3f");
  }
  claim("the noiseless SmoothAdv certifies less than SmoothAdv at the noise's deviation",
        certified(findings, "smoothadv-noiseless", findings.noise), certified(findings, "smoothadv", findings.noise),
        "%.1f");
  report.add(table);
  report.add(
      format("One pass an answer, as the paper says, where votes take {}. In training HeatSmoothing takes {} times the "
             "baseline's steps, as the paper says, but each step has {} passes.\n",
             findings.trials, findings.rounds, findings.repeats + 2));
  return report;
}

}  // namespace

const std::vector<HeatMethod>& heat_methods() {
  static const std::vector<HeatMethod> methods = {
      {"baseline", "baseline", "natural", 0, false},
      {"gaussian", "randomized smoothing", "gaussian", 0, true},
      {"smoothadv", "SmoothAdv", "smoothadv", 0, true},
      {"smoothadv-noiseless", "SmoothAdv as the paper trained it", "smoothadv", 0, true},
      {"heat-0.5", "HeatSmoothing, lambda 0.5", "heat", 0.5, false},
      {"heat-1", "HeatSmoothing, lambda 1", "heat", 1, false},
      {"heat-5", "HeatSmoothing, lambda 5", "heat", 5, false},
  };
  return methods;
}

std::string heat_key(const std::string& method, int64_t seed) { return format("{} seed={}", method, seed); }

Report report_of(const HeatFindings& findings) {
  Report report;
  report.add(findings.heading);
  report.add(
      "Distance to the baseline's average over the noise, of outputs: mean squared distance over mean square, % "
      "(the paper's claim is that HeatSmoothing is that average); accuracy of one pass.\n");
  std::vector<std::string> columns = {"", "distance", "accuracy, %"};
  if (findings.top > 1) columns.push_back(format("among the first {}, %", findings.top));
  columns.push_back("passes an answer");
  Table averages(columns);
  for (const auto& [name, title] : rows()) {
    const bool votes = std::any_of(heat_methods().begin(), heat_methods().end(),
                                   [&](const HeatMethod& m) { return m.stochastic && m.name == name; });
    std::vector<std::string> row = {title, with_deviation(scaled(number(findings, name, "distance"), 100), "%.3g"),
                                    with_deviation(number(findings, name, "natural"), "%.2f")};
    if (findings.top > 1) row.push_back(with_deviation(number(findings, name, "in_top"), "%.2f"));
    row.push_back(votes ? std::to_string(findings.trials) : name == kHeatMoments ? "256" : "1");
    averages.add(row);
  }
  report.add(averages);
  const std::string what =
      findings.top > 1 ? format("certified is that the label is among the {} most frequent classes", findings.top)
                       : "the class comes from one pass, or from votes where answers are votes";
  report.add(
      format("Certified accuracy by votes under noise, %, of all images, an abstention being wrong (figures 1 and 2); "
             "{}. It is the smoothed network's, of all methods.\n",
             what));
  std::vector<std::string> heading = {"l2 radius"};
  for (int i = 0; i <= 4; ++i) heading.push_back(number_text(findings.noise * i / 2, "%.3g"));
  Table certified_table(heading);
  for (const HeatMethod& method : heat_methods()) {
    std::vector<std::string> row = {method.title};
    for (int i = 0; i <= 4; ++i)
      row.push_back(with_deviation(certified(findings, method.name, findings.noise * i / 2), "%.1f"));
    certified_table.add(row);
  }
  report.add(certified_table);
  const std::string among = findings.top > 1 ? format(", of the label among the first {}", findings.top) : "";
  report.add(
      format("Radii of right images if outputs were an exact average{}: estimates, no certificates (table {}: the "
             "paper's bound, and the tighter form by quantiles); and median l2 distances of attacks, of images that "
             "are right (tables 3 and 4; -: fewer than half are broken).\n",
             among, findings.top > 1 ? 2 : 1));
  Table attacks({"", "bound, mean", "median", "by quantiles", "DDN", "PGD"});
  for (const HeatMethod& method : heat_methods()) {
    const auto median = [&](const char* which) {
      return with_deviation(
          of(findings, method.name, [&](const Results& results) { return median_distance(results, which); }), "%.3f");
    };
    attacks.add({method.title, with_deviation(number(findings, method.name, "l_bound"), "%.3f"),
                 with_deviation(number(findings, method.name, "l_bound_median"), "%.3f"),
                 with_deviation(number(findings, method.name, "tighter"), "%.3f"), median("ddn"), median("pgd")});
  }
  report.add(attacks);
  report.add(claims(findings));
  return report;
}

void write_csv(const HeatFindings& findings, const std::filesystem::path& folder) {
  std::string numbers = "method,seed,natural,in_top,distance,l_bound,l_bound_median,tighter,right,diverged\n",
              timings = "method,seed,training_seconds\n", series = "method,seed,measure,value\n";
  for (const auto& [name, title] : rows())
    for (int64_t seed = 0; seed < findings.seeds; ++seed) {
      const auto found = findings.results.find(heat_key(name, seed));
      if (found == findings.results.end()) continue;
      numbers += format("{},{}", name, seed);
      for (const char* number :
           {"natural", "in_top", "distance", "l_bound", "l_bound_median", "tighter", "right", "diverged"})
        numbers += "," + csv_number(found->second.at(number));
      numbers += "\n";
      timings += format("{},{},{}\n", name, seed, csv_number(found->second.at("seconds")));
      for (const char* which : {"certified", "ddn", "pgd"})
        for (const double value : found->second.series_at(which))
          series += format("{},{},{},{}\n", name, seed, which, std::isfinite(value) ? csv_number(value) : "");
    }
  write_text(folder / "results.csv", numbers);
  write_text(folder / "timings.csv", timings);
  write_text(folder / "curves.csv", series);
}

// Figures 1 to 4: certified accuracy over the radius, and accuracy under attacks over their distance; means over seeds.
std::string picture(const HeatFindings& findings) {
  std::vector<CurvePanel> panels;
  for (const auto& [which, title] : {std::pair{"certified", "certified accuracy by votes"},
                                     {"ddn", "accuracy under DDN"},
                                     {"pgd", "accuracy under PGD"}}) {
    CurvePanel panel{.title = title, .x_title = "l2 radius", .unit = " %", .curves = {}, .low = 0, .high = 100};
    const double end = which == std::string("certified") ? 3.5 * findings.noise : 8 * findings.noise;
    size_t number = 0;
    for (const HeatMethod& method : heat_methods()) {
      Curve curve{method.title, number++, {}, {}};
      for (int step = 0; step <= 100; ++step) {
        const double radius = end * step / 100;
        const Summary share =
            which == std::string("certified")
                ? certified(findings, method.name, radius)
                : of(findings, method.name, [&](const Results& results) {
                    return share_beyond(distances(results, which), radius) * results.at("right") / 100;
                  });
        if (share.count == 0) continue;
        curve.x.push_back(radius);
        curve.y.push_back(share.mean);
        curve.deviation.push_back(share.count > 1 ? share.deviation : 0);
      }
      if (!curve.x.empty()) panel.curves.push_back(std::move(curve));
    }
    panels.push_back(std::move(panel));
  }
  return curves_svg(findings.title, panels);
}

}  // namespace mollify::experiments
