// How much a test tries.
#pragma once

namespace mollify {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// `count`; under AddressSanitizer a tenth, since a case takes ten times as long there, and what it finds, reads and
// writes out of bounds, shows in the first ones.
template <class Integer>
constexpr Integer cases(Integer count) {
  return kSanitized ? (count + 9) / 10 : count;
}

}  // namespace mollify

// For tests of what others do, too, and at length.
#define MOLLIFY_SKIP_WHERE_SANITIZED() \
  if (mollify::kSanitized) GTEST_SKIP() << "long under sanitizers, and of code that other tests pass through"
