#include <mollify/experiments/reproduce/grid.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr auto kLookAround = std::chrono::milliseconds(100);

// Kernels run inline in each of the grid's threads, so that `jobs` cells occupy `jobs` processors.
class InlineKernels {
 public:
  InlineKernels() { set_num_threads(1); }
  ~InlineKernels() { set_num_threads(before_); }
  InlineKernels(const InlineKernels&) = delete;

 private:
  const int before_ = num_threads();
};

}  // namespace

Grid::Grid(const fs::path& folder, int jobs) : folder_(folder), file_(folder / "cells.jsonl"), jobs_(jobs) {
  if (fs::exists(file_)) read();
}

void Grid::read() {
  int64_t number = 0;
  try {
    for (const std::string& line : whole_lines(file_)) {
      ++number;
      const ordered_json stored = ordered_json::parse(line);
      const auto [cell, added] = finished_.try_emplace(stored.at("key").get<std::string>());
      if (!added) continue;
      cell->second = results_of(stored);
      seconds_ += stored.at("seconds").get<double>();
    }
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: line {}: {}", file_.string(), number, error.what()));
  }
}

void Grid::record(const Cell& cell, const Results& results, double seconds) {
  ordered_json line = {{"key", cell.key}, {"seconds", seconds}};
  line.update(json_of(results));
  append_line(file_, line.dump());
  finished_[cell.key] = results;
  seconds_ += seconds;
  std::error_code ignored;
  if (!cell.keeps_folder) fs::remove_all(folder_of(cell.key), ignored);
  fs::remove(folder_ / "cells", ignored);  // once it is empty
}

// The cells that one call of run has left to do, and the threads that do them. One mutex guards these members and the
// grid's.
class Grid::Round {
 public:
  Round(Grid& grid, const std::vector<Cell>& cells) : grid_(grid) {
    // Processes of one run share out cells; those that need each other stay together.
    const Processes& processes = Processes::all();
    const bool apart = std::all_of(cells.begin(), cells.end(), [](const Cell& cell) { return cell.needs.empty(); });
    for (size_t i = 0; i < cells.size(); ++i) {
      const int64_t rank = apart ? static_cast<int64_t>(i) % processes.count() : 0;
      if (rank != processes.rank()) continue;
      ++total_;
      if (!grid.finished_.contains(cells[i].key)) due_.push_back(&cells[i]);
    }
    done_ = total_ - static_cast<int64_t>(due_.size());
    const auto known = [&](const std::string& key) {
      return grid.finished_.contains(key) ||
             std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) { return cell.key == key; });
    };
    for (const Cell* cell : due_)
      for (const std::string& need : cell->needs)
        require<ValueError>(known(need), "grid: the cell '{}' needs '{}', which is not among the cells", cell->key,
                            need);
  }

  // On `jobs` threads; throws what went wrong outside the cells, such as a disk that is full.
  void run(const std::string& title, int jobs) {
    const InlineKernels guard;
    working_ = static_cast<int>(std::min<size_t>(due_.size(), static_cast<size_t>(jobs)));
    std::vector<std::thread> workers;
    for (int i = 0, count = working_; i < count; ++i) workers.emplace_back([this] { work(); });
    {
      std::optional<Progress> progress;
      if (Processes::all().is_first()) progress.emplace(title, std::max<int64_t>(1, total_), done_, "cells");
      std::unique_lock lock(mutex_);
      while (working_ > 0) {
        changed_.wait_for(lock, kLookAround);
        if (progress) progress->update(done_);
      }
    }
    for (std::thread& worker : workers) worker.join();
    if (fatal_) std::rethrow_exception(fatal_);
    for (const Cell* cell : due_)
      if (!interrupted())
        grid_.failures_.push_back(format("{}: needs '{}', which has no results", cell->key, *missing(*cell)));
  }

 private:
  // A cell that this one needs and that has no results yet.
  const std::string* missing(const Cell& cell) const {
    for (const std::string& need : cell.needs)
      if (!grid_.finished_.contains(need)) return &need;
    return nullptr;
  }

  void work() {
    std::unique_lock lock(mutex_);
    try {
      while (!due_.empty() && !interrupted() && !fatal_) {
        const auto ready = std::find_if(due_.begin(), due_.end(), [this](const Cell* cell) { return !missing(*cell); });
        if (ready != due_.end()) {
          const Cell& cell = **ready;
          due_.erase(ready);
          ++running_;
          finish(cell, lock);
          --running_;
          changed_.notify_all();
        } else if (running_ > 0) {
          changed_.wait_for(lock, kLookAround);
        } else {
          break;  // what is left needs cells that failed
        }
      }
    } catch (...) { fatal_ = std::current_exception(); }
    --working_;
    changed_.notify_all();
  }

  // Runs one cell, unlocked, and records it.
  void finish(const Cell& cell, std::unique_lock<std::mutex>& lock) {
    const auto start = Clock::now();
    std::optional<Results> results;
    std::string failure;
    try {
      const fs::path folder = grid_.folder_of(cell.key);
      fs::create_directories(folder);  // before another cell's end removes the folder of all as empty
      lock.unlock();
      results = cell.run(folder);
    } catch (const Interrupted&) {  // run again when the run goes on
    } catch (const std::exception& error) { failure = error.what(); }
    if (!lock.owns_lock()) lock.lock();
    if (results) grid_.record(cell, *results, seconds_since(start));
    if (!failure.empty()) grid_.failures_.push_back(cell.key + ": " + failure);
    ++done_;
  }

  Grid& grid_;
  int64_t total_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<const Cell*> due_;
  int64_t done_ = 0;
  int working_ = 0, running_ = 0;  // threads, and those with a cell
  std::exception_ptr fatal_;
};

std::vector<Results> Grid::run(const std::string& title, const std::vector<Cell>& cells) {
  Round(*this, cells).run(title, jobs_);
  if (Processes::all().count() > 1) {
    Processes::all().wait();
    if (fs::exists(file_)) read();  // what the others found
  }
  std::vector<Results> results;
  int64_t finished = 0;
  for (const Cell& cell : cells) {
    const bool known = finished_.contains(cell.key);
    finished += known;
    results.push_back(known ? finished_[cell.key] : Results{});
  }
  require<Interrupted>(!interrupted(), "interrupted after {} of {} cells ({})", finished, cells.size(), title);
  return results;
}

}  // namespace mollify::experiments
