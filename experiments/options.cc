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

std::string alternatives(const std::vector<std::string>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) out += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return out;
}

auto each_of(TrainOptions& options) {
  return [&options](const auto& visit) { each_option(options, {}, visit); };
}

void require_validation(const TrainOptions& o) {
  require<UsageError>(o.patience == 0 || o.validation > 0, "mollify train: --patience: {} given; needs --validation",
                      o.patience);
}

void require_epochs(const TrainOptions& o) {
  const int64_t grown = o.epsilon_start + o.epsilon_epochs;
  require<UsageError>(!certified(o.objective) || grown <= o.epochs,
                      "mollify train: --eps-epochs: the radius has grown after {} epochs; needs at most --epochs, {}",
                      grown, o.epochs);
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* other) { return name == other; });
}

// What the objective decides where it is not given, and what it does not take.
void resolve_objective(TrainOptions& o) {
  const auto check = [](bool condition, const char* pattern, const auto&... values) {
    require<UsageError>(condition, pattern, values...);
  };
  const bool natural = o.objective == "natural", bounded = certified(o.objective);
  check(natural || o.epsilon > 0, "mollify train: --eps: not given; --objective {} needs a radius above 0",
        o.objective);
  check(!natural || o.epsilon == 0,
        "mollify train: --eps: {} given with --objective natural; needs another --objective, or --eps-test alone",
        o.epsilon);
  check(natural || o.sigma == 0, "mollify train: --sigma: {} given with --objective {}; needs --objective natural",
        o.sigma, o.objective);
  check(natural || o.input_noise == 0,
        "mollify train: --input-noise: {} given with --objective {}; needs pixels from 0 to 1", o.input_noise,
        o.objective);
  check(!natural || o.l1 == 0, "mollify train: --l1: {} given with --objective natural; needs another --objective",
        o.l1);
  check(
      bounded || (o.kappa == 0 && o.kappa_start.value_or(0) == 0 && o.regularizer.value_or(0) == 0),
      "mollify train: --kappa, --kappa-start or --regularizer: given with --objective {}; needs a certified objective",
      o.objective);
  check(!bounded || o.loss == "cross_entropy",
        "mollify train: --loss: {} given with --objective {}; needs cross_entropy", o.loss, o.objective);
  check(!o.fusion || is_one_of(o.objective, {"crown-ibp", "deepz", "deeppoly"}),
        "mollify train: --fusion: given with --objective {}; needs crown-ibp, deepz or deeppoly", o.objective);
  check(o.mix == 1 || (o.objective == "crown-ibp" && !o.fusion),
        "mollify train: --mix: {} given with --objective {}; needs crown-ibp without --fusion", o.mix, o.objective);
  const auto choose = [](std::string& field, const char* value) { if (field.empty()) field = value; };
  choose(o.initialization, bounded ? "ibp" : "fan_in_uniform");
  choose(o.optimizer, bounded ? "adam" : "sgd");
  choose(o.schedule, bounded ? "milestones" : "cosine");
  if (bounded && !o.learning_rate && o.optimizer != "sgd") o.learning_rate = 0.002;
  if (!o.clip_norm) o.clip_norm = bounded ? 10 : 0;
  if (o.epochs == 0) o.epochs = bounded ? 20 : 3;
  if (o.batch == 0) o.batch = 64;
  if (!o.epsilon_test) o.epsilon_test = o.epsilon;
  if (o.epsilon_epochs == 0)
    o.epsilon_epochs = std::max<int64_t>(1, std::min(2 * o.epochs / 5, o.epochs - o.epsilon_start));
  if (!o.kappa_start) o.kappa_start = o.kappa;
  if (!o.regularizer) o.regularizer = is_one_of(o.objective, {"ibp", "hbox", "crown-ibp", "sabr", "mtl-ibp"}) ? 0.5 : 0;
  if (o.certify_limit == 0 && is_one_of(o.objective, {"deepz", "deeppoly", "alpha-crown"})) o.certify_limit = 1000;
  require_epochs(o);
}

// Whole numbers above 0, rising, between commas.
std::vector<int64_t> milestones_of(const std::string& text) {
  std::vector<int64_t> epochs;
  for (size_t first = 0; first <= text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    int64_t epoch = 0;
    const bool good = parse(text.substr(first, end - first), epoch) && epoch > (epochs.empty() ? 0 : epochs.back());
    require<UsageError>(
        good, "mollify train: --milestones: {} given; needs rising whole numbers between commas, such as 50,60", text);
    epochs.push_back(epoch);
    first = end + 1;
  }
  return epochs;
}

}  // namespace

