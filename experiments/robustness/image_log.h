// What a long command finds of each image: a line of JSON an image, kept in a folder in which the same command goes on.
#pragma once

#include <mollify/experiments/options.h>
#include <mollify/experiments/run_folder.h>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <optional>

namespace mollify::experiments {

class ImageLog {
 public:
  // With a folder, makes or locks it, and reads COMMAND.jsonl, whose last line may be cut off; the options and a sum of
  // the weights' bytes stand in COMMAND.json. Without one all stays in memory. Throws UsageError where the folder's run
  // had other options or weights, and FormatError for files of something else.
  ImageLog(const std::string& command, const std::string& folder, const Options& options, const std::string& weights);

  void add(const nlohmann::ordered_json& line);  // with a number "index"
  // By index, of images below `images`.
  std::map<int64_t, nlohmann::ordered_json> lines(int64_t images) const;
  bool has(int64_t index) const { return lines_.contains(index); }
  const std::filesystem::path& folder() const { return folder_; }  // empty: none
  std::filesystem::path file() const { return folder_ / (command_ + ".jsonl"); }

 private:
  void read();
  void require_same_run(const Options& options, const std::string& sum, const std::string& weights) const;

  const std::string command_;
  const std::filesystem::path folder_;
  std::optional<FolderLock> lock_;
  std::map<int64_t, nlohmann::ordered_json> lines_;
};

}  // namespace mollify::experiments
