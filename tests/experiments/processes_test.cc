// Runs of several processes under mpirun: the bits of one process, whatever their number.
#include "program.h"

namespace program_tests {
namespace {

class ProcessesOfARun : public testing::Test {
 protected:
  void SetUp() override {
    if (run("info").out.find("processes of mpirun") == std::string::npos)
      GTEST_SKIP() << "the program was built without MPI; needs libopenmpi-dev";
    if (std::system("mpirun --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no mpirun; needs openmpi-bin";
    folder_ = fs::temp_directory_path() / ("mollify_processes_" + std::to_string(getpid()));
    fs::create_directories(folder_);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // MPI keeps some of its memory
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  fs::path in(const std::string& name) const { return folder_ / name; }
  static std::string contents(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  // Status, and what was printed.
  Outcome under_mpirun(int processes, const std::string& arguments) const {
    const std::string out = in("out").string(), error = in("error").string();
    const std::string command = "mpirun --oversubscribe -n " + std::to_string(processes) + " " + program() + " " +
                                arguments + " > " + out + " 2> " + error;
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(out), contents(error)};
  }

  std::string job(const std::string& name, const std::string& more) const {
    return "train --data digits --model linear --limit 100 --batch 25 --epochs 3 --threads 1 " + more + " --out " +
           in(name).string();
  }

 private:
  fs::path folder_;
};

TEST_F(ProcessesOfARun, EndInTheBitsOfOne) {
  for (const std::string gradient :
       {"--gradient szo --probes 4 --mask random --mask-every 1", "--gradient pgpe --probes 8 --probe-course learned",
        "--gradient rgs --probes 6"}) {
    const Outcome one = run(job("one", gradient + " --overwrite"));
    ASSERT_EQ(one.status, 0) << one.error;
    for (const int processes : {2, 3}) {
      const std::string name = "several" + std::to_string(processes);
      const Outcome several = under_mpirun(processes, job(name, gradient + " --overwrite"));
      ASSERT_EQ(several.status, 0) << several.error;
      EXPECT_EQ(contents(in(name) / "metrics.jsonl"), contents(in("one") / "metrics.jsonl")) << gradient;
      EXPECT_EQ(contents(in(name) / "model.safetensors").size(), contents(in("one") / "model.safetensors").size());
      EXPECT_EQ(std::count(several.out.begin(), several.out.end(), '\n'),
                std::count(one.out.begin(), one.out.end(), '\n'));  // one process prints
    }
  }
}

// A run of two goes on as a run of one, and the other way round.
TEST_F(ProcessesOfARun, GoOnAsAnyNumber) {
  const std::string gradient = "--gradient szo --probes 4";
  ASSERT_EQ(run(job("whole", gradient)).status, 0);
  ASSERT_EQ(under_mpirun(2, job("broken", gradient + " --steps 5")).status, 0);
  const Outcome rest = under_mpirun(3, "train --resume --threads 1 --steps 9 --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  ASSERT_EQ(run("train --resume --threads 1 --steps 100 --out " + in("broken").string()).status, 0);
  EXPECT_EQ(contents(in("broken") / "metrics.jsonl"), contents(in("whole") / "metrics.jsonl"));
}

// Cells are shared out, and the first process writes what one alone would.
TEST_F(ProcessesOfARun, ShareOutCells) {
  const auto experiment = [&](const std::string& name) {
    return "reproduce gls --scale tiny --eps2 0 --epochs 1 --limit 50 --jobs 1 --out " + in(name).string();
  };
  ASSERT_EQ(run(experiment("one")).status, 0);
  const Outcome two = under_mpirun(2, experiment("two"));
  ASSERT_EQ(two.status, 0) << two.error;
  for (const char* file : {"results.csv", "table.txt", "curves.svg"})
    EXPECT_EQ(contents(in("two") / file), contents(in("one") / file)) << file;
  std::vector<std::string> lines;
  std::istringstream cells(contents(in("two") / "cells.jsonl"));
  for (std::string line; std::getline(cells, line);) lines.push_back(line.substr(0, line.find(",\"seconds")));
  std::sort(lines.begin(), lines.end());
  EXPECT_EQ(std::unique(lines.begin(), lines.end()), lines.end());  // no cell ran twice
}

TEST_F(ProcessesOfARun, SayOnceWhatCannotBe) {
  const Outcome many = under_mpirun(3, job("many", "--gradient szo --probes 2"));
  EXPECT_EQ(many.status, 2);
  EXPECT_NE(many.error.find("mollify train: --probes: 3 processes for 2 pairs; needs at least a pair for each"),
            std::string::npos)
      << many.error;
  EXPECT_EQ(many.error.find("mollify train:"), many.error.rfind("mollify train:"));
  const Outcome exact = under_mpirun(2, job("exact", ""));
  EXPECT_EQ(exact.status, 2);
  EXPECT_NE(exact.error.find("exact given with 2 processes"), std::string::npos) << exact.error;
}

}  // namespace
}  // namespace program_tests
