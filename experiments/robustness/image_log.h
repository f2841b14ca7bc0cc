// What a long command finds of each image: a line of JSON an image, kept in a folder in which the same command goes on.
#pragma once

#include <mollify/experiments/options.h>
#include <mollify/experiments/run_folder.h>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>

namespace mollify::experiments {

class ImageLog {
 public:
  // With a folder, makes or locks it, and reads COMMAND.jsonl, whose last line may be cut off; the options and a sum of
  // the weights' bytes stand in COMMAND.json. Without one all stays in memory. `check` reads a line as the command
  // does, so that a line of something else is refused, by its number, before any work. Throws UsageError where the
  // folder's run had other options or weights, and FormatError for files of something else.
  using Check = std::function<void(const nlohmann::ordered_json& line)>;
  ImageLog(const std::string& command, const std::string& folder, const Options& options, const std::string& weights,
           const Check& check);

  void add(const nlohmann::ordered_json& line);  // with a number "index"
  // By index, of images below `images`.
  std::map<int64_t, nlohmann::ordered_json> lines(int64_t images) const;
  // Every `every`-th of the images that has no line.
  std::vector<int32_t> left(int64_t images, int64_t every) const;
  const std::filesystem::path& folder() const { return folder_; }  // empty: none

 private:
  std::filesystem::path file() const { return folder_ / (command_ + ".jsonl"); }
  void read(const Check& check);
  void require_same_run(const Options& options, const std::string& sum, const std::string& weights) const;

  const std::string command_;
  const std::filesystem::path folder_;
  std::optional<FolderLock> lock_;
  std::map<int64_t, nlohmann::ordered_json> lines_;
};

}  // namespace mollify::experiments
