// Where the published networks and properties are, for the tests that use them when they are there.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace mollify::nn {

inline std::filesystem::path verification_data() {
  std::vector<std::filesystem::path> folders{"../shared/data", "../../shared/data"};
  if (const char* named = std::getenv("MOLLIFY_DATA")) folders.insert(folders.begin(), named);
  for (const std::filesystem::path& folder : folders)
    if (std::filesystem::exists(folder / "vnn")) return folder / "vnn";
  return {};
}

}  // namespace mollify::nn

#define MOLLIFY_NEEDS_VERIFICATION_DATA           \
  if (::mollify::nn::verification_data().empty()) \
  GTEST_SKIP() << "no folder vnn in $MOLLIFY_DATA, ../shared/data or ../../shared/data"
