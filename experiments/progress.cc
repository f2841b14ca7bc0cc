#include <mollify/experiments/progress.h>

#include <mollify/experiments/terminal.h>

#include <unistd.h>

#include <cstdio>

namespace mollify::experiments {
namespace {

constexpr int kCells = 24;
constexpr double kBarInterval = 0.1, kLineInterval = 10;  // seconds
constexpr const char* kClear = "\r\x1b[K";

// A line that the next one replaces: one character short of the width, where some terminals would wrap.
void rewrite(std::FILE* file, int descriptor, const std::string& line) {
  std::fprintf(file, "\r%s\x1b[K", cut(line, columns(descriptor) - 1).c_str());
  std::fflush(file);
}

std::string bar(double share) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(share * kCells * 8);
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  out += kEighths[eighths % 8];
  for (int i = (eighths + 7) / 8; i < kCells; ++i) out += " ";
  return out;
}

std::string clock_text(double seconds) {
  const long long whole = static_cast<long long>(seconds + 0.5);
  char text[48];
  if (whole >= 3600) std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  else std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  return text;
}

}  // namespace

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Progress::Progress(std::string title, int64_t total, int64_t done, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      first_(done),
      terminal_(rewrites(STDOUT_FILENO)),
      start_(Clock::now()),
      shown_(start_) {}

Progress::~Progress() {
  if (!terminal_) return;
  std::fputs(kClear, stdout);
  std::fflush(stdout);
}

std::string Progress::line(int64_t done, std::optional<double> loss) const {
  const double share = static_cast<double>(done) / static_cast<double>(total_), seconds = seconds_since(start_);
  const double rate = seconds > 0 ? static_cast<double>(done - first_) / seconds : 0;
  const std::string left = rate > 0 ? clock_text(static_cast<double>(total_ - done) / rate) : "?";
  char numbers[160];
  const int percent = static_cast<int>(100 * share);
  const int length =
      unit_ == "images"
          ? std::snprintf(numbers, sizeof numbers, "%3d %%  %.0f images/s  %s left", percent, rate, left.c_str())
          : std::snprintf(numbers, sizeof numbers, "%lld of %lld %s  %s left", static_cast<long long>(done),
                          static_cast<long long>(total_), unit_.c_str(), left.c_str());
  if (loss) std::snprintf(numbers + length, sizeof numbers - static_cast<size_t>(length), "  loss %.4f", *loss);
  const std::string line = title_ + "  " + numbers;
  const bool room = terminal_ && static_cast<int>(line.size()) + kCells + 4 < columns(STDOUT_FILENO);
  return room ? title_ + "  │" + bar(share) + "│ " + numbers : line;
}

void Progress::update(int64_t done, std::optional<double> loss) {
  if (seconds_since(shown_) < (terminal_ ? kBarInterval : kLineInterval)) return;
  shown_ = Clock::now();
  if (terminal_) return rewrite(stdout, STDOUT_FILENO, line(done, loss));
  std::printf("%s\n", line(done, loss).c_str());
  std::fflush(stdout);
}

StatusLine::StatusLine() : terminal_(rewrites(STDERR_FILENO)), shown_(Clock::now()) {}

StatusLine::~StatusLine() {
  if (terminal_) std::fputs(kClear, stderr);
}

bool StatusLine::due() const { return seconds_since(shown_) >= (terminal_ ? kBarInterval : kLineInterval); }

void StatusLine::update(const std::string& text) {
  if (!due()) return;
  shown_ = Clock::now();
  if (terminal_) return rewrite(stderr, STDERR_FILENO, text);
  std::fprintf(stderr, "%s\n", text.c_str());
}

void show_briefly(const std::string& text) {
  if (!rewrites(STDOUT_FILENO)) return;
  std::printf("%s%s%s", kClear, cut(text, columns(STDOUT_FILENO) - 1).c_str(), "\r");
  std::fflush(stdout);
}

}  // namespace mollify::experiments
