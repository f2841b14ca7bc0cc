// Options of a run as JSON, and what of them may change when it goes on: for any list of described options.
// `each` stands for the list: each(visit) calls visit(description, field, rule) for every option.
#pragma once

#include <mollify/experiments/options.h>

#include <nlohmann/json.hpp>

namespace mollify::experiments {

namespace detail {

template <class T> nlohmann::ordered_json json_of_field(const T& field) { return field; }
inline nlohmann::ordered_json json_of_field(const std::optional<double>& field) {
  return field ? nlohmann::ordered_json(*field) : nlohmann::ordered_json();
}

template <class T> void set_field(T& field, const nlohmann::ordered_json& value) { field = value.get<T>(); }
inline void set_field(std::optional<double>& field, const nlohmann::ordered_json& value) {
  if (!value.is_null()) field = value.get<double>();
}

}  // namespace detail

template <class Each> nlohmann::ordered_json options_to_json(const Each& each) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  each([&](const Description& d, const auto& field, const Rule&) { out[d.name] = detail::json_of_field(field); });
  return out;
}

// Throws FormatError naming the file where an option is missing or of another kind.
template <class Each>
void options_from_json(const Each& each, const std::string& file, const nlohmann::ordered_json& stored) {
  try {
    each([&](const Description& d, auto& field, const Rule&) { detail::set_field(field, stored.at(d.name)); });
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: the run's options cannot be read: {}", file, error.what()));
  }
}

// The stored options of the run in `folder`, but for those given now that may differ. Throws UsageError, which starts
// with `command`, where one may not.
template <class Each>
nlohmann::ordered_json merged_options(const Each& each, const nlohmann::ordered_json& stored,
                                      const std::set<std::string>& given, const std::string& command,
                                      const std::string& folder) {
  const nlohmann::ordered_json now = options_to_json(each);
  nlohmann::ordered_json merged = stored;
  each([&](const Description& d, const auto&, const Rule&) {
    if (!given.count(d.name)) return;
    const nlohmann::ordered_json before = stored.value(d.name, nlohmann::ordered_json());
    require<UsageError>(d.free || before == now[d.name], "{}: --{}: {} given; the run in {} has {}", command, d.name,
                        now[d.name].dump(), folder, before.dump());
    merged[d.name] = now[d.name];
  });
  return merged;
}

}  // namespace mollify::experiments
