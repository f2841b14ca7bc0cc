#include <mollify/experiments/options.h>

#include <mollify/experiments/stored_options.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

template <class T> bool parse(const std::string& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) out += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return out;
}

auto each_of(TrainOptions& options) {
  return [&options](const auto& visit) { each_option(options, {}, visit); };
}

void require_validation(const TrainOptions& o) {
  require<UsageError>(o.patience == 0 || o.validation > 0, "mollify train: --patience: {} given; needs --validation", o.patience);
}

}  // namespace

std::vector<std::string> data_names() { return {"digits", "mnist", "cifar10", "cifar100"}; }
std::vector<std::string> initialization_names() {
  return {"fan_in_uniform", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "ibp"};
}

std::string fault(const Rule& rule, Kind kind, const std::string& text) {
  std::string need;
  bool good = true;
  if (!rule.choices.empty()) {
    good = std::find(rule.choices.begin(), rule.choices.end(), text) != rule.choices.end();
    need = join(rule.choices);
  } else if (kind != Kind::text) {
    double value = 0;
    int64_t whole = 0;
    good = kind == Kind::whole ? parse(text, whole) : parse(text, value);
    need = good ? "" : kind == Kind::whole ? "a whole number, " : "a number, ";
    if (kind == Kind::whole) value = static_cast<double>(whole);
    const bool bounded = rule.high < std::numeric_limits<double>::infinity();
    const bool high_enough = rule.above_low ? value > rule.low : value >= rule.low, low_enough = rule.below_high ? value < rule.high : value <= rule.high;
    good = good && high_enough && low_enough && std::isfinite(value);
    need += format("{} {}", rule.above_low ? "above" : bounded ? "from" : "at least", rule.low);
    if (bounded) need += format("{} {}", rule.below_high ? " to below" : " to", rule.high);
  }
  return good ? "" : format("{} given; needs {}", text.empty() ? "''" : text, need);
}

void resolve(TrainOptions& o) {
  const auto check = [](bool condition, const char* pattern, const auto&... values) { require<UsageError>(condition, pattern, values...); };
  check(o.device != "cuda", "mollify train: --device: cuda given; this build has no CUDA kernels");
  const bool sgd = o.optimizer == "sgd";
  check(sgd || !o.momentum, "mollify train: --momentum: given with {}; needs --optimizer sgd", o.optimizer);
  check(sgd || !o.nesterov, "mollify train: --nesterov: given with {}; needs --optimizer sgd", o.optimizer);
  if (!o.learning_rate) o.learning_rate = sgd ? 0.1 : 0.001;
  if (!o.momentum && sgd) o.momentum = 0.9;
  if (!o.weight_decay) o.weight_decay = sgd ? 0.0005 : o.optimizer == "adamw" ? 0.01 : 0;
  check(!o.nesterov || *o.momentum > 0, "mollify train: --nesterov: given with momentum 0; needs a positive --momentum");
  check(o.sigma == 0 || o.loss == "squared_error", "mollify train: --sigma: {} given with --loss {}; needs --loss squared_error, which smooths in closed form",
        o.sigma, o.loss);
  require_validation(o);
  if (o.out.empty()) o.out = format("runs/{}-{}-{}-s{}", o.data, o.model, o.optimizer, o.seed);
}

std::string to_json(const TrainOptions& options) {
  TrainOptions copy = options;
  return options_to_json(each_of(copy)).dump(2);
}

TrainOptions options_from_json(const std::string& file, const std::string& text) {
  const ordered_json stored = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  TrainOptions options;
  options_from_json(each_of(options), file, stored);
  return options;
}

TrainOptions resumed(const TrainOptions& stored, const TrainCommand& command) {
  TrainOptions options = stored, given = command.options;
  const ordered_json before = options_to_json(each_of(options));
  options_from_json(each_of(options), command.options.out, merged_options(each_of(given), before, command.given, "mollify train", command.options.out));
  options.out = command.options.out;
  if (!command.given.count("steps")) options.steps = 0;
  require<UsageError>(options.schedule != "cosine" || options.epochs == stored.epochs,
                      "mollify train: --epochs: {} given; the cosine schedule of the run in {} ends with epoch {}", options.epochs, options.out,
                      stored.epochs);
  require_validation(options);
  return options;
}

}  // namespace mollify::experiments
