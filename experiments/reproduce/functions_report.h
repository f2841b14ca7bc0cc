// How `mollify reproduce functions` tells what came out: tables and claims here, CSV files and pictures in
// functions_files.cc.
#pragma once

#include <mollify/experiments/reproduce/functions_cells.h>
#include <mollify/experiments/reproduce/report.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments::functions_study {

// Keys of cells.
std::string smoothed_key(const TestFunction& function, const NamedNoise& noise);
std::string niceness_key(const TestFunction& function, const NamedNoise& noise);
std::string descent_key(const TestFunction& function, const Descent& how, int64_t seed);
inline constexpr const char* kSgd = "sgd beside descent";

// The descents that a function has cells of: all of Rastrigin's, the sampled ones of the others'.
std::vector<Descent> descents_of(const TestFunction& function);

struct Findings {
  std::string heading;
  std::vector<TestFunction> functions;
  Profiling profiling;
  int64_t seeds, dimension;
  double sgd_delta, sgd_rate;
  std::map<std::string, Results> results;  // by key

  const Results& result(const std::string& key) const;  // empty where there is none
  const Results& of(const TestFunction& function, const NamedNoise& noise) const;
  std::vector<double> over_seeds(const TestFunction& function, const Descent& how, const char* number) const;
};
const char* way_text(double way);  // of results
Report report_of(const Findings& findings);
const std::vector<std::string>& functions_files();
void write_files(const Findings& findings, const std::filesystem::path& folder);

}  // namespace mollify::experiments::functions_study
