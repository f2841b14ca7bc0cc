#include <mollify/engine/error.h>

#include <charconv>

namespace mollify::detail {

void append(std::string& text, double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  text.append(digits, end);
}

}  // namespace mollify::detail
