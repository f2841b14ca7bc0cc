// The program as its user meets it: small jobs, their files, their exit status and what they print.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Outcome {
  int status = -1;
  std::string out, error;
};

std::string program() {
  const char* path = std::getenv("MOLLIFY_PROGRAM");
  return path ? path : "";
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}

// A started program and the read end of its output.
struct Child {
  pid_t pid;
  int out, error;
};

Child start(const std::string& arguments) {
  std::vector<std::string> words = words_of(arguments);
  words.insert(words.begin(), program());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int out[2], error[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(error, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(out[1], STDOUT_FILENO);
    dup2(error[1], STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  close(error[1]);
  return {pid, out[0], error[0]};
}

Outcome finish(const Child& child) {
  Outcome outcome;
  pollfd ends[2] = {{child.out, POLLIN, 0}, {child.error, POLLIN, 0}};
  std::string* const texts[2] = {&outcome.out, &outcome.error};
  char buffer[4096];
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    poll(ends, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      const ssize_t count = read(ends[i].fd, buffer, sizeof buffer);
      if (count > 0) {
        texts[i]->append(buffer, static_cast<size_t>(count));
      } else {
        close(ends[i].fd);
        ends[i].fd = -1;
      }
    }
  }
  int status = 0;
  waitpid(child.pid, &status, 0);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

Outcome run(const std::string& arguments) { return finish(start(arguments)); }

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

json last_line(const fs::path& path) {
  std::istringstream lines(contents(path));
  std::string line, last;
  while (std::getline(lines, line)) last = line;
  return json::parse(last);
}

class Program : public testing::Test {
 protected:
  void SetUp() override {
    if (program().empty()) GTEST_SKIP() << "MOLLIFY_PROGRAM does not name the program";
    std::string pattern = (fs::temp_directory_path() / "mollify-program-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }

  fs::path in(const std::string& name) const { return folder_ / name; }

  // A run of the small job into folder `name`.
  std::string job(const std::string& name, const std::string& more) const {
    return "train --data digits --limit 600 --batch 50 --model cnn3_tiny --validation 100 --out " + in(name).string() + " " + more;
  }
  void expect_same_run(const std::string& a, const std::string& b) const {
    EXPECT_FALSE(contents(in(a) / "metrics.jsonl").empty());
    EXPECT_EQ(contents(in(a) / "metrics.jsonl"), contents(in(b) / "metrics.jsonl"));
    EXPECT_TRUE(contents(in(a) / "model.safetensors") == contents(in(b) / "model.safetensors")) << a << " and " << b;
  }

  fs::path folder_;
};

TEST_F(Program, RepeatsMetricsToTheLastDigitOnAnyNumberOfThreads) {
  const std::string options = "--epochs 2 --optimizer adam --input-noise 0.1 --label-noise 0.1 --augment on";
  for (const char* name : {"1", "2", "4"}) EXPECT_EQ(run(job(name, options + " --threads " + name)).status, 0);
  EXPECT_EQ(run(job("again", options)).status, 0);
  for (const char* name : {"2", "4", "again"}) expect_same_run("1", name);
  for (const char* file : {"config.json", "timings.jsonl", "curves.svg", "checkpoint.safetensors", "best.safetensors"})
    EXPECT_TRUE(fs::exists(in("1") / file)) << file;
}

TEST_F(Program, GoesOnAfterAnEpochAsIfUnbroken) {
  for (const std::string optimizer : {"sgd", "adamw"}) {
    const std::string options = "--schedule constant --overwrite --optimizer " + optimizer;
    EXPECT_EQ(run(job("unbroken", options + " --epochs 3")).status, 0);
    EXPECT_EQ(run(job("broken", options + " --epochs 1")).status, 0);
    EXPECT_EQ(run("train --resume --epochs 3 --out " + in("broken").string()).status, 0);
    expect_same_run("unbroken", "broken");
  }
}

TEST_F(Program, GoesOnWithinAnEpochAsIfUnbroken) {
  const std::string options = "--epochs 2 --model lenet_300_100 --schedule cosine --warmup 5 --augment on";  // has batch-norm state
  EXPECT_EQ(run(job("unbroken", options)).status, 0);
  EXPECT_EQ(run(job("broken", options + " --steps 3")).status, 0);
  EXPECT_FALSE(fs::exists(in("broken") / "metrics.jsonl"));
  EXPECT_EQ(run("train --resume --steps 14 --out " + in("broken").string()).status, 0);
  EXPECT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  expect_same_run("unbroken", "broken");
}

TEST_F(Program, AnInterruptLeavesARunThatGoesOn) {
  const std::string options = "--epochs 400 --optimizer adam --schedule constant";
  const Child child = start(job("broken", options));
  for (int i = 0; i < 3000 && !fs::exists(in("broken") / "metrics.jsonl"); ++i) usleep(10'000);
  usleep(15'000);
  kill(child.pid, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.status, 130);
  EXPECT_NE(outcome.error.find("--resume"), std::string::npos) << outcome.error;
  const int64_t epochs = last_line(in("broken") / "metrics.jsonl")["epoch"].get<int64_t>() + 2;
  EXPECT_EQ(run("train --resume --epochs " + std::to_string(epochs) + " --out " + in("broken").string()).status, 0);
  EXPECT_EQ(run(job("unbroken", options + " --epochs " + std::to_string(epochs))).status, 0);
  expect_same_run("unbroken", "broken");
}

TEST_F(Program, EvaluationAgreesWithTraining) {
  ASSERT_EQ(run(job("run", "--epochs 2")).status, 0);
  const json last = last_line(in("run") / "metrics.jsonl");
  const std::string command = "eval --weights " + (in("run") / "model.safetensors").string();
  const Outcome outcome = run(command + " --json");
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result["accuracy"], last["test_accuracy"]);
  EXPECT_EQ(result["loss"], last["test_loss"]);
  EXPECT_EQ(result["classes"].size(), 10u);
  const Outcome text = run(command);
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.out.find("accuracy"), std::string::npos);
}

TEST_F(Program, EarlyStoppingWatchesTheValidationLoss) {
  const Outcome outcome = run(job("run", "--epochs 30 --model linear --lr 1 --momentum 0 --schedule constant --patience 2"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("stopped early"), std::string::npos) << outcome.out;
  EXPECT_LT(last_line(in("run") / "metrics.jsonl")["epoch"], 30);
}

TEST_F(Program, ALossThatIsNoNumberEndsTheRunAndKeepsItsCheckpoint) {
  const std::string options = "--loss squared_error --model linear --lr 0.1 --momentum 0 --schedule constant";  // grows some ninefold a step
  ASSERT_EQ(run(job("run", options + " --epochs 1")).status, 0);
  const Outcome grown = run("train --resume --epochs 9 --out " + in("run").string());
  EXPECT_EQ(grown.status, 1);
  EXPECT_EQ(std::count(grown.error.begin(), grown.error.end(), '\n'), 1) << grown.error;
  const Outcome evaluation = run("eval --json --weights " + (in("run") / "model.safetensors").string());
  ASSERT_EQ(evaluation.status, 0) << evaluation.error;
  EXPECT_EQ(json::parse(evaluation.out)["loss"], last_line(in("run") / "metrics.jsonl")["test_loss"]);
  const Outcome fresh = run(job("fresh", "--epochs 3 --loss squared_error --model linear --lr 1e30"));
  EXPECT_EQ(fresh.status, 1);
  EXPECT_EQ(std::count(fresh.error.begin(), fresh.error.end(), '\n'), 1) << fresh.error;
  EXPECT_NE(fresh.error.find("loss"), std::string::npos) << fresh.error;
  EXPECT_FALSE(fs::exists(in("fresh") / "checkpoint.safetensors"));
}

TEST_F(Program, ErrorsAreOneLineAndStatusTwo) {
  ASSERT_EQ(run(job("run", "--epochs 1")).status, 0);
  std::ofstream(in("damaged")) << "not weights";
  const std::string here = in("run").string();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"train --epochs -3", "mollify train: --epochs: -3 given; needs at least 1\n"},
      {"train --epochs many", "--epochs: many given"},
      {"train --epochs", "mollify train: --epochs: no value given"},
      {"train --threads 99999999999", "--threads: 99999999999 given"},
      {"train --label-noise 1.5", "--label-noise: 1.5 given; needs from 0 to 1"},
      {"train --lr nan", "--lr: nan given"},
      {"train --model vgg", "--model: vgg given; needs cnn, "},
      {"train --wrong 1", "mollify train: --wrong given"},
      {"train extra", "mollify train: extra given"},
      {"train --device cuda", "this build has no CUDA kernels"},
      {"train --optimizer adam --momentum 0.5", "--momentum"},
      {"train --patience 2", "needs --validation"},
      {"train --limit 100 --validation 100 --out " + in("new").string(), "--validation: 100 given"},
      {"train --data cifar100 --data-dir /nowhere --out " + in("new").string(), "cifar100"},
      {"train --out " + here, "holds a run"},
      {"train --resume --out " + in("nothing").string(), "--resume"},
      {"train --resume --epochs 2 --out " + here, "--epochs: 2 given; the cosine schedule"},
      {"train --resume --batch 7 --out " + here, "--batch: 7 given; the run in"},
      {"eval", "--weights"},
      {"eval --weights " + in("nothing").string(), "cannot be read"},
      {"eval --weights " + in("damaged").string(), "damaged"},
      {"nonsense", "mollify: nonsense given"},
  };
  for (const auto& [arguments, fragment] : cases) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << arguments << ": " << outcome.error;
    EXPECT_NE(outcome.error.find(fragment), std::string::npos) << arguments << ": " << outcome.error;
    EXPECT_EQ(outcome.out, "") << arguments;
  }
}

TEST_F(Program, TellsAboutItself) {
  const Outcome nothing = run(""), help = run("--help"), info = run("info"), version = run("--version"), train = run("train --help");
  for (const Outcome& outcome : {nothing, help, info, version, train}) EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_EQ(nothing.out, help.out);
  for (const char* name : {"train", "eval", "info"}) EXPECT_NE(help.out.find(name), std::string::npos) << help.out;
  for (const char* name : {"SIMD", "BLAS", "threads", "models", "mnist"}) EXPECT_NE(info.out.find(name), std::string::npos) << info.out;
  EXPECT_EQ(version.out.rfind("mollify ", 0), 0u);
  EXPECT_NE(train.out.find("--weight-decay"), std::string::npos) << train.out;
}

// Tags close in the order in which they opened, and attributes are quoted.
TEST_F(Program, CurvesAreWellFormed) {
  ASSERT_EQ(run(job("run", "--epochs 2")).status, 0);
  const std::string svg = contents(in("run") / "curves.svg");
  std::vector<std::string> open;
  size_t at = 0;
  while ((at = svg.find('<', at)) != std::string::npos) {
    const size_t end = svg.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    EXPECT_EQ(std::count(tag.begin(), tag.end(), '\'') % 2, 0) << tag;
    EXPECT_EQ(tag.find('<'), std::string::npos) << tag;
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
    at = end;
  }
  EXPECT_TRUE(open.empty());
  for (const char* word : {"Loss", "Accuracy", "epoch", "validation", "polyline"}) EXPECT_NE(svg.find(word), std::string::npos) << word;
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

}  // namespace
