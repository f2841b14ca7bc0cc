// What a terminal shows in one line, and how text is broken to fit.
#pragma once

#include <string>

namespace mollify::experiments {

// Whether a line on this descriptor can be written again: a terminal that is not TERM=dumb.
bool rewrites(int descriptor);

// Characters in a line: a terminal's own, else $COLUMNS, else 100.
int columns(int descriptor);

// The text's first `width` characters; UTF-8 characters are not cut apart.
std::string cut(const std::string& text, int width);

// The words with line ends between them where a line would be longer than `width`; a longer word has a line of its own.
std::string wrapped(const std::string& text, int width);

}  // namespace mollify::experiments
