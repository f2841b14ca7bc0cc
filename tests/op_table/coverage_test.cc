// The table has a row for every function that engine/ops.h, smoothing/ops.h and nn/bounds/ops.h declare, and for each
// of its overloads.
#include "op_table.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>

namespace mollify::op_table {
namespace {

std::string source_folder() {
  if (const char* folder = std::getenv("MOLLIFY_SOURCE_DIR")) return folder;
#ifdef MOLLIFY_SOURCE_DIR
  return MOLLIFY_SOURCE_DIR;
#else
  return {};
#endif
}

TEST(Coverage, EveryPublicOperationHasARow) {
  std::map<std::string, int> declared, rows;
  const std::regex declaration(
      R"(^(Tensor|Tensors|ValuesAndIndices|Normalized|Moments|Relaxed|void) (operator[-+*/]|\w+)\()");
  int total = 0;
  for (const char* name : {"/engine/ops.h", "/smoothing/ops.h", "/nn/bounds/ops.h"}) {
    std::ifstream header(source_folder() + name);
    if (!header)
      GTEST_SKIP() << name << " is not in '" << source_folder() << "'; set MOLLIFY_SOURCE_DIR to the source's folder";
    for (std::string line; std::getline(header, line);) {
      std::smatch match;
      if (!std::regex_search(line, match, declaration)) continue;
      ++declared[match[2]];
      ++total;
    }
  }
  for (const Row& row : table()) ++rows[row.name];
  EXPECT_GT(total, 110) << "the headers' declarations were not recognised";
  for (const auto& [name, count] : declared)
    EXPECT_GE(rows[name], count) << name << " is declared " << count << " times";
  for (const auto& [name, count] : rows)
    EXPECT_GT(declared[name], 0) << "the table has a row for " << name << ", which no header declares";
}

// A row without cases would pass everything.
TEST(Coverage, EveryRowHasCases) {
  for (const Row& row : table()) EXPECT_FALSE(row.cases.empty()) << row.name;
}

}  // namespace
}  // namespace mollify::op_table
