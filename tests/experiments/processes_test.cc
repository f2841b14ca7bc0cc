// Runs of several processes under mpirun: the bits of one process, whatever their number.
#include "votes_program.h"

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
  static std::string under_mpirun_command(int processes, const std::string& arguments) {
    return "mpirun --oversubscribe -n " + std::to_string(processes) + " " + program() + " " + arguments;
  }
  static Outcome under_mpirun(int processes, const std::string& arguments) {
    return finish(start_command(under_mpirun_command(processes, arguments)));
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

// Lines of a log, but for their times.
std::vector<json> log_lines(const fs::path& file) {
  std::vector<json> all;
  std::istringstream lines(contents(file));
  for (std::string line; std::getline(lines, line);) {
    all.push_back(json::parse(line));
    all.back().erase("seconds");
  }
  return all;
}

int64_t whole_lines_of(const fs::path& file) {
  const std::string text = contents(file);
  return std::count(text.begin(), text.end(), '\n');
}

// The processes that mpirun started, by their ids.
std::vector<pid_t> children_of(pid_t parent) {
  const std::string id = std::to_string(parent);
  std::ifstream file("/proc/" + id + "/task/" + id + "/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

// Images of votes are shared out; eleven are no multiple of the processes, and one is for the first alone.
TEST_F(ProcessesOfARun, ShareOutImages) {
  const std::string network = train_small(in("run"));
  for (const auto& [command, log, table] :
       {std::tuple{"certify --method smoothing --radius 0.2 ", "certify.jsonl", "certify.tsv"},
        {"eval ", "eval.jsonl", "predict.tsv"}}) {
    const auto votes = [&, command = command](const std::string& name, const std::string& images) {
      return command + ("--noise 0.25 --n 100 --threads 1 --images " + images + " --weights " + network + " --out ") +
             in(name).string();
    };
    fs::remove_all(in("one"));
    ASSERT_EQ(run(votes("one", "11")).status, 0);
    const std::vector<json> lines = log_lines(in("one") / log);
    EXPECT_EQ(lines.size(), 11u);
    for (const int processes : {2, 3}) {
      fs::remove_all(in("several"));
      const Outcome several = under_mpirun(processes, votes("several", "11"));
      ASSERT_EQ(several.status, 0) << several.error;
      EXPECT_EQ(log_lines(in("several") / log), lines) << processes;
      EXPECT_EQ(without_times(read_tsv(contents(in("several") / table))),
                without_times(read_tsv(contents(in("one") / table))));
      EXPECT_EQ(several.out.find("draws with noise"), several.out.rfind("draws with noise"));  // one process prints
    }
    // Of one image, then on as several and as one.
    fs::remove_all(in("several"));
    for (const auto& [processes, images] : {std::pair{3, "1"}, {2, "6"}, {1, "11"}})
      ASSERT_EQ(under_mpirun(processes, votes("several", images)).status, 0);
    EXPECT_EQ(log_lines(in("several") / log), lines);
  }
}

// What was found before a process was killed is kept, and any number of processes goes on.
TEST_F(ProcessesOfARun, KeepImagesWhenOneDies) {
  const std::string network = train_small(in("run"));
  const auto votes = [&](const std::string& name, const std::string& images) {
    return "certify --method smoothing --noise 0.25 --n 2000 --threads 1 --images " + images + " --weights " + network +
           " --out " + in(name).string();
  };
  const Child mpirun = start_command(under_mpirun_command(2, votes("killed", "5000")));
  const fs::path log = in("killed") / "certify.jsonl";
  for (int tries = 0; tries < 3000 && whole_lines_of(log) < 2; ++tries) usleep(10000);
  const std::vector<pid_t> children = children_of(mpirun.pid);
  ASSERT_FALSE(children.empty());
  kill(children.back(), SIGKILL);
  EXPECT_NE(finish(mpirun).status, 0);
  const auto kept = whole_lines_of(log);
  ASSERT_GE(kept, 2);
  ASSERT_LT(kept, 5000);
  const std::string images = std::to_string(kept + 2);
  ASSERT_EQ(under_mpirun(3, votes("killed", images)).status, 0);
  ASSERT_EQ(run(votes("one", images)).status, 0);
  EXPECT_EQ(without_times(read_tsv(contents(in("killed") / "certify.tsv"))),
            without_times(read_tsv(contents(in("one") / "certify.tsv"))));
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
  const std::string network = (in("one") / "model.safetensors").string();
  ASSERT_EQ(run(job("one", "")).status, 0);
  for (const auto& [command, fragment] :
       {std::pair{"certify --eps 0.1", "--method: complete given with 2 processes; needs one"},
        {"eval", "--noise: nothing given with 2 processes; needs one"}}) {
    const Outcome alone = under_mpirun(2, command + (" --weights " + network));
    EXPECT_EQ(alone.status, 2);
    EXPECT_NE(alone.error.find(fragment), std::string::npos) << alone.error;
    EXPECT_EQ(alone.error.find(fragment), alone.error.rfind(fragment)) << alone.error;
  }
  // Only the first process sees that the folder holds other work.
  const std::string votes =
      "eval --noise 0.1 --n 11 --images 2 --weights " + network + " --out " + in("votes").string();
  ASSERT_EQ(run(votes).status, 0);
  const Outcome other = under_mpirun(2, votes + " --seed 1");
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.error.find("--seed: 1 given"), std::string::npos) << other.error;
}

}  // namespace
}  // namespace program_tests
