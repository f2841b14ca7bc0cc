#include <mollify/engine/error.h>
#include <mollify/experiments/reproduce/functions_report.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace mollify::experiments::functions_study {
namespace {

void write_csv(const Findings& f, const std::filesystem::path& folder) {
  std::string smoothed = "function,noise,way,form_error,sampled_errors,distance,few,many",
              profiles = "function,noise,delta,x,value\n",
              nice = "function,noise,delta,minimiser,step,least_curvature,nice\n",
              ends = "function,method,seed,value,distance,values,gradients\n";
  std::vector<double> deltas{0};
  deltas.insert(deltas.end(), f.profiling.deltas.begin(), f.profiling.deltas.end());
  for (const double delta : deltas) smoothed += format(",minima_at_{}", delta);
  smoothed += "\n";
  const std::vector<double> x = profile_points(f.profiling);
  for (const TestFunction& function : f.functions) {
    for (const NamedNoise& noise : noises()) {
      const std::string start = format("{},{}", function.name, noise.name);
      const Results &found = f.of(function, noise), &levels = f.result(niceness_key(function, noise));
      smoothed += format("{},{}", start, way_text(found.at("way")));
      for (const char* number : {"form_error", "sampled_errors", "distance", "few", "many"})
        smoothed += "," + csv_number(found.at(number));
      for (size_t i = 0; i < deltas.size(); ++i) {
        const auto& minima = found.series_at("minima");
        smoothed += "," + (i < minima.size() ? csv_number(minima[i]) : "");
        const auto& values = found.series_at(profile_name(deltas[i]));
        for (size_t j = 0; j < values.size(); ++j)
          profiles += format("{},{},{},{}\n", start, deltas[i], csv_number(x[j]), csv_number(values[j]));
      }
      smoothed += "\n";
      for (size_t m = 0; m < levels.series_at("delta").size(); ++m) {
        nice += start;
        for (const char* series : {"delta", "minimiser", "step", "curvature", "nice"})
          nice += "," + csv_number(levels.series_at(series)[m]);
        nice += "\n";
      }
    }
    for (const Descent& how : descents_of(function))
      for (int64_t seed = 0; seed < f.seeds; ++seed) {
        const Results& end = f.result(descent_key(function, how, seed));
        ends += format("{},{},{}", function.name, how.name, seed);
        for (const char* number : {"value", "distance", "values", "gradients"})
          ends += "," + csv_number(end.at(number));
        ends += "\n";
      }
  }
  write_text(folder / "smoothed.csv", smoothed);
  write_text(folder / "profiles.csv", profiles);
  write_text(folder / "niceness.csv", nice);
  write_text(folder / "descent.csv", ends);
}

// A panel for each noise as published under which f_δ is finite.
std::string profiles_picture(const Findings& f, const TestFunction& function) {
  std::vector<CurvePanel> panels;
  const std::vector<double> x = profile_points(f.profiling);
  for (const NamedNoise& noise : noises()) {
    const Results& found = f.of(function, noise);
    CurvePanel panel{noise.name, "x", "", {{"f", 0, x, found.series_at(profile_name(0))}}, 0, 0};
    if (noise.centred || panel.curves[0].y.empty()) continue;
    for (size_t i = 0; i < f.profiling.deltas.size(); ++i) {
      const double delta = f.profiling.deltas[i];
      panel.curves.push_back({format("δ = {}", delta), i + 1, x, found.series_at(profile_name(delta))});
    }
    std::tie(panel.low, panel.high) = range_of(panel.curves);
    panels.push_back(panel);
  }
  return curves_svg(format("{}, smoothed with noise δu", function.name), panels);
}

// Of the noises as published; far below 0 all is the same.
std::string niceness_picture(const Findings& f) {
  std::vector<CurvePanel> panels;
  for (const TestFunction& function : f.functions) {
    CurvePanel panel{function.name, "δ", "", {}, -2, 4, 4};
    size_t number = 0;
    for (const NamedNoise& noise : noises()) {
      const Results& found = f.result(niceness_key(function, noise));
      const auto &falling = found.series_at("delta"), &curvature = found.series_at("curvature");
      if (!noise.centred) ++number;
      if (noise.centred || falling.empty()) continue;
      Curve curve{noise.name, number - 1, {falling.rbegin(), falling.rend()}, {}};
      for (auto c = curvature.rbegin(); c != curvature.rend(); ++c) curve.y.push_back(std::clamp(*c, -2.0, 4.0));
      panel.curves.push_back(curve);
    }
    panel.logarithmic_x = true;
    if (!panel.curves.empty()) panels.push_back(panel);
  }
  return curves_svg("Least curvature of f_δ within 3δ of its minimiser, cut off at −2 and 4", panels);
}

std::string descent_picture(const Findings& f) {
  std::vector<CurvePanel> panels;
  for (const TestFunction& function : f.functions) {
    CurvePanel panel{function.name, "level", "", {}, 0, 0};
    size_t number = 0;
    for (const Descent& how : descents_of(function)) {
      Curve curve{how.title, number++, {}, {}};
      for (size_t level = 0; level < f.result(descent_key(function, how, 0)).series_at("value").size(); ++level) {
        std::vector<double> values;
        for (int64_t seed = 0; seed < f.seeds; ++seed)
          if (const auto& all = f.result(descent_key(function, how, seed)).series_at("value"); level < all.size())
            values.push_back(all[level]);
        curve.x.push_back(static_cast<double>(level + 1));
        curve.y.push_back(std::max(1e-12, quantile(values, 0.5)));
      }
      panel.curves.push_back(curve);
    }
    panel.logarithmic = true;
    std::tie(panel.low, panel.high) = range_of(panel.curves);
    panels.push_back(panel);
  }
  return curves_svg(
      format("Graduated optimisation in {} dimensions, median of {} starts, not below 1e-12", f.dimension, f.seeds),
      panels);
}

std::string profiles_file(const std::string& function) { return format("profiles-{}.svg", function); }

}  // namespace

const std::vector<std::string>& functions_files() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = {"smoothed.csv", "profiles.csv", "niceness.csv",
                                    "descent.csv",  "niceness.svg", "descent.svg"};
    for (const TestFunction& function : smoothing::test_functions())
      if (is_of_one_number(function)) all.push_back(profiles_file(function.name));
    return all;
  }();
  return names;
}

void write_files(const Findings& findings, const std::filesystem::path& folder) {
  write_csv(findings, folder);
  for (const TestFunction& function : findings.functions)
    if (is_of_one_number(function))
      write_text(folder / profiles_file(function.name), profiles_picture(findings, function));
  write_text(folder / "niceness.svg", niceness_picture(findings));
  write_text(folder / "descent.svg", descent_picture(findings));
}

}  // namespace mollify::experiments::functions_study
