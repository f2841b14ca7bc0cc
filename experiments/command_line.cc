#include <mollify/experiments/command_line.h>

#include <mollify/experiments/info.h>
#include <mollify/experiments/manual.h>
#include <mollify/experiments/terminal.h>

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <numeric>

namespace mollify::experiments {
namespace {

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

// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  std::iota(d[0].begin(), d[0].end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    d[i][0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

// " (did you mean NAME?)", or nothing where no name is near.
std::string suggestion(const std::string& given, const std::vector<std::string>& names) {
  size_t nearest = 1 + std::max<size_t>(1, given.size() / 3);
  std::string out;
  for (const std::string& name : names)
    if (const size_t d = distance(given, name); d < nearest) {
      nearest = d;
      out = " (did you mean " + name + "?)";
    }
  return out;
}

// "--name VALUE   description [default]", in lines that fit the terminal.
class Formatter final : public CLI::Formatter {
 public:
  Formatter() { column_width(28); }
  std::string make_description(const CLI::App* app) const override {
    return wrapped(app->get_description(), columns(STDOUT_FILENO)) + "\n";
  }
  std::string make_footer(const CLI::App* app) const override {
    return wrapped(app->get_footer(), columns(STDOUT_FILENO)) + "\n";
  }
  std::string make_subcommand(const CLI::App* sub) const override {
    std::ostringstream out;
    CLI::detail::format_help(out, sub->get_display_name(true), beside_names(sub->get_description()),
                             get_column_width());
    return out.str();
  }
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    const std::string names = CLI::Formatter::make_option_name(option, positional);  // "--name,--no-name{false}"
    return names.substr(0, names.find('{'));
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string otherwise = option->get_default_str();
    return beside_names(option->get_description() + (otherwise.empty() ? "" : " [" + otherwise + "]") +
                        (option->get_required() ? " (required)" : ""));
  }

 private:
  std::string beside_names(const std::string& text) const {
    return wrapped(text, std::max(20, columns(STDOUT_FILENO) - static_cast<int>(get_column_width())));
  }
};

// Adds an option whose text, once it follows the rule, goes to `take`. A flag that is on by itself can be given as
// --no-NAME.
using Take = std::function<void(const std::string& text)>;
CLI::Option* add(CLI::App& app, const Option& option, const Take& take) {
  const Description& d = option.description;
  const Kind kind = kind_of(option);
  const std::string name = (d.positional ? "" : "--") + std::string(d.name);
  if (kind == Kind::flag) {
    const bool on = *std::get<bool*>(option.field);
    const auto take_flag = [take](int64_t count) { take(count > 0 ? "true" : "false"); };
    return app.add_flag_function(name + (on ? ",!--no-" + std::string(d.name) : ""), take_flag, d.help)->group(d.group);
  }
  if (std::holds_alternative<std::vector<std::string>*>(option.field)) {
    const auto take_all = [take](const std::vector<std::string>& texts) {
      for (const std::string& text : texts) take(text);
    };
    return app.add_option_function<std::vector<std::string>>(name, take_all, d.help)
        ->group(d.group)
        ->type_name(d.value);
  }
  CLI::Option* added = app.add_option_function<std::string>(name, take, description(d, option.rule));
  added->group(d.group)
      ->type_name(d.value ? d.value : placeholder(kind, option.rule))
      ->default_str(default_text(option));
  added->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const auto check = [rule = option.rule, kind](const std::string& text) { return fault(rule, kind, text); };
  return added->check(CLI::Validator(check, ""));
}
CLI::Option* add(CLI::App& app, const Option& option) {
  return add(app, option, [option](const std::string& text) { set(option, text); });
}

// What the manual and completions say of an option. CLI11 keeps its name, value and help, not the choices.
OptionText text_of(const CLI::Option& option) {
  OptionText text{.name = option.get_positional() ? option.get_name(true) : "--" + option.get_lnames().back(),
                  .value = option.get_type_size() == 0 ? "" : option.get_type_name(),
                  .help = option.get_description(),
                  .otherwise = option.get_default_str(),
                  .group = option.get_group(),
                  .choices = {},
                  .positional = option.get_positional()};
  const std::string list = text.value == "NAME" ? text.help.substr(text.help.rfind(": ") + 2) : text.value;
  const char between = text.value == "NAME" ? ',' : '|';
  if (list.find(between) == std::string::npos) return text;
  for (const std::string& choice : CLI::detail::split(list, between))
    text.choices.push_back(CLI::detail::trim_copy(choice));
  return text;
}

CommandText text_of(const CLI::App& app) {
  CommandText text{app.get_name(), app.get_description(), app.get_footer(), {}, {}};
  for (const CLI::Option* option : app.get_options())
    if (option != app.get_help_ptr()) text.options.push_back(text_of(*option));
  for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; }))
    text.commands.push_back(text_of(*below));
  return text;
}

