// `mollify reproduce functions`: the same whatever runs at once, and after a kill; its numbers against closed forms.
#include "program.h"

#include <cmath>

namespace {

using namespace program_tests;

constexpr const char* kFiles[] = {"smoothed.csv", "profiles.csv", "niceness.csv", "descent.csv",
                                  "table.txt",    "niceness.svg", "descent.svg",  "profiles-rastrigin.svg"};

class Functions : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more = "") const {
    return "reproduce functions --scale tiny --function rastrigin --out " + in(name).string() + " " + more;
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : kFiles) {
      EXPECT_FALSE(contents(in(a) / file).empty()) << file;
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
    }
  }
  // Lines of a CSV file that begin so, split.
  std::vector<std::vector<std::string>> rows(const std::string& file, const std::string& start) const {
    std::istringstream lines(contents(in("run") / file));
    std::vector<std::vector<std::string>> found;
    std::string line, word;
    while (std::getline(lines, line)) {
      if (!line.starts_with(start)) continue;
      found.emplace_back();
      for (std::istringstream words(line); std::getline(words, word, ',');) found.back().push_back(word);
    }
    return found;
  }
};

TEST_F(Functions, DoNotDependOnTheNumberOfJobsAndGoOnAfterAKill) {
  const Outcome one = run(job("1", "--jobs 1"));
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(run(job("2", "--jobs 2")).status, 0);
  expect_same("1", "2");
  EXPECT_NE(one.out.find("estimated: "), std::string::npos);
  EXPECT_NE(one.out.find(contents(in("1") / "table.txt")), std::string::npos);
  for (const char* svg : {"niceness.svg", "descent.svg", "profiles-rastrigin.svg"})
    expect_well_formed(contents(in("1") / svg));

  const std::string lines = contents(in("1") / "cells.jsonl");  // the first ones, and a line that was cut off
  fs::create_directories(in("broken"));
  fs::copy(in("1") / "settings.json", in("broken") / "settings.json");
  std::ofstream(in("broken") / "cells.jsonl") << lines.substr(0, lines.size() / 2);
  const Outcome rest = run("reproduce functions --resume --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  expect_same("1", "broken");
}

TEST_F(Functions, OfRastriginAreItsForms) {
  ASSERT_EQ(run(job("run", "--points 11 --draws 2000 --nice-levels 12")).status, 0);
  // x² + δ² + 10 − 10·e^(−2π²δ²)·cos 2πx, from −5 to 5 by whole numbers.
  const auto profile = rows("profiles.csv", "rastrigin,gaussian,0.5,");
  ASSERT_EQ(profile.size(), 11u);
  for (const auto& row : profile) {
    const double x = std::stod(row[3]), wave = std::exp(-2 * M_PI * M_PI * 0.25);
    EXPECT_NEAR(std::stod(row[4]), x * x + 0.25 + 10 - 10 * wave, 1e-9);
  }
  for (const auto& row : rows("smoothed.csv", "rastrigin,")) {
    const bool heavy = row[1] == "pareto" || row[1] == "cauchy" || row[1] == "levy";
    EXPECT_EQ(row[2], heavy ? "infinite" : "form") << row[1];
    if (heavy) continue;
    EXPECT_LT(std::stod(row[3]), 1e-9) << row[1];  // from quadrature
    EXPECT_LT(std::stod(row[4]), 5) << row[1];     // from samples, in standard errors
  }
  // Nice but between .0837 and .5174, with its minimum at 0.
  const auto levels = rows("niceness.csv", "rastrigin,gaussian,");
  ASSERT_EQ(levels.size(), 12u);
  for (const auto& row : levels) {
    const double delta = std::stod(row[2]);
    EXPECT_NEAR(std::stod(row[3]), 0, 1e-9);
    EXPECT_EQ(row[6], delta > 0.0837 && delta < 0.5174 ? "0" : "1") << delta;
  }
  const std::string table = contents(in("run") / "table.txt");
  EXPECT_NE(table.find("not convex between δ 0.0836, 0.5174"), std::string::npos) << table;
}

TEST_F(Functions, GraduatedOptimisationFindsTheMinimum) {
  ASSERT_EQ(run(job("run", "--dimension 5 --levels 51 --steps 20 --samples 20")).status, 0);
  for (const auto& row : rows("descent.csv", "rastrigin,form")) {
    EXPECT_LT(std::stod(row[3]), 1e-8) << row[1];
    EXPECT_EQ(row[6], "1020");
  }
  const auto differences = rows("descent.csv", "rastrigin,differences");
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0][5], std::to_string(1020 * 2 * 20 * 5));
  EXPECT_LT(std::stod(differences[0][4]), 0.2);  // near the minimum
}

TEST_F(Functions, RefuseInOneLine) {
  expect_refused({{job("run", "--data mnist"), "--data given; there is no such option"},
                  {job("run", "--function sphered"), "--function: sphered given"},
                  {job("run", "--samples 3"), "--samples: 3 given; needs whole pairs"},
                  {job("run", "--nice-levels 1"), "--nice-levels: 1 given"},
                  {job("run", "--sgd-delta 0"), "--sgd-delta: 0 given; needs above 0"}});
}

}  // namespace
