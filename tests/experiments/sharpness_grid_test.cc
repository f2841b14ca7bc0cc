// `mollify reproduce sharpness`: the same whatever runs at once, and after a kill; what its numbers are.
#include "program.h"

#include <cmath>
#include <map>

namespace {

using namespace program_tests;

class SharpnessGrid : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more) const {
    return "reproduce sharpness --scale tiny " + more + " --out " + in(name).string();
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : {"results.csv", "table.txt"}) {
      EXPECT_FALSE(contents(in(a) / file).empty()) << file;
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
    }
  }
  std::vector<std::map<std::string, double>> rows(const std::string& name) const {
    std::istringstream lines(contents(in(name) / "results.csv"));
    std::string line, word;
    std::getline(lines, line);
    std::vector<std::string> heading;
    for (std::istringstream words(line); std::getline(words, word, ',');) heading.push_back(word);
    std::vector<std::map<std::string, double>> all;
    while (std::getline(lines, line)) {
      all.emplace_back();
      std::istringstream words(line);
      for (const std::string& column : heading) {
        word.clear();
        std::getline(words, word, ',');
        all.back()[column] = word.empty() ? NAN : std::stod(word);
      }
    }
    return all;
  }
};

TEST_F(SharpnessGrid, DoesNotDependOnTheNumberOfJobsAndGoesOnAfterAKill) {
  const Outcome one = run(job("1", "--jobs 1")), two = run(job("2", "--jobs 2"));
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(two.status, 0) << two.error;
  expect_same("1", "2");
  for (const char* file : {"figure3.svg", "predictors.svg"}) expect_well_formed(contents(in("1") / file));

  const Child child = start(job("broken", "--jobs 1 --checkpoint-minutes 0"));
  const fs::path second = in("broken") / "cells/rate=0.05 batch=8 seed=1/checkpoint.safetensors";
  for (int i = 0; i < 30000 && !fs::exists(second); ++i) usleep(200);
  kill(child.pid, SIGKILL);
  finish(child);
  ASSERT_TRUE(fs::exists(second));
  const Outcome rest =
      run("reproduce sharpness --resume --checkpoint-minutes 2 --jobs 2 --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  expect_same("1", "broken");
}

TEST_F(SharpnessGrid, MeasuresEveryNetwork) {
  const Outcome outcome =
      run(job("run", "--rates 0.02,1/20 --batches 10,25 --epochs 2 --eigenvalue --trained-below 9 --average-rho 2e-4"));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const auto networks = rows("run");
  ASSERT_EQ(networks.size(), 2u * 2 * 2);
  for (auto row : networks) {
    const double n = 100, b = row["batch"];
    EXPECT_TRUE(b == 10 || b == 25);
    EXPECT_EQ(row["diverged"], 0);
    EXPECT_NEAR(row["by_root"], row["rate"] / std::sqrt(b), 1e-15);
    EXPECT_NEAR(row["by_batch"], row["rate"] / b, 1e-15);
    EXPECT_NEAR(row["delta"], row["by_root"] * std::sqrt(row["c2"] * (n - b) / (n - 1)), 1e-9 * row["delta"]);
    EXPECT_NEAR(row["gap"], row["train_accuracy"] - row["test_accuracy"], 1e-9);
    EXPECT_GT(row["worst"], std::abs(row["average"])) << "the worst case is worse than the average";
    EXPECT_TRUE(std::isfinite(row["eigenvalue"]));
  }
  const std::string table = contents(in("run") / "table.txt");
  for (const char* words : {"Kendall's τ of all 8 networks", "those with training loss below 9: 8 networks",
                            "sharpness falls as δ grows", "δ predicts accuracy better than rate/batch"})
    EXPECT_NE(table.find(words), std::string::npos) << words;
}

TEST_F(SharpnessGrid, LeavesOutWhatDiverged) {
  const Outcome outcome = run(job("run", "--rates 0.1,1e30 --seeds 1"));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("2 networks diverged"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("of all 2 networks"), std::string::npos) << outcome.out;
  expect_well_formed(contents(in("run") / "figure3.svg"));
}

TEST_F(SharpnessGrid, RefusesWhatCannotBe) {
  expect_refused(
      {{"reproduce sharpness --scale tiny --rates 0.1,fast", "--rates: 0.1,fast given; needs numbers above 0"},
       {"reproduce sharpness --scale tiny --rates 0.1,0.1", "--rates: 0.1,0.1 given; needs numbers above 0"},
       {"reproduce sharpness --scale tiny --batches 8,", "--batches: 8, given; needs whole numbers from 1"},
       {"reproduce sharpness --scale tiny --batches 8.5", "--batches: 8.5 given; needs whole numbers from 1"},
       {"reproduce sharpness --scale tiny --batches 8,100", "--batches: 100 given; needs fewer than the 100 training"},
       {"reproduce sharpness --scale tiny --images 101", "--images: 101 given; needs at most the 100 training images"},
       {"reproduce sharpness --scale tiny --ascent-batch 21",
        "--ascent-batch: 21 given; needs at most half of the 40"}});
}

}  // namespace
