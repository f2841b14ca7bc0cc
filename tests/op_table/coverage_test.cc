// The table has a row for every function that engine/ops.h declares, and for each of its overloads.
#include "op_table.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>

namespace mollify::op_table {
namespace {

std::string header_path() {
  if (const char* folder = std::getenv("MOLLIFY_SOURCE_DIR")) return std::string(folder) + "/engine/ops.h";
#ifdef MOLLIFY_SOURCE_DIR
  return std::string(MOLLIFY_SOURCE_DIR) + "/engine/ops.h";
#else
  return {};
#endif
}

TEST(Coverage, EveryPublicOperationHasARow) {
  std::ifstream header(header_path());
  if (!header) GTEST_SKIP() << "engine/ops.h is not at '" << header_path() << "'; set MOLLIFY_SOURCE_DIR to the source's folder";
  std::map<std::string, int> declared, rows;
  const std::regex declaration(R"(^(Tensor|Tensors|ValuesAndIndices|Normalized|void) (operator[-+*/]|\w+)\()");
  int total = 0;
  for (std::string line; std::getline(header, line);) {
    std::smatch match;
    if (!std::regex_search(line, match, declaration)) continue;
    ++declared[match[2]];
    ++total;
  }
  for (const Row& row : table()) ++rows[row.name];
  EXPECT_GT(total, 100) << "the header's declarations were not recognised";
  for (const auto& [name, count] : declared) EXPECT_GE(rows[name], count) << name << " is declared " << count << " times in engine/ops.h";
  for (const auto& [name, count] : rows)
    EXPECT_GT(declared[name], 0) << "the table has a row for " << name << ", which engine/ops.h does not declare";
}

// A row without cases would pass everything.
TEST(Coverage, EveryRowHasCases) {
  for (const Row& row : table()) EXPECT_FALSE(row.cases.empty()) << row.name;
}

}  // namespace
}  // namespace mollify::op_table
