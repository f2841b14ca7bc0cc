// What `mollify reproduce heat` compares, and how it tells what came out: tables, claims, CSV files and pictures.
#pragma once

#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/results.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments {

// `lambda` above 0: HeatSmoothing. Stochastic ones answer by votes under noise.
struct HeatMethod {
  const char *name, *title, *objective;
  double lambda;
  bool stochastic;
};
const std::vector<HeatMethod>& heat_methods();          // in the paper's order, the baseline first
inline constexpr const char* kHeatMoments = "moments";  // propagate_moments of the baseline

std::string heat_key(const std::string& method, int64_t seed);  // of its cell

struct HeatFindings {
  std::string heading, title;  // of the report and the picture
  int64_t seeds, rounds, repeats, trials, top;
  double noise;
  std::map<std::string, Results> results;  // by heat_key; see heat_measures.h
};
Report report_of(const HeatFindings& findings);
void write_csv(const HeatFindings& findings, const std::filesystem::path& folder);  // results, timings and curves
std::string picture(const HeatFindings& findings);

}  // namespace mollify::experiments
