#include <mollify/experiments/reproduce/results.h>

#include <mollify/experiments/json.h>

#include <cmath>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

double number_of(const ordered_json& value) { return value.is_null() ? NAN : value.get<double>(); }  // JSON has no NaN

}  // namespace

double Results::at(const std::string& name) const {
  const auto found = numbers.find(name);
  return found == numbers.end() ? NAN : found->second;
}

const std::vector<double>& Results::series_at(const std::string& name) const {
  static const std::vector<double> none;
  const auto found = series.find(name);
  return found == series.end() ? none : found->second;
}

ordered_json json_of(const Results& results) { return {{"numbers", results.numbers}, {"series", results.series}}; }

Results results_of(const ordered_json& json) {
  Results results;
  for (const auto& [name, value] : json.at("numbers").items()) results.numbers[name] = number_of(value);
  for (const auto& [name, values] : json.at("series").items())
    for (const ordered_json& value : values) results.series[name].push_back(number_of(value));
  return results;
}

}  // namespace mollify::experiments