bool certified(const std::string& objective) { return objective != "natural" && objective != "pgd"; }

std::vector<std::string> objective_names() {
  return {"natural", "pgd", "ibp", "hbox", "deepz", "crown-ibp", "deeppoly", "alpha-crown", "sabr", "mtl-ibp"};
}

std::vector<int64_t> milestones(const TrainOptions& options) { return milestones_of(options.milestones); }

std::vector<std::string> data_names() { return {"digits", "mnist", "cifar10", "cifar100"}; }
std::vector<std::string> initialization_names() {
  return {"fan_in_uniform", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "ibp"};
}

std::optional<double> number_of(const std::string& text) {
  const size_t slash = text.find('/');
  double value = 0, divisor = 1;
  const bool good =
      parse(text.substr(0, slash), value) && (slash == std::string::npos || parse(text.substr(slash + 1), divisor));
  return good && std::isfinite(value / divisor) ? std::optional(value / divisor) : std::nullopt;
}

std::string fault(const Rule& rule, Kind kind, const std::string& text) {
  std::string need;
  bool good = true;
  if (!rule.choices.empty()) {
    good = std::find(rule.choices.begin(), rule.choices.end(), text) != rule.choices.end();
    need = alternatives(rule.choices);
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

void resolve(TrainOptions& o) {
  const auto check = [](bool condition, const char* pattern, const auto&... values) {
    require<UsageError>(condition, pattern, values...);
  };
  resolve_objective(o);
  const bool sgd = o.optimizer == "sgd";
  check(sgd || !o.momentum, "mollify train: --momentum: given with {}; needs --optimizer sgd", o.optimizer);
  check(sgd || !o.nesterov, "mollify train: --nesterov: given with {}; needs --optimizer sgd", o.optimizer);
  if (!o.learning_rate) o.learning_rate = sgd ? 0.1 : 0.001;
  if (!o.momentum && sgd) o.momentum = 0.9;
  if (!o.weight_decay) o.weight_decay = sgd ? 0.0005 : o.optimizer == "adamw" ? 0.01 : 0;
  check(!o.nesterov || *o.momentum > 0,
        "mollify train: --nesterov: given with momentum 0; needs a positive --momentum");
  check(o.sigma == 0 || o.loss == "squared_error",
        "mollify train: --sigma: {} given with --loss {}; needs --loss squared_error, which smooths in closed form",
        o.sigma, o.loss);
  const TrainOptions otherwise;
  const bool smoothing = o.penalty != otherwise.penalty || o.penalty_form != otherwise.penalty_form ||
                         o.sigma_decay != otherwise.sigma_decay;
  check(o.sigma > 0 || !smoothing,
        "mollify train: --penalty, --penalty-form or --sigma-decay: given without --sigma; needs a smoothed network");
  if (!o.step_factor) o.step_factor = o.schedule == "milestones" ? 0.2 : 0.1;
  check(o.milestones.empty() || o.schedule == "milestones",
        "mollify train: --milestones: given with --schedule {}; needs --schedule milestones", o.schedule);
  if (o.schedule == "milestones") {
    const int64_t first = (5 * o.epochs + 6) / 7, second = std::max(first + 1, (6 * o.epochs + 6) / 7);
    if (o.milestones.empty()) o.milestones = format("{},{}", first, second);
    milestones(o);
  }
  require_validation(o);
  if (o.out.empty()) {
    const std::string how = o.objective == "natural" ? o.optimizer : format("{}-{}", o.objective, o.epsilon);
    o.out = format("runs/{}-{}-{}-s{}", o.data, o.model, how, o.seed);
  }
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
  options_from_json(each_of(options), command.options.out,
                    merged_options(each_of(given), before, command.given, "mollify train", command.options.out));
  options.out = command.options.out;
  if (!command.given.count("steps")) options.steps = 0;
  require<UsageError>(options.schedule != "cosine" || options.epochs == stored.epochs,
                      "mollify train: --epochs: {} given; the cosine schedule of the run in {} ends with epoch {}",
                      options.epochs, options.out, stored.epochs);
  require_validation(options);
  require_epochs(options);
  return options;
}

}  // namespace mollify::experiments
