#include <mollify/experiments/reproduce/grid.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/training/metrics.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

constexpr auto kLookAround = std::chrono::milliseconds(100);

double number_of(const ordered_json& value) { return value.is_null() ? NAN : value.get<double>(); }  // JSON has no NaN

Results results_of(const ordered_json& line) {
  Results results;
  for (const auto& [name, value] : line.at("numbers").items()) results.numbers[name] = number_of(value);
  for (const auto& [name, values] : line.at("series").items())
    for (const ordered_json& value : values) results.series[name].push_back(number_of(value));
  return results;
}

}  // namespace

double Results::at(const std::string& name) const {
  const auto found = numbers.find(name);
  return found == numbers.end() ? NAN : found->second;
}

const std::vector<double>& Results::series_at(const std::string& name) const {
  static const std::vector<double> none;
  const auto found = series.find(name);
  return found == series.end() ? none : found->second;
}

Grid::Grid(const std::filesystem::path& folder, int jobs) : file_(folder / "cells.jsonl"), jobs_(jobs) {
  if (std::filesystem::exists(file_)) read();
}

void Grid::read() {
  int64_t number = 0;
  try {
    for (const std::string& line : whole_lines(file_)) {
      ++number;
      const ordered_json stored = ordered_json::parse(line);
      finished_[stored.at("key").get<std::string>()] = results_of(stored);
      seconds_ += stored.at("seconds").get<double>();
    }
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: line {}: {}", file_.string(), number, error.what()));
  }
}

void Grid::record(const std::string& key, const Results& results, double seconds) {
  const ordered_json line = {
      {"key", key}, {"seconds", seconds}, {"numbers", results.numbers}, {"series", results.series}};
  append_line(file_, line.dump());
  finished_[key] = results;
  seconds_ += seconds;
}

std::vector<Results> Grid::run(const std::string& title, const std::vector<Cell>& cells) {
  std::vector<const Cell*> due;
  for (const Cell& cell : cells)
    if (!finished_.count(cell.key)) due.push_back(&cell);
  const int64_t total = static_cast<int64_t>(cells.size());
  int64_t done = total - static_cast<int64_t>(due.size());

  std::mutex mutex;  // of all below, and of this object's members
  std::condition_variable changed;
  size_t next = 0;
  int working = static_cast<int>(std::min<size_t>(due.size(), static_cast<size_t>(jobs_)));
  std::exception_ptr fatal;

  // Runs one cell, unlocked, and records it.
  const auto finish = [&](const Cell& cell, std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    const auto start = Clock::now();
    std::optional<Results> results;
    std::string failure;
    try {
      results = cell.run();
    } catch (const Interrupted&) {
      failure.clear();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    lock.lock();
    if (results) record(cell.key, *results, seconds_since(start));
    if (!failure.empty()) failures_.push_back(cell.key + ": " + failure);
    ++done;
  };
  const auto work = [&] {
    std::unique_lock lock(mutex);
    try {
      while (next < due.size() && !interrupted() && !fatal) finish(*due[next++], lock);
    } catch (...) {
      fatal = std::current_exception();
    }
    --working;
    changed.notify_all();
  };

  // Kernels run inline in each of the threads, so that `jobs` cells occupy `jobs` processors.
  const int threads_before = num_threads();
  set_num_threads(1);
  std::vector<std::thread> workers;
  for (int i = 0, count = working; i < count; ++i) workers.emplace_back(work);
  {
    Progress progress(title, std::max<int64_t>(1, total), done, "cells");
    std::unique_lock lock(mutex);
    while (working > 0) {
      changed.wait_for(lock, kLookAround);
      progress.update(done);
    }
  }
  for (std::thread& worker : workers) worker.join();
  set_num_threads(threads_before);
  if (fatal) std::rethrow_exception(fatal);

  std::vector<Results> results;
  for (const Cell& cell : cells) results.push_back(finished_.count(cell.key) ? finished_[cell.key] : Results{});
  const auto finished =
      total - std::count_if(cells.begin(), cells.end(), [&](const Cell& cell) { return !finished_.count(cell.key); });
  require<Interrupted>(!interrupted(), "interrupted after {} of {} cells ({})", finished, total, title);
  return results;
}

}  // namespace mollify::experiments
