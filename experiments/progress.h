// What shows while something runs: a bar that moves on a terminal, else a plain line now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace mollify::experiments {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start);

class Progress {
 public:
  // `done` of `total` were done before. Images pass fast and show their rate; of other units it shows how many are
  // done.
  Progress(std::string title, int64_t total, int64_t done, std::string unit = "images");
  ~Progress();  // clears the bar
  Progress(const Progress&) = delete;

  void update(int64_t done, std::optional<double> loss = {});  // loss of the last batch

 private:
  std::string line(int64_t done, std::optional<double> loss) const;

  const std::string title_, unit_;
  const int64_t total_, first_;
  const bool terminal_;
  const Clock::time_point start_;
  Clock::time_point shown_;
};

// The same on standard error for what is no share of a whole: a line that moves on a terminal, else a plain one now and
// then.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine();  // clears the line
  StatusLine(const StatusLine&) = delete;

  bool due() const;  // whether update would show anything now
  void update(const std::string& text);

 private:
  const bool terminal_;
  Clock::time_point shown_;
};

// A short line that stays on a terminal only until the next output; nothing elsewhere.
void show_briefly(const std::string& text);

}  // namespace mollify::experiments
