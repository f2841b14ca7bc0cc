// What the tests of votes under noise and of attacks share: a small trained network, and logs in Cohen's columns.
#pragma once

#include "program.h"

namespace program_tests {

using Rows = std::vector<std::vector<std::string>>;

// The weights' file.
inline std::string train_small(const fs::path& folder) {
  const Outcome outcome =
      run("train --data digits --limit 3000 --model cnn3_tiny --epochs 4 --batch 50 --out " + folder.string());
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  return (folder / "model.safetensors").string();
}

inline Rows read_tsv(const std::string& text) {
  Rows rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line);
    rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, '\t');) rows.back().push_back(cell);
  }
  return rows;
}

// But for the column "time".
inline Rows without_times(Rows rows) {
  const auto column = std::find(rows.at(0).begin(), rows.at(0).end(), "time") - rows.at(0).begin();
  for (auto& row : rows) row.at(static_cast<size_t>(column)).clear();
  return rows;
}

}  // namespace program_tests
