// The manual page and the completions of shells, from the command line's own descriptions.
#pragma once

#include <string>
#include <vector>

namespace mollify::experiments {

struct OptionText {
  std::string name;                    // "--epochs"; of an argument without a name what stands for it
  std::string value;                   // what stands for its value; empty: a flag
  std::string help, otherwise, group;  // `otherwise`: the default; may be empty
  std::vector<std::string> choices;
  bool positional;
};

struct CommandText {
  std::string name, about, footer;
  std::vector<OptionText> options;
  std::vector<CommandText> commands;
};

std::string manual_page(const CommandText& program, const std::string& version);  // troff, for man
std::string bash_completion(const CommandText& program);                          // zsh takes it by bashcompinit
std::string fish_completion(const CommandText& program);

}  // namespace mollify::experiments
