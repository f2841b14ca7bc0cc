// What the pictures share: SVG text in one light style.
#pragma once

#include <cstdio>
#include <string>

namespace mollify::experiments::svg {

// printf into a string; for numbers and short words.
std::string text(const char* pattern, auto... values) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, pattern, values...);
  return buffer;
}

std::string escaped(const std::string& words);

// How series number i is drawn: a colour of Okabe and Ito's palette, which colour-blind readers tell apart, and a dash
// and a mark that tell it apart in black and white.
struct Style { const char *color, *dash; };
Style style(size_t series);
// The mark of series i around a point.
std::string mark(size_t series, double x, double y);

// An <svg> element with the style's classes, a white ground and a heading that starts at (heading_x, 38); closed by
// kEnd.
std::string start(double width, double height, double heading_x, const std::string& heading);
inline constexpr const char* kEnd = "</svg>\n";

// Tick marks at multiples of 1, 2 or 5 times a power of ten, about `count` of them from low to high.
struct Ticks { double first, last, step; };
Ticks ticks_between(double low, double high, int count, double smallest = 0);

}  // namespace mollify::experiments::svg
