// Options as data. What a command, an experiment or a method can be told is a list that it gives: the command line,
// --help, stored settings and resumed runs all read it.
#pragma once

#include <mollify/engine/error.h>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace mollify::experiments {

// A command line that cannot be obeyed; the text is the whole line that the user sees:
// "mollify train: --epochs: …".
struct UsageError : ValueError { using ValueError::ValueError; };

// Values that an option takes: numbers from low to high, or one of the choices.
struct Rule {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  bool above_low = false, below_high = false;  // the end itself is not taken
  std::vector<std::string> choices = {};
};
inline Rule at_least(double low) { return {.low = low}; }
inline Rule above(double low) { return {.low = low, .above_low = true}; }
inline Rule thread_rule() { return {.low = 1, .high = 1024}; }
inline Rule share() { return {.low = 0, .high = 1}; }
inline Rule one_of(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }

struct Description {
  const char *name, *group, *help, *default_text;  // default_text null: the field's own value
  bool free = false;                               // may differ when a run is resumed
  bool positional = false;                         // an argument without a name in front of it
  const char* value = nullptr;                     // what stands for the value in the help; null: by its kind
};

// The field belongs to whoever gives the list, and must outlive it. What is empty is not given.
struct Option {
  Description description;
  // A list: every argument without a name.
  std::variant<std::string*, int64_t*, double*, bool*, std::optional<double>*, std::vector<std::string>*> field;
  Rule rule;
};
using Options = std::vector<Option>;
void add(Options& all, const Options& more);
const Option* find(const Options& options, const std::string& name);  // null where there is none

enum class Kind { text, whole, number, flag };
Kind kind_of(const Option& option);

// A number as options take it: a decimal, or a quotient such as 8/255; nothing where the text is neither, or is not
// finite.
std::optional<double> number_of(const std::string& text);

// Whole numbers above 0, rising, between commas; nothing where the text is something else.
std::optional<std::vector<int64_t>> rising_numbers(const std::string& text);

// Empty where `text` follows the rule, else "<text> given; needs …".
std::string fault(const Rule& rule, Kind kind, const std::string& text);

void set(const Option& option, const std::string& text);  // which follows the rule; a flag's is true or false
std::string default_text(const Option& option);           // for the help

// Stored options. From JSON throws FormatError naming the file where an option is missing or of another kind.
nlohmann::ordered_json options_to_json(const Options& options);
void options_from_json(const Options& options, const std::string& file, const nlohmann::ordered_json& stored);

// The stored options of the run in `folder`, but for those given now that may differ. Throws UsageError, which starts
// with `command`, where one may not.
nlohmann::ordered_json merged_options(const Options& now, const nlohmann::ordered_json& stored,
                                      const std::set<std::string>& given, const std::string& command,
                                      const std::string& folder);

// Where a command computes; see use_device.
struct DeviceRequest { std::string device = "cpu", precision = "fp32", products = "own"; };
Options device_option(DeviceRequest& request, const char* group);
Options device_options(DeviceRequest& request, const char* group);  // with the precision and who multiplies
Option threads_option(int64_t& threads, const char* group, const char* help = "threads; results do not depend on them");

std::vector<std::string> data_names();  // of datasets::load
Option data_dir_option(std::string& folder, const char* group);

}  // namespace mollify::experiments
