// What functions throw, as text, for tests of errors.
#pragma once

#include <mollify/engine/error.h>

#include <gtest/gtest.h>

#include <string>

namespace mollify {

template <class E = Error, class F>
std::string text_of(const F& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

inline void expect_names(const std::string& text, const std::string& name) {
  EXPECT_NE(text.find(name), std::string::npos) << text;
}

}  // namespace mollify
