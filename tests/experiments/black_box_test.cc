// `mollify reproduce black-box` as its user meets it.
#include "program.h"

#include <cmath>
#include <map>

namespace {

using namespace program_tests;

constexpr const char* kMethods[] = {"pgpe-adam", "pgpe-clipup", "pgpe-clipup-learned", "pgpe-ranks", "sgd"};

class BlackBox : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more = "") const {
    return "reproduce black-box --scale tiny --out " + in(name).string() + " " + more;
  }
  std::string resumed(const std::string& name) const {
    return "reproduce black-box --resume --out " + in(name).string();
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : {"results.csv", "table.txt", "table.md", "table.tex", "curves.svg"}) {
      EXPECT_FALSE(contents(in(a) / file).empty()) << file;
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
    }
  }
};

// The columns of a line of results.csv after the heading.
std::vector<std::vector<std::string>> rows_of(const fs::path& csv) {
  std::istringstream lines(contents(csv));
  std::vector<std::vector<std::string>> rows;
  std::string line, word;
  for (std::getline(lines, line); std::getline(lines, line);) {
    rows.emplace_back();
    for (std::istringstream words(line); std::getline(words, word, ',');) rows.back().push_back(word);
  }
  return rows;
}

TEST_F(BlackBox, DoesNotDependOnTheNumberOfJobs) {
  const Outcome one = run(job("1", "--budget 600 --jobs 1"));
  EXPECT_EQ(one.status, 0) << one.error;
  EXPECT_EQ(run(job("3", "--budget 600 --jobs 3")).status, 0);
  expect_same("1", "3");
  const std::string table = contents(in("1") / "table.txt"), svg = contents(in("1") / "curves.svg");
  EXPECT_NE(one.out.find(table), std::string::npos);
  for (const char* word : {"rosenbrock", "ackley", "pgpe-clipup-learned", "a step of SGD counts as 1 + 4"})
    EXPECT_NE(table.find(word), std::string::npos) << word;
  expect_well_formed(svg);
  EXPECT_NE(svg.find("drop_wave, d = 2"), std::string::npos);
  EXPECT_NE(svg.find("class='band'"), std::string::npos);
}

// Every method finds the minimum of a sphere; what it says of a search fits the search's length and target.
TEST_F(BlackBox, CountsEvaluations) {
  const Outcome outcome = run(job("run", "--function sphere --budget 2000 --target 0.003 --seeds 3"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  const auto rows = rows_of(in("run") / "results.csv");
  ASSERT_EQ(rows.size(), 3 * std::size(kMethods));
  std::map<std::string, int> found;
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 7u);
    EXPECT_EQ(row[0], "sphere");
    const double mean = std::stod(row[4]), evaluations = std::stod(row[5]), best = std::stod(row[6]);
    EXPECT_NEAR(mean, 2 * 10.24 * 10.24 / 12, 0.3);  // of d numbers uniform in (−5.12, 5.12)
    EXPECT_LE(evaluations, 2000);
    EXPECT_LT(best, 0.003 * mean);
    if (row[2] == "sgd") { EXPECT_EQ(std::fmod(evaluations, 5), 0); }
    ++found[row[2]];
  }
  for (const char* method : kMethods) EXPECT_EQ(found[method], 3) << method;
}

TEST_F(BlackBox, SearchesThatMissTheTargetAreNotCounted) {
  const Outcome outcome = run(job("run", "--function ackley --budget 70 --target 1e-6"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  for (const auto& row : rows_of(in("run") / "results.csv")) EXPECT_EQ(row[5], "") << row[2];
  EXPECT_NE(outcome.out.find("- (0 %)"), std::string::npos) << outcome.out;
}

TEST_F(BlackBox, AnInterruptLeavesARunThatGoesOn) {
  const std::string options = "--function ackley --budget 6000 --jobs 1";
  EXPECT_EQ(run(job("unbroken", options)).status, 0);
  const Child child = start(job("broken", options));
  for (int i = 0; i < 3000 && !fs::exists(in("broken") / "cells.jsonl"); ++i) usleep(2'000);
  kill(child.pid, SIGINT);
  EXPECT_EQ(finish(child).status, 130);
  EXPECT_FALSE(fs::exists(in("broken") / "results.csv"));
  const Outcome rest = run(resumed("broken"));
  EXPECT_EQ(rest.status, 0) << rest.error;
  expect_same("unbroken", "broken");
}

TEST_F(BlackBox, AKilledSearchGoesOnWithinItself) {
  const std::string options = "--function rastrigin --budget 1500 --seeds 1 --jobs 1 --checkpoint-minutes 0";
  EXPECT_EQ(run(job("unbroken", options)).status, 0);
  for (const char* method : {"pgpe-clipup-learned", "sgd"}) {
    const fs::path broken = in(std::string("broken-") + method);
    const fs::path kept =
        broken / "cells" / (std::string("rastrigin d=2 ") + method + " seed=0") / "standing.safetensors";
    const Child child = start(job(broken.filename(), options));
    for (int i = 0; i < 30000 && !fs::exists(kept); ++i) usleep(200);
    kill(child.pid, SIGKILL);
    finish(child);
    ASSERT_TRUE(fs::exists(kept)) << method;
    const Outcome rest = run(resumed(broken.filename()));
    EXPECT_EQ(rest.status, 0) << rest.error;
    expect_same("unbroken", broken.filename());
  }
}

TEST_F(BlackBox, TakesNoData) {
  const Outcome outcome = run(job("run", "--data mnist"));
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.error.find("--data given; there is no such option"), std::string::npos) << outcome.error;
  EXPECT_EQ(run(job("run", "--function sphered")).status, 2);
  EXPECT_EQ(run(job("run", "--pairs 1")).status, 2);
}

}  // namespace
