// The program as a child process: its exit status, what it prints and the files that it leaves.
#pragma once

#include "../cases.h"

#include <mollify/experiments/json.h>

#include <gtest/gtest.h>

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
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace program_tests {

namespace fs = std::filesystem;
using mollify::cases;
using json = nlohmann::ordered_json;

struct Outcome {
  int status = -1;
  std::string out, error;
};

inline std::string program() {
  const char* path = std::getenv("MOLLIFY_PROGRAM");
  return path ? path : "";
}

inline std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}

// A started program and the read end of its output.
struct Child {
  pid_t pid;
  int out, error;
};

// A command of words, its program first, which is looked for as a shell does.
inline Child start_command(const std::string& command) {
  std::vector<std::string> words = words_of(command);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int out[2], error[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(error, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(out[1], STDOUT_FILENO);
    dup2(error[1], STDERR_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  close(error[1]);
  return {pid, out[0], error[0]};
}

inline Child start(const std::string& arguments) { return start_command(program() + " " + arguments); }

inline Outcome finish(const Child& child) {
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

inline Outcome run(const std::string& arguments) { return finish(start(arguments)); }

inline std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline json last_line(const fs::path& path) {
  std::istringstream lines(contents(path));
  std::string line, last;
  while (std::getline(lines, line)) last = line;
  return json::parse(last);
}

// Tags close in the order in which they opened, attributes are quoted, and no number is NaN.
inline void expect_well_formed(const std::string& svg) {
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
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

// Command lines that the program refuses in one line that holds a fragment, and what it prints nothing else for.
inline void expect_refused(const std::vector<std::pair<std::string, std::string>>& cases) {
  for (const auto& [arguments, fragment] : cases) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << arguments << ": " << outcome.error;
    EXPECT_NE(outcome.error.find(fragment), std::string::npos) << arguments << ": " << outcome.error;
    EXPECT_EQ(outcome.out, "") << arguments;
  }
}

// Tests of the program in a folder of their own.
class ProgramTest : public testing::Test {
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

  fs::path folder_;
};

}  // namespace program_tests
