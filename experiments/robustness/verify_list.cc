#include <mollify/experiments/robustness/verify_list.h>

#include <mollify/engine/file.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/training/metrics.h>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;

constexpr double kGrace = 30,
                 kGraceShare =
                     0.5;  // past its limit an instance is ended after so many seconds, and this share of the limit
constexpr int kLookAround = 100;                  // milliseconds

struct Instance {
  std::string network, property;  // as the list names them
  fs::path network_file, property_file;
  double timeout = 0;
  std::string expected;  // unsat, sat, or empty: not known
};

struct Result {
  std::string verdict = "unknown", stage;
  double seconds = 0;
  bool unusable = false;  // its files could not be used
};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, ',');) fields.push_back(trimmed(field));
  return fields;
}

// The file as named, or packed, or unpacked.
fs::path find_file(const std::string& where, const fs::path& folder, const std::string& name) {
  const fs::path path = folder / name;
  std::vector<fs::path> candidates = {path, path.string() + ".gz"};
  if (path.extension() == ".gz") candidates.push_back(fs::path(path).replace_extension());
  for (const fs::path& candidate : candidates)
    if (fs::is_regular_file(candidate)) return candidate;
  throw FormatError(format("{}: {} is not there, with or without .gz", where, path.string()));
}

class List {
 public:
  explicit List(const VerifyCommand& command) : path_(command.csv), command_(command) {}

  std::vector<Instance> read() {
    std::istringstream lines(read_text(path_));
    std::vector<Instance> instances;
    for (std::string line; std::getline(lines, line);) {
      ++number_;
      const std::vector<std::string> fields = fields_of(line);
      if (fields.empty() || (fields.size() == 1 && fields[0].empty())) continue;
      if (columns_.empty() && read_heading(fields)) continue;
      instances.push_back(instance_of(fields));
    }
    require<FormatError>(!instances.empty(), "{}: no instance; needs lines network,property,seconds", path_.string());
    return instances;
  }

 private:
  std::string where() const { return format("{}: line {}", path_.string(), number_); }

  // Whether the first line names columns; without, they are VNN-COMP's.
  bool read_heading(const std::vector<std::string>& fields) {
    const bool heading = std::find(fields.begin(), fields.end(), "onnx") != fields.end();
    const std::vector<std::string> names = heading ? fields : std::vector<std::string>{"onnx", "vnnlib", "timeout"};
    for (size_t i = 0; i < names.size(); ++i)
      columns_[names[i] == "vnnlib" ? "property" : names[i] == "timeout_s" ? "timeout" : names[i]] = i;
    require<FormatError>(columns_.count("property"), "{}: a heading without property or vnnlib", where());
    return heading;
  }

  Instance instance_of(const std::vector<std::string>& fields) const {
    const auto field = [&](const char* column) {
      const auto found = columns_.find(column);
      return found == columns_.end() || found->second >= fields.size() ? std::string() : fields[found->second];
    };
    Instance out{.network = field("onnx"),
                 .property = field("property"),
                 .network_file = {},
                 .property_file = {},
                 .expected = field("expected")};
    require<FormatError>(!out.network.empty() && !out.property.empty(), "{}: {} fields; needs network,property,seconds",
                         where(), fields.size());
    out.network_file = find_file(where(), path_.parent_path(), out.network);
    out.property_file = find_file(where(), path_.parent_path(), out.property);
    const std::string seconds = field("timeout");
    out.timeout = command_.timeout.value_or(60);
    if (!command_.timeout && !seconds.empty()) {
      out.timeout = parse_number(seconds).value_or(0);
      require<FormatError>(out.timeout > 0, "{}: a limit of {} seconds; needs a number above 0", where(), seconds);
    }
    if (out.expected == "unknown") out.expected.clear();
    require<FormatError>(out.expected.empty() || out.expected == "sat" || out.expected == "unsat",
                         "{}: {} expected; needs sat, unsat or unknown", where(), out.expected);
    return out;
  }

  const fs::path path_;
  const VerifyCommand& command_;
  int64_t number_ = 0;
  std::map<std::string, size_t> columns_;
};

