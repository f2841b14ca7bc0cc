#include <mollify/experiments/manual.h>

#include <mollify/engine/error.h>

namespace mollify::experiments {
namespace {

std::string replaced(std::string text, char what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) text.replace(at, 1, by);
  return text;
}

// Text that troff takes as it is: a dash is a minus, and no line begins with what is a request.
std::string in_troff(const std::string& text) {
  std::string out = replaced(replaced(text, '\\', "\\e"), '-', "\\-");
  return !out.empty() && (out[0] == '.' || out[0] == '\'') ? "\\&" + out : out;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

void add_options(const CommandText& command, std::string& out) {
  std::string group;
  for (const OptionText& option : command.options) {
    if (option.group != group) out += ".PP\n.I " + in_troff(group = option.group) + "\n";
    out += ".TP\n.B " + in_troff(option.name);
    if (!option.value.empty() && !option.positional) out += " \\fI" + in_troff(option.value) + "\\fR";
    out += "\n" + in_troff(option.help);
    if (!option.otherwise.empty()) out += " [" + in_troff(option.otherwise) + "]";
    out += "\n";
  }
}

void add_command(const CommandText& command, const std::string& path, std::string& out) {
  out += ".SS " + in_troff(path + " " + command.name) + "\n" + in_troff(command.about) + "\n";
  add_options(command, out);
  for (const CommandText& below : command.commands) add_command(below, path + " " + command.name, out);
}

// What stands for one word, whatever it holds.
std::string quoted(const std::string& text) { return "'" + replaced(text, '\'', "'\\''") + "'"; }

void add_bash_cases(const CommandText& command, const std::string& path, std::string& words, std::string& values) {
  std::vector<std::string> names;
  for (const OptionText& option : command.options) {
    if (option.positional) continue;
    names.push_back(option.name);
    if (!option.value.empty())
      values +=
          format("    {}) candidates={} ;;\n", quoted(path + " " + option.name), quoted(joined(option.choices, " ")));
  }
  for (const CommandText& below : command.commands) {
    names.push_back(below.name);
    add_bash_cases(below, path + " " + below.name, words, values);
  }
  words += format("    {}) candidates={} ;;\n", quoted(path), quoted(joined(names, " ")));
}

void add_fish_lines(const CommandText& command, const std::string& seen, std::string& out) {
  const std::string when = seen.empty() ? "" : " -n " + quoted("__fish_seen_subcommand_from " + seen);
  for (const OptionText& option : command.options) {
    if (option.positional) continue;
    out += "complete -c mollify" + when + " -l " + option.name.substr(2) + " -d " + quoted(option.help);
    if (!option.choices.empty())
      out += " -x -a " + quoted(joined(option.choices, " "));
    else if (!option.value.empty())
      out += " -r";
    out += "\n";
  }
  const std::string here = seen.empty() ? " -n __fish_use_subcommand" : when;
  for (const CommandText& below : command.commands) {
    out += "complete -c mollify" + here + " -f -a " + below.name + " -d " + quoted(below.about) + "\n";
    add_fish_lines(below, below.name, out);
  }
}

}  // namespace

std::string manual_page(const CommandText& program, const std::string& version) {
  std::string out = ".TH MOLLIFY 1 \"\" \"" + version + "\"\n.SH NAME\nmollify \\- " + in_troff(program.about) +
                    "\n.SH SYNOPSIS\n.B mollify\n.I COMMAND\n[options]\n.SH OPTIONS\n";
  add_options(program, out);
  out += ".SH COMMANDS\n";
  for (const CommandText& command : program.commands) add_command(command, "mollify", out);
  return out +
         ".SH EXIT STATUS\n0; 1 where the work failed; 2 where the request cannot be met; 130 after an interrupt.\n";
}

std::string bash_completion(const CommandText& program) {
  std::string words, values;
  add_bash_cases(program, "mollify", words, values);
  return "# source <(mollify completion bash); in zsh after: autoload -U bashcompinit; bashcompinit\n"
         "_mollify() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\" path=mollify word\n"
         "  local candidates=\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case \"$word\" in -*) break ;; *) path=\"$path $word\" ;; esac\n"
         "  done\n"
         "  case \"$path $previous\" in\n" +
         values + "    *) case \"$path\" in\n" + words +
         "    esac ;;\n"
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$candidates\" -- \"$current\"))\n"
         "}\n"
         "complete -o default -F _mollify mollify\n";
}

std::string fish_completion(const CommandText& program) {
  std::string out = "# mollify completion fish | source\n";
  add_fish_lines(program, "", out);
  return out;
}

}  // namespace mollify::experiments
