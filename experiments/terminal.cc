#include <mollify/experiments/terminal.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace mollify::experiments {
namespace {

constexpr int kColumnsOfAFile = 100, kFewestColumns = 20;

bool begins_character(char c) { return (c & 0xC0) != 0x80; }  // in UTF-8

}  // namespace

bool rewrites(int descriptor) {
  const char* kind = std::getenv("TERM");
  return isatty(descriptor) == 1 && kind && *kind && std::strcmp(kind, "dumb") != 0;
}

int columns(int descriptor) {
  winsize size = {};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return std::max<int>(size.ws_col, kFewestColumns);
  const char* told = std::getenv("COLUMNS");
  const int number = told ? std::atoi(told) : 0;
  return number > 0 ? std::clamp(number, kFewestColumns, 1000) : kColumnsOfAFile;
}

std::string cut(const std::string& text, int width) {
  int characters = 0;
  for (size_t i = 0; i < text.size(); ++i)
    if (begins_character(text[i]) && characters++ == width) return text.substr(0, i);
  return text;
}

std::string wrapped(const std::string& text, int width) {
  std::istringstream words(text);
  std::string out;
  int used = 0;
  for (std::string word; words >> word;) {
    const int length = static_cast<int>(std::count_if(word.begin(), word.end(), begins_character));
    const bool fits = used + 1 + length <= width;
    if (used > 0) out += fits ? ' ' : '\n';
    used = used > 0 && fits ? used + 1 + length : length;
    out += word;
  }
  return out;
}

}  // namespace mollify::experiments