// Adds what the file gives and the command line does not.
void read_config(const std::string& file, std::map<std::string, std::string>& given) {
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_file(file);
  } catch (const CLI::FileError&) { throw UsageError(format("mollify train: --config: {} cannot be read", file)); }
  for (const CLI::ConfigItem& item : items) {
    const std::string name = item.fullname(), text = join(item.inputs, ",");
    const Option* option = find(all_train_options(), name);
    require<UsageError>(option, "mollify train: --config: {} has {}; there is no such option", file, name);
    const std::string wrong = fault(option->rule, kind_of(*option), text);
    require<UsageError>(wrong.empty(), "mollify train: --config: {}: {}: {}", file, name, wrong);
    given.emplace(name, text);
  }
}

using NamedOptions = std::vector<std::pair<std::string, CLI::Option*>>;

std::set<std::string> given_of(const NamedOptions& options) {
  std::set<std::string> given;
  for (const auto& [name, option] : options)
    if (option->count() > 0) given.insert(name);
  return given;
}

// The program, its subcommands and what they fill in.
struct Line {
  struct Reproduction {
    CLI::App* app;
    ReproduceCommand command;
    NamedOptions options;
  };

  CLI::App app{
      "Trains, evaluates, attacks and certifies image classifiers, and verifies networks, on the mollify library.",
      "mollify"};
  CLI::App *train, *reproduce, *manual, *completion;
  std::string shell = "bash";
  TrainCommand train_command;
  std::string train_config;
  EvaluateCommand evaluate_command;
  std::vector<Reproduction> reproductions;
  std::vector<std::pair<const CLI::App*, std::function<Command()>>> about_networks;
  RunCommand run_command;
  BoundsCommand bounds_command;
  VerifyCommand verify_command;
  CertifyCommand certify_command;
  RadiiCommand radii_command;
  AttackCommand attack_command;
  LandscapeCommand landscape_command;
  NoiseCommand noise_command;
  SharpnessCommand sharpness_command;

  Line() {
    app.set_version_flag("--version", version_text(), "print the version");
    app.allow_extras();
    app.formatter(std::make_shared<Formatter>());
    add_train();
    add_about_network("eval", "Evaluate saved weights, or what most of a network's answers under noise are",
                      evaluate_command);
    add_reproduce();
    add_about_network("run", "Evaluate a network on inputs from a file", run_command);
    add_about_network("bounds", "Bound a network's outputs over balls around inputs", bounds_command);
    add_about_network("verify", "Verify a network against a VNN-LIB property: unsat, sat with a witness, or unknown",
                      verify_command);
    add_about_network("certify", "Natural, attacked and certified accuracy of a classifier, stage by stage",
                      certify_command);
    add_about_network("radii", "Certified accuracy by radius from logs of randomized smoothing", radii_command);
    add_about_network("attack", "Attack a classifier's images, by one attack or a sequence of them", attack_command);
    add_about_network("landscape", "Losses around weights, along a line and over a plane, before and after smoothing",
                      landscape_command);
    add_about_network("noise", "The noise of minibatch gradients at weights: its variance, what it smooths, its tails",
                      noise_command);
    add_about_network("sharpness", "How much the loss rises near weights, and the Hessian's eigenvalues",
                      sharpness_command);
    app.add_subcommand("info", "Print version, processor, libraries, models and datasets")->allow_extras();
    manual = app.add_subcommand("manual", "Print the manual page, for man -l -")->allow_extras();
    completion = app.add_subcommand("completion", "Print what completes command lines in a shell")->allow_extras();
    add(*completion,
        {{"shell", "Arguments", "shell; zsh takes bash's", nullptr, false, true}, &shell, one_of({"bash", "fish"})});
    app.footer("mollify SUBCOMMAND --help tells all options of a subcommand.");  // last: subcommands would take it over
    reproduce->footer("mollify reproduce EXPERIMENT --help tells all options of an experiment.");
  }

  void add_train() {
    train = app.add_subcommand("train", "Train a network; keeps metrics, curves and checkpoints in a folder")
                ->allow_extras();
    for (const Option& option : all_train_options())
      add(*train, option, [this, name = std::string(option.description.name)](const std::string& text) {
        train_command.given[name] = text;
      });
    const auto config = [this](const std::string& value) { train_config = value; };
    train
        ->add_option_function<std::string>(
            "--config", config, "file with options, a line NAME = VALUE each; those on the command line come first")
        ->type_name("FILE")
        ->group("Run");
    train->add_flag("--resume", train_command.resume, "go on from the last checkpoint in --out, with its options")
        ->group("Run");
    train->add_flag("--overwrite", train_command.overwrite, "start afresh in a folder that holds a run")->group("Run");
  }

