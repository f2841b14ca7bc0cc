#include <mollify/experiments/command_line.h>

#include <mollify/experiments/info.h>
#include <mollify/nn/models.h>

#include <CLI/CLI.hpp>

namespace mollify::experiments {
namespace {

template <class T> struct Field { using Value = T; static constexpr Kind kind = Kind::text; };
template <> struct Field<int64_t> { using Value = int64_t; static constexpr Kind kind = Kind::whole; };
template <> struct Field<double> { using Value = double; static constexpr Kind kind = Kind::number; };
template <> struct Field<std::optional<double>> : Field<double> {};

std::string default_text(const std::string& value) { return value; }
std::string default_text(int64_t value) { return std::to_string(value); }
std::string default_text(double value) { return format("{}", value); }
std::string default_text(const std::optional<double>&) { return ""; }

constexpr size_t kLongestChoice = 40;  // longer lists of choices stand in the description

std::string join(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

std::string placeholder(Kind kind, const Rule& rule) {
  if (kind != Kind::text) return kind == Kind::whole ? "N" : "X";
  const std::string choices = join(rule.choices, "|");
  return choices.empty() ? "PATH" : choices.size() > kLongestChoice ? "NAME" : choices;
}

std::string description(const Description& d, const Rule& rule) {
  const bool apart = join(rule.choices, "|").size() > kLongestChoice;
  return apart ? std::string(d.help) + ": " + join(rule.choices, ", ") : d.help;
}

// "--name VALUE   description [default]"
class Formatter final : public CLI::Formatter {
 public:
  Formatter() { column_width(28); }
  std::string make_option_opts(const CLI::Option* option) const override { return option->get_type_size() == 0 ? "" : " " + option->get_type_name(); }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string otherwise = option->get_default_str();
    return option->get_description() + (otherwise.empty() ? "" : " [" + otherwise + "]") + (option->get_required() ? " (required)" : "");
  }
};

template <class T>
CLI::Option* add(CLI::App& app, const Description& d, T& field, const Rule& rule) {
  using Value = typename Field<T>::Value;
  constexpr Kind kind = Field<T>::kind;
  CLI::Option* option = app.add_option_function<Value>("--" + std::string(d.name), [&field](const Value& value) { field = value; }, description(d, rule));
  option->group(d.group)->type_name(placeholder(kind, rule))->default_str(d.default_text ? d.default_text : default_text(field));
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  return option->check(CLI::Validator([rule](const std::string& text) { return fault(rule, kind, text); }, ""));
}
CLI::Option* add(CLI::App& app, const Description& d, bool& field, const Rule&) {
  return app.add_flag("--" + std::string(d.name), field, d.help)->group(d.group);
}

void require_no_rest(const CLI::App& app) {
  const std::vector<std::string> rest = app.remaining(true);
  const std::string name = app.get_parent() ? app.get_parent()->get_name() + " " + app.get_name() : app.get_name();
  if (rest.empty()) return;
  const char* what = rest[0][0] == '-' ? "option" : "argument";
  throw UsageError(format("{}: {} given; there is no such {}: see {} --help", name, rest[0], what, name));
}

// The program, its subcommands and what they fill in.
struct Line {
  CLI::App app{"Trains and evaluates image classifiers on the mollify library.", "mollify"};
  CLI::App *train, *eval, *info;
  TrainCommand train_command;
  EvaluateCommand evaluate_command;
  std::vector<std::pair<std::string, CLI::Option*>> train_options;

  Line() {
    app.set_version_flag("--version", version_text(), "print the version");
    app.allow_extras();
    app.formatter(std::make_shared<Formatter>());
    add_train();
    add_eval();
    info = app.add_subcommand("info", "Print version, processor, libraries, models and datasets")->allow_extras();
    app.footer("mollify SUBCOMMAND --help tells all options of a subcommand.");  // last: subcommands would take it over
  }

  void add_train() {
    train = app.add_subcommand("train", "Train a network; keeps metrics, curves and checkpoints in a folder")->allow_extras();
    each_option(train_command.options, nn::model_names(), [&](const Description& d, auto& field, const Rule& rule) {
      train_options.emplace_back(d.name, add(*train, d, field, rule));
    });
    train->add_flag("--resume", train_command.resume, "go on from the last checkpoint in --out, with its options")->group("Run");
    train->add_flag("--overwrite", train_command.overwrite, "start afresh in a folder that holds a run")->group("Run");
  }

  void add_eval() {
    eval = app.add_subcommand("eval", "Evaluate saved weights")->allow_extras();
    EvaluateCommand& c = evaluate_command;
    const auto weights = [&c](const std::string& value) { c.weights = value; };
    eval->add_option_function<std::string>("--weights", weights, "weights to evaluate, such as a run's model.safetensors")->type_name("FILE")->required();
    const auto option = [&](const char* name, const char* help, const char* otherwise, auto& field, const Rule& rule) {
      add(*eval, Description{name, "Options", help, otherwise}, field, rule);
    };
    option("data", "dataset", "the one that the weights were trained on", c.data, one_of(data_names()));
    option("data-dir", "folder above the dataset's", "$MOLLIFY_DATA, then ./data", c.data_dir, Rule{});
    option("split", "which images", nullptr, c.split, one_of({"test", "train"}));
    option("batch", "images in a batch", nullptr, c.batch, at_least(1));
    option("threads", "threads; results do not depend on them", "$MOLLIFY_NUM_THREADS, else all", c.threads, thread_rule());
    eval->add_flag("--json", c.json, "print one JSON object");
  }

  Command command() {
    for (const CLI::App* sub : {train, eval, info})
      if (sub->parsed()) require_no_rest(*sub);
    require_no_rest(app);
    if (train->parsed()) {
      for (const auto& [name, option] : train_options)
        if (option->count() > 0) train_command.given.insert(name);
      return train_command;
    }
    if (eval->parsed()) return evaluate_command;
    if (info->parsed()) return InfoCommand{};
    return ShowText{app.help()};
  }

  std::string place() const { return train->parsed() ? "mollify train" : eval->parsed() ? "mollify eval" : info->parsed() ? "mollify info" : "mollify"; }
};

}  // namespace

Command parse(int argc, const char* const* argv) {
  Line line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    return ShowText{version_text() + "\n"};
  } catch (const CLI::CallForHelp&) {
    return ShowText{line.app.help()};
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();
    throw UsageError(format("{}: {}: no value given; needs one", line.place(), text.substr(0, text.find(':'))));
  } catch (const CLI::ParseError& error) {
    throw UsageError(format("{}: {}", line.place(), error.what()));
  }
  return line.command();
}

}  // namespace mollify::experiments
