// What stays of a run that is killed, disturbed or has no room; and what its user sees of it.
#include "program.h"

#include <sys/resource.h>

namespace {

using namespace program_tests;

class RunFolder : public ProgramTest {
 protected:
  // Long epochs of a small network, with a checkpoint after nearly every step.
  std::string job(const std::string& name, const std::string& more = "") const {
    return "train --data digits --limit 20000 --batch 10 --model cnn3_tiny --epochs 1 --checkpoint-minutes 1e-9 "
           "--out " +
           in(name).string() + " " + more;
  }
  static void wait_for(const fs::path& file) {
    for (int i = 0; i < 3000 && !fs::exists(file); ++i) usleep(5'000);
    ASSERT_TRUE(fs::exists(file)) << file;
  }
  void expect_nothing_temporary(const std::string& name) const {
    for (const auto& entry : fs::directory_iterator(in(name)))
      EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  }
};

TEST_F(RunFolder, AKillInTheFirstEpochLeavesARunThatGoesOn) {
  const std::string steps = " --steps 700";
  ASSERT_EQ(run(job("unbroken", steps)).status, 0);
  const Child child = start(job("broken"));
  wait_for(in("broken") / "config.json");
  usleep(50'000);
  kill(child.pid, SIGKILL);
  EXPECT_EQ(finish(child).status, 128 + SIGKILL);
  EXPECT_FALSE(fs::exists(in("broken") / "metrics.jsonl")) << "killed too late for this test";
  const Outcome resumed = run("train --resume --checkpoint-minutes 5" + steps + " --out " + in("broken").string());
  ASSERT_EQ(resumed.status, 0) << resumed.error;
  EXPECT_TRUE(contents(in("unbroken") / "model.safetensors") == contents(in("broken") / "model.safetensors"));
}

TEST_F(RunFolder, IsHeldByOneProcessAtATime) {
  const Child first = start(job("run"));
  wait_for(in("run") / "config.json");
  for (const std::string& second :
       {job("run"), job("run", "--overwrite"), "train --resume --out " + in("run").string()}) {
    const Outcome refused = run(second);
    EXPECT_EQ(refused.status, 2) << second;
    EXPECT_NE(refused.error.find("is in use by another process, " + std::to_string(first.pid)), std::string::npos)
        << refused.error;
  }
  kill(first.pid, SIGINT);
  EXPECT_EQ(finish(first).status, 130);
  EXPECT_EQ(run("train --resume --steps 2000 --checkpoint-minutes 5 --out " + in("run").string()).status, 0)
      << "the lock goes with its process";
}

TEST_F(RunFolder, ARunThatDivergesAtOnceCanBeReplaced) {
  const std::string options = "--loss squared_error --model linear --momentum 0 --schedule constant --lr ";
  const Outcome diverged = run(job("run", options + "1e6"));
  EXPECT_EQ(diverged.status, 1);
  EXPECT_NE(diverged.error.find("--overwrite"), std::string::npos) << diverged.error;
  EXPECT_EQ(run("train --resume --out " + in("run").string()).status, 1) << "the same end";
  EXPECT_EQ(run(job("run", options + "1e-3 --steps 5 --overwrite")).status, 0);
}

TEST_F(RunFolder, WritesThatTheSystemRefusesAreFailuresWithTheirReason) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {2000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Outcome limited = run(job("limited"));  // the child has the limit, and so does this process
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(limited.status, 1);
  EXPECT_NE(limited.error.find("cannot be written (File too large)"), std::string::npos) << limited.error;
  expect_nothing_temporary("limited");
  const Outcome no_folder = run("train --limit 100 --out /proc/none");
  EXPECT_EQ(no_folder.status, 1);
  EXPECT_NE(no_folder.error.find("/proc/none cannot be made ("), std::string::npos) << no_folder.error;
}

TEST_F(RunFolder, TheLastLineSaysWhereItIs) {
  const std::string out = run(job("run", "--steps 3")).out;
  EXPECT_NE(out.find("saved in " + in("run").string() + ": config.json"), std::string::npos) << out;
}

TEST_F(RunFolder, RadiiAreQuotientsToo) {
  ASSERT_EQ(run(job("quotient", "--objective ibp --eps 8/256 --steps 3 --eps-test 1/64")).status, 0);
  const json config = json::parse(contents(in("quotient") / "config.json"));
  EXPECT_EQ(config["eps"], 0.03125);
  EXPECT_EQ(config["eps-test"], 0.015625);
}

TEST_F(RunFolder, HelpFitsTheTerminal) {
  for (const int width : {60, 132}) {
    setenv("COLUMNS", std::to_string(width).c_str(), 1);
    std::istringstream lines(run("train --help").out);
    size_t longest = 0;
    for (std::string line; std::getline(lines, line);)
      if (words_of(line).size() > 1 && line.find("  -") != 0)
        longest = std::max(longest, line.size());  // a word or a name with its choices is not broken
    EXPECT_LE(longest, static_cast<size_t>(width));
    EXPECT_GT(longest, static_cast<size_t>(width) - 20);
  }
  unsetenv("COLUMNS");
}

}  // namespace