// One instance as a process.
class Process {
 public:
  Process(const Instance& instance, size_t number, const VerifyCommand& command)
      : number(number), limit_(instance.timeout * (1 + kGraceShare) + kGrace) {
    std::vector<std::string> words = {"mollify",
                                      "verify",
                                      instance.network_file.string(),
                                      instance.property_file.string(),
                                      "--timeout",
                                      format("{}", instance.timeout)};
    const int64_t threads = command.jobs > 1 ? 1 : command.threads;
    words.insert(words.end(), {"--device", command.device.device});
    if (threads > 0) words.insert(words.end(), {"--threads", format("{}", threads)});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    int out[2], error[2];
    require<Error>(pipe2(out, O_CLOEXEC) == 0 && pipe2(error, O_CLOEXEC) == 0, "verify: no pipe to a process ({})",
                   std::strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, error[1], STDERR_FILENO);
    const int failure = posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(error[1]);
    ends_[0] = out[0];
    ends_[1] = error[0];
    require<Error>(failure == 0, "verify: no process of this program ({})", std::strerror(failure));
  }
  ~Process() {
    for (const int end : ends_)
      if (end >= 0) close(end);
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Process(const Process&) = delete;

  const size_t number;  // of its instance

  void add_ends(std::vector<pollfd>& ends) const {
    for (const int end : ends_)
      if (end >= 0) ends.push_back({end, POLLIN, 0});
  }

  // Takes what came; its result once it has ended.
  std::optional<Result> look() {
    read_ends();
    if (seconds_since(start_) > limit_) kill(pid_, SIGKILL);
    if (ends_[0] >= 0 || ends_[1] >= 0) return std::nullopt;
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return result_of(status);
  }

 private:
  void read_ends() {
    for (size_t i = 0; i < 2; ++i) {
      pollfd end = {ends_[i], POLLIN, 0};
      char buffer[4096];
      while (ends_[i] >= 0 && poll(&end, 1, 0) > 0) {
        const ssize_t count = ::read(ends_[i], buffer, sizeof buffer);
        if (count > 0) {
          texts_[i].append(buffer, static_cast<size_t>(count));
        } else if (count == 0 || errno != EINTR) {
          close(ends_[i]);
          ends_[i] = -1;
        }
      }
    }
  }

  Result result_of(int status) const {
    Result result{.verdict = "unknown", .stage = "", .seconds = seconds_since(start_)};
    if (WIFSIGNALED(status)) {
      result.stage = seconds_since(start_) > limit_ ? "ended long after its limit"
                                                    : format("ended by signal {}", WTERMSIG(status));
      return result;
    }
    if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 130) {
      const size_t line = texts_[1].rfind('\n', texts_[1].size() - 2);
      result.stage = trimmed(texts_[1].substr(line == std::string::npos ? 0 : line + 1));
      result.stage.erase(std::remove(result.stage.begin(), result.stage.end(), '\n'), result.stage.end());
      result.unusable = WEXITSTATUS(status) == 2;
      return result;
    }
    const size_t stage = texts_[0].rfind("stage: "), end = texts_[0].rfind(" (");
    const std::string verdict = texts_[0].substr(0, texts_[0].find('\n'));
    if (stage == std::string::npos || end == std::string::npos || end < stage) {
      result.stage = "it printed no verdict";
      return result;
    }
    result.verdict = verdict;
    result.stage = texts_[0].substr(stage + 7, end - stage - 7);
    return result;
  }

  const double limit_;
  const Clock::time_point start_ = Clock::now();
  pid_t pid_ = 0;
  int ends_[2] = {-1, -1};
  std::string texts_[2];
};

// Whether the verdict is the expected one; empty where nothing speaks for or against.
std::string agreement(const Instance& instance, const Result& result) {
  if (instance.expected.empty() || result.verdict == "unknown") return "";
  return result.verdict == instance.expected ? "yes" : "NO";
}

struct Tally {
  int64_t solved = 0, wrong = 0, unknown = 0, unusable = 0;
};

class Report {
 public:
  explicit Report(const VerifyCommand& command) : out_(command.out) {
    std::printf("%-8s %9s  %-14s %-8s %-6s %s\n", "verdict", "seconds", "stage", "expected", "agrees",
                "network, property");
    std::fflush(stdout);
    if (!out_.empty()) write_text(out_, "onnx,property,timeout_s,expected,verdict,seconds,stage,agrees\n");
  }

  void add(const Instance& instance, const Result& result) {
    const std::string agrees = agreement(instance, result);
    ++(result.verdict == "unknown" ? tally.unknown : tally.solved);
    tally.wrong += agrees == "NO";
    tally.unusable += result.unusable;
    std::printf("%-8s %9.3f  %-14s %-8s %-6s %s %s\n", result.verdict.c_str(), result.seconds, result.stage.c_str(),
                instance.expected.c_str(), agrees.c_str(), instance.network.c_str(), instance.property.c_str());
    std::fflush(stdout);
    if (out_.empty()) return;
    std::string stage = result.stage;
    std::replace(stage.begin(), stage.end(), ',', ';');
    append_line(out_,
                format("{},{},{},{},{},{},{},{}", instance.network, instance.property, instance.timeout,
                       instance.expected, result.verdict, std::round(1000 * result.seconds) / 1000, stage, agrees));
  }

  Tally tally;

 private:
  const std::string out_;
};

}  // namespace

int verify_list(const VerifyCommand& command) {
  const std::vector<Instance> instances = List(command).read();
  catch_interrupts();
  Report report(command);
  StatusLine status;
  const auto start = Clock::now();
  std::vector<std::unique_ptr<Process>> running;
  size_t next = 0, done = 0;
  while ((next < instances.size() || !running.empty()) && !interrupted()) {
    while (next < instances.size() && static_cast<int64_t>(running.size()) < command.jobs) {
      running.push_back(std::make_unique<Process>(instances[next], next, command));
      ++next;
    }
    std::vector<pollfd> ends;
    for (const auto& process : running) process->add_ends(ends);
    poll(ends.data(), ends.size(), kLookAround);
    for (auto& process : running)
      if (const auto result = process->look()) {
        report.add(instances[process->number], *result);
        process.reset();
        ++done;
      }
    std::erase(running, nullptr);
    status.update(format("{} of {} instances", done, instances.size()));
  }
  const Tally& tally = report.tally;
  std::printf("%zu instances: %lld solved, %lld wrong, %lld unknown, %.1f s%s\n", instances.size(),
              static_cast<long long>(tally.solved), static_cast<long long>(tally.wrong),
              static_cast<long long>(tally.unknown), seconds_since(start),
              done < instances.size() ? " (interrupted)" : "");
  if (done < instances.size()) return 130;
  return tally.wrong > 0 ? 1 : tally.unusable > 0 ? 2 : 0;
}

}  // namespace mollify::experiments
