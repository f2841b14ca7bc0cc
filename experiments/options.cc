#include <mollify/experiments/options.h>

#include <mollify/engine/file.h>
#include <mollify/experiments/json.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

bool parse(const std::string& text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string alternatives(const std::vector<std::string>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) out += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return out;
}

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;  // clang deduces it by itself from version 17 on

ordered_json json_of(const Option& option) {
  return std::visit(
      Overloaded{[](const std::optional<double>* field) { return *field ? ordered_json(**field) : ordered_json(); },
                 [](const auto* field) { return ordered_json(*field); }},
      option.field);
}

}  // namespace

void add(Options& all, const Options& more) { all.insert(all.end(), more.begin(), more.end()); }

const Option* find(const Options& options, const std::string& name) {
  for (const Option& option : options)
    if (name == option.description.name) return &option;
  return nullptr;
}

Kind kind_of(const Option& option) {
  return std::visit(
      Overloaded{[](const std::string*) { return Kind::text; },
                 [](const std::vector<std::string>*) { return Kind::text; }, [](const int64_t*) { return Kind::whole; },
                 [](const bool*) { return Kind::flag; }, [](const auto*) { return Kind::number; }},
      option.field);
}

std::optional<double> number_of(const std::string& text) {
  const size_t slash = text.find('/');
  const std::optional<double> value = parse_number(text.substr(0, slash)),
                              divisor = slash == std::string::npos ? 1 : parse_number(text.substr(slash + 1));
  return value && divisor && std::isfinite(*value / *divisor) ? std::optional(*value / *divisor) : std::nullopt;
}

std::optional<std::vector<int64_t>> rising_numbers(const std::string& text) {
  std::vector<int64_t> numbers;
  for (size_t first = 0; first <= text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    int64_t number = 0;
    if (!parse(text.substr(first, end - first), number) || number <= (numbers.empty() ? 0 : numbers.back())) return {};
    numbers.push_back(number);
    first = end + 1;
  }
  return numbers;
}

std::string fault(const Rule& rule, Kind kind, const std::string& text) {
  std::string need;
  bool good = true;
  if (!rule.choices.empty()) {
    good = std::find(rule.choices.begin(), rule.choices.end(), text) != rule.choices.end();
    need = alternatives(rule.choices);
  } else if (kind == Kind::flag) {
    good = text == "true" || text == "false";
    need = "true or false";
  } else if (kind != Kind::text) {
    int64_t whole = 0;
    const std::optional<double> number = kind == Kind::number ? number_of(text)
                                         : parse(text, whole) ? std::optional(static_cast<double>(whole))
                                                              : std::nullopt;
    const double value = number.value_or(0);
    good = number.has_value();
    need = good ? "" : kind == Kind::whole ? "a whole number, " : "a number, ";
    const bool bounded = rule.high < std::numeric_limits<double>::infinity();
    const bool high_enough = rule.above_low ? value > rule.low : value >= rule.low,
               low_enough = rule.below_high ? value < rule.high : value <= rule.high;
    good = good && high_enough && low_enough;
    need += format("{} {}", rule.above_low ? "above" : bounded ? "from" : "at least", rule.low);
    if (bounded) need += format("{} {}", rule.below_high ? " to below" : " to", rule.high);
  }
  return good ? "" : format("{} given; needs {}", text.empty() ? "''" : text, need);
}

void set(const Option& option, const std::string& text) {
  std::visit(Overloaded{[&](std::string* field) { *field = text; }, [&](int64_t* field) { parse(text, *field); },
                        [&](bool* field) { *field = text == "true"; },
                        [&](std::vector<std::string>* field) { field->push_back(text); },
                        [&](auto* field) { *field = *number_of(text); }},
             option.field);
}

std::string default_text(const Option& option) {
  if (option.description.default_text) return option.description.default_text;
  return std::visit(
      Overloaded{[](const std::string* field) { return *field; },
                 [](const int64_t* field) { return std::to_string(*field); },
                 [](const double* field) { return format("{}", *field); }, [](const auto*) { return std::string(); }},
      option.field);
}

ordered_json options_to_json(const Options& options) {
  ordered_json out = ordered_json::object();
  for (const Option& option : options) out[option.description.name] = json_of(option);
  return out;
}

void options_from_json(const Options& options, const std::string& file, const ordered_json& stored) {
  try {
    for (const Option& option : options) {
      const ordered_json& value = stored.at(option.description.name);
      std::visit(Overloaded{[&](std::optional<double>* field) {
                              *field = value.is_null() ? std::nullopt : std::optional(value.get<double>());
                            },
                            [&](auto* field) { *field = value.get<std::remove_reference_t<decltype(*field)>>(); }},
                 option.field);
    }
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: the run's options cannot be read: {}", file, error.what()));
  }
}

ordered_json merged_options(const Options& options, const ordered_json& stored, const std::set<std::string>& given,
                            const std::string& command, const std::string& folder) {
  ordered_json merged = stored;
  for (const Option& option : options) {
    const char* name = option.description.name;
    if (!given.count(name)) continue;
    const ordered_json now = json_of(option), before = stored.value(name, ordered_json());
    require<UsageError>(option.description.free || before == now, "{}: --{}: {} given; the run in {} has {}", command,
                        name, now.dump(), folder, before.dump());
    merged[name] = now;
  }
  return merged;
}

Options device_option(DeviceRequest& r, const char* group) {
  return {{{"device", group, "device", nullptr, true}, &r.device, one_of({"cpu", "cuda"})}};
}

Options device_options(DeviceRequest& r, const char* group) {
  Options all = device_option(r, group);
  add(all,
      {{{"precision", group,
         "f32 products on a GPU: exact, or faster with operands rounded to 10 or 7 bits of fraction", nullptr, true},
        &r.precision,
        one_of({"fp32", "tf32", "bf16"})},
       {{"products", group, "who multiplies matrices on the CPU; openblas makes other bits", nullptr, true},
        &r.products,
        one_of({"own", "openblas"})}});
  return all;
}

Option threads_option(int64_t& threads, const char* group, const char* help) {
  return {{"threads", group, help, "$MOLLIFY_NUM_THREADS, else all", true}, &threads, thread_rule()};
}

std::vector<std::string> data_names() { return {"digits", "mnist", "cifar10", "cifar100", "folder"}; }

Option data_dir_option(std::string& folder, const char* group) {
  return {{"data-dir", group, "folder above the dataset's; --data folder needs it: the one that holds train and val",
           "$MOLLIFY_DATA, then ./data", true},
          &folder,
          {}};
}

}  // namespace mollify::experiments
