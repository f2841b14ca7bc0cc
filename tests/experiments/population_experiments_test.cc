// The experiments on populations of perturbed weights: the same whatever runs at once, and after a kill.
#include "program.h"

namespace program_tests {
namespace {

class PopulationExperiments : public testing::Test {
 public:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("mollify_populations_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path in(const std::string& name) const { return folder_ / name; }
  std::string sparse_szo(const std::string& name, const std::string& more) const {
    return "reproduce sparse-szo --scale tiny --seeds 1 --limit 110 --test-limit 30 --validation 20 --rounds 2 " +
           more + " --out " + in(name).string();
  }
  std::string gls(const std::string& name, const std::string& more) const {
    return "reproduce gls --scale tiny --eps2 0 --epochs 1 --limit 50 " + more + " --out " + in(name).string();
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : {"results.csv", "table.txt"})
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
  }

 private:
  fs::path folder_;
};

TEST_F(PopulationExperiments, DoNotDependOnTheNumberOfJobs) {
  for (const auto job : {&PopulationExperiments::sparse_szo, &PopulationExperiments::gls}) {
    const Outcome one = run((this->*job)("1", "--jobs 1 --overwrite")),
                  three = run((this->*job)("3", "--jobs 3 --overwrite"));
    ASSERT_EQ(one.status, 0) << one.error;
    ASSERT_EQ(three.status, 0) << three.error;
    expect_same("1", "3");
    EXPECT_NE(contents(in("1") / "curves.svg").find("</svg>"), std::string::npos);
  }
}

TEST_F(PopulationExperiments, SparseSzoMeasuresEveryEpoch) {
  const Outcome outcome = run(sparse_szo("run", ""));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  for (const char* word : {"freeze-held-out", "prune-random", "freezing at random ends above dense training"})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
  std::istringstream lines(contents(in("run") / "results.csv"));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line,
            "variant,rate,seed,tuning,epoch,test_accuracy,train_loss,active,distance,masked_distance,cosine,local,"
            "neighbor,small,decade_-9,decade_-8,decade_-7,decade_-6,decade_-5,decade_-4,decade_-3,decade_-2,decade_-1");
  int64_t measured = 0;
  while (std::getline(lines, line)) {
    std::vector<std::string> cells;
    std::istringstream text(line);
    for (std::string cell; std::getline(text, cell, ',');) cells.push_back(cell);
    if (line.find(",0,2,") == std::string::npos || line.find(",,") != std::string::npos) continue;
    ASSERT_EQ(cells.size(), 23u) << line;
    ++measured;
    double all = 0, small = 0;
    for (size_t decade = 0; decade < 9; ++decade) {
      const double share = std::stod(cells[14 + decade]);
      EXPECT_GE(share, 0) << line;
      all += share;
      if (decade < 5) small += share;
    }
    EXPECT_NEAR(all, 1, 1e-12) << line;
    EXPECT_NEAR(small, std::stod(cells[13]), 1e-12) << "below 1e-4: " << line;
  }
  EXPECT_GE(measured, 8);  // the second epoch of each variant
}

TEST_F(PopulationExperiments, ARunGoesOnWithItsOwnMask) {
  ASSERT_EQ(run("train --data digits --limit 100 --model linear --gradient szo --mask random --mask-every 1 --epochs 2 "
                "--out " +
                in("run").string())
                .status,
            0);
  for (const auto& [option, message] :
       {std::pair<std::string, std::string>{"--mask magnitude", "--mask: \"magnitude\""},
        {"--mask random --masked prune", "--masked: \"prune\""},
        {"--mask-every 2", "--mask-every: 2"}}) {
    const Outcome outcome = run("train --resume --epochs 3 " + option + " --out " + in("run").string());
    EXPECT_EQ(outcome.status, 2) << option;
    EXPECT_NE(outcome.error.find(message + " given; the run in"), std::string::npos) << outcome.error;
  }
  EXPECT_EQ(run("train --resume --epochs 3 --mask random --out " + in("run").string()).status, 0);
}

// A kill within a cell; checkpoints as often as there can be.
TEST_F(PopulationExperiments, AKilledRunGoesOn) {
  ASSERT_EQ(run(sparse_szo("whole", "--jobs 1 --checkpoint-minutes 0")).status, 0);
  const Child child = start(sparse_szo("broken", "--jobs 1 --checkpoint-minutes 0"));
  const auto lines_there = [&] {
    const fs::path file = in("broken") / "cells.jsonl";
    const std::string text = fs::exists(file) ? contents(file) : "";
    return std::count(text.begin(), text.end(), '\n');
  };
  for (int i = 0; i < 6000 && lines_there() < 34; ++i) usleep(5'000);  // past the choice of rates
  kill(child.pid, SIGKILL);
  finish(child);
  ASSERT_FALSE(fs::exists(in("broken") / "results.csv")) << "the run was over before the kill";
  const Outcome rest = run("reproduce sparse-szo --resume --jobs 2 --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  expect_same("whole", "broken");
}

TEST_F(PopulationExperiments, RefuseWhatCannotBe) {
  for (const auto& [arguments, message] :
       {std::pair<std::string, std::string>{"gls --members 3", "--members: 3 given; needs an even number"},
        {"gls --eps-epochs 9 --epochs 2", "--eps-epochs: 9 given; needs at most --epochs, 2"},
        {"sparse-szo --scale tiny --validation 200",
         "--validation: 200 given; needs fewer than a fifth of the 600 images"}}) {
    const Outcome outcome = run("reproduce " + arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.error.find(message), std::string::npos) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1);
  }
}

}  // namespace
}  // namespace program_tests
