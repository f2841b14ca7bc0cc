// What a cell of an experiment found.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <string>
#include <vector>

namespace mollify::experiments {

// Numbers may be NaN or infinite; both are NaN once read from a file.
struct Results {
  std::map<std::string, double> numbers = {};
  std::map<std::string, std::vector<double>> series = {};

  double at(const std::string& name) const;                             // NaN where there is no such number
  const std::vector<double>& series_at(const std::string& name) const;  // empty likewise
};

nlohmann::ordered_json json_of(const Results& results);
Results results_of(const nlohmann::ordered_json& json);  // throws nlohmann's exceptions for something else

}  // namespace mollify::experiments
