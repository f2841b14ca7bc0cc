// Exceptions of the library, and the small formatter that writes their texts.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#pragma GCC visibility push(default)
namespace mollify {

// Base of every exception thrown here. The text reads "operation: what was given; what is needed".
struct Error : std::runtime_error { using std::runtime_error::runtime_error; };
struct ShapeError : Error { using Error::Error; };   // extents or axes that do not fit
struct TypeError : Error { using Error::Error; };    // dtypes that do not fit
struct DeviceError : Error { using Error::Error; };  // devices that do not fit, or a kernel that this build lacks
struct GraphError : Error { using Error::Error; };   // misuse of recording and gradients
struct ValueError : Error { using Error::Error; };   // numbers out of range
struct MemoryError : Error { using Error::Error; };  // an allocation that cannot be met
struct FormatError : Error { using Error::Error; };  // files that are not what they claim to be

namespace detail {

inline void append(std::string& text, std::string_view value) { text += value; }
inline void append(std::string& text, const char* value) { text += value; }
inline void append(std::string& text, bool value) { text += value ? "true" : "false"; }
void append(std::string& text, double value);  // shortest decimal that reads back as the same number
template <class T>
  requires std::is_integral_v<T>
void append(std::string& text, T value) {
  text += std::to_string(value);
}
template <class T>
  requires std::is_class_v<T> && (!std::is_convertible_v<const T&, std::string_view>)
void append(std::string& text, const T& value) {
  text += to_string(value);  // found by argument-dependent lookup: Shape, DType, …
}
template <class T>
  requires std::is_enum_v<T>
void append(std::string& text, T value) {
  text += to_string(value);
}

// Copies `pattern` up to the next "{}" and moves past it.
inline void advance(std::string& text, std::string_view& pattern) {
  const size_t brace = pattern.find("{}");
  text += pattern.substr(0, brace);
  pattern.remove_prefix(brace == std::string_view::npos ? pattern.size() : brace + 2);
}

}  // namespace detail

// "{}" in the pattern stands for the next argument.
template <class... Args>
std::string format(std::string_view pattern, const Args&... args) {
  std::string text;
  ((detail::advance(text, pattern), detail::append(text, args)), ...);
  return text += pattern;
}

template <class E = ShapeError, class... Args>
void require(bool condition, std::string_view pattern, const Args&... args) {
  if (!condition) [[unlikely]] throw E(format(pattern, args...));
}

}  // namespace mollify
#pragma GCC visibility pop