  void add_reproduce() {
    reproduce =
        app.add_subcommand("reproduce", "Repeat a paper's experiment: tables, pictures and whether its claims hold")
            ->allow_extras();
    const std::vector<std::shared_ptr<Experiment>> experiments = all_experiments();
    reproductions.resize(experiments.size());  // at once: the command line keeps references into it
    for (size_t i = 0; i < experiments.size(); ++i) {
      Reproduction& r = reproductions[i];
      r.command.experiment = experiments[i];
      r.app = reproduce->add_subcommand(experiments[i]->name(), experiments[i]->summary())->allow_extras();
      for (const Option& option : experiments[i]->options())
        r.options.emplace_back(option.description.name, add(*r.app, option));
      r.app->add_flag("--resume", r.command.resume, "go on with the cells that are not finished in --out")
          ->group("Run");
      r.app->add_flag("--overwrite", r.command.overwrite, "start afresh in a folder that holds a run")->group("Run");
    }
  }

  template <class C>
  void add_about_network(const char* name, const char* help, C& command) {
    CLI::App* sub = app.add_subcommand(name, help)->allow_extras();
    for (const Option& option : options_of(command)) add(*sub, option);
    about_networks.emplace_back(sub, [&command] { return Command(command); });
  }

  // The subcommands that were named, outermost first, below the program.
  std::vector<const CLI::App*> path() const {
    std::vector<const CLI::App*> named = {&app};
    while (!named.back()->get_subcommands().empty()) named.push_back(named.back()->get_subcommands().front());
    return named;
  }
  std::string place() const {
    std::string out;
    for (const CLI::App* sub : path()) out += (out.empty() ? "" : " ") + sub->get_name();
    return out;
  }

  void require_no_rest() const {
    std::string at;
    for (const CLI::App* sub : path()) {
      at += (at.empty() ? "" : " ") + sub->get_name();
      const std::vector<std::string> rest = sub->remaining();
      if (sub == reproduce && (sub == path().back() || !rest.empty())) throw UsageError(no_such_experiment(rest));
      if (rest.empty()) continue;
      const bool named = rest[0][0] == '-';
      const std::string near = suggestion(rest[0], named ? option_names(sub) : subcommand_names(sub));
      const char* what = named ? "option" : sub == &app ? "subcommand" : "argument";
      throw UsageError(format("{}: {} given; there is no such {}{}: see {} --help", at, rest[0], what, near, at));
    }
  }

  static std::vector<std::string> option_names(const CLI::App* sub) {
    std::vector<std::string> names;
    for (const CLI::Option* option : sub->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    return names;
  }
  static std::vector<std::string> subcommand_names(const CLI::App* sub) {
    std::vector<std::string> names;
    for (const CLI::App* below : sub->get_subcommands({})) names.push_back(below->get_name());
    return names;
  }

  std::string no_such_experiment(const std::vector<std::string>& rest) const {
    const std::vector<std::string> names = subcommand_names(reproduce);
    return format("mollify reproduce: {} given{}; there are {}", rest.empty() ? "no experiment" : rest[0],
                  rest.empty() ? "" : suggestion(rest[0], names), join(names, ", "));
  }

  Command command() {
    require_no_rest();
    if (train->parsed()) {
      if (!train_config.empty()) read_config(train_config, train_command.given);
      return train_command;
    }
    for (const auto& [sub, filled_in] : about_networks)
      if (sub->parsed()) return filled_in();
    for (Reproduction& r : reproductions)
      if (r.app->parsed()) {
        r.command.given = given_of(r.options);
        return r.command;
      }
    if (manual->parsed()) return ShowText{manual_page(text_of(app), version_text())};
    if (completion->parsed())
      return ShowText{shell == "fish" ? fish_completion(text_of(app)) : bash_completion(text_of(app))};
    return path().size() == 1 ? Command(ShowText{app.help()}) : Command(InfoCommand{});
  }
};

}  // namespace

Command parse(int argc, const char* const* argv) {
  Line line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) { return ShowText{version_text() + "\n"}; } catch (const CLI::CallForHelp&) {
    return ShowText{line.app.help()};
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();
    throw UsageError(format("{}: {}: no value given; needs one", line.place(), text.substr(0, text.find(':'))));
  } catch (const CLI::ParseError& error) { throw UsageError(format("{}: {}", line.place(), error.what())); }
  return line.command();
}

}  // namespace mollify::experiments
