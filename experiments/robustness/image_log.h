// What a long command finds of each image: a line of JSON an image, kept in a folder in which the same command goes on.
#pragma once

#include <mollify/experiments/json.h>
#include <mollify/experiments/options.h>
#include <mollify/experiments/run_folder.h>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>

namespace mollify::experiments {

struct ImageLogRequest {
  std::string out;   // folder; empty: none
  int64_t skip = 1;  // only every so many of the images
};
Options image_log_options(ImageLogRequest& request);

class ImageLog {
 public:
  // Of processes under mpirun, which must all make one, the first has the folder and the others have none.
  // With a folder, makes or locks it, and reads COMMAND.jsonl, whose last line may be cut off; the options and a sum of
  // the weights' bytes stand in COMMAND.json. Without one all stays in memory. `check` reads a line as the command
  // does, so that a line of something else is refused, by its number, before any work. Throws UsageError where the
  // folder's run had other options or weights, and FormatError for files of something else.
  using Check = std::function<void(const nlohmann::ordered_json& line)>;
  ImageLog(const std::string& command, const ImageLogRequest& request, const Options& options,
           const std::string& weights, const Check& check);

  void add(const nlohmann::ordered_json& line);  // with a number "index"
  // By index, of images below `images`.
  std::map<int64_t, nlohmann::ordered_json> lines(int64_t images) const;
  // Images that were asked for and have no line.
  std::vector<int32_t> left(int64_t images) const;

  // Adds lines of what is left, in the images' order, until an interrupt; on the way shows `title` and how far it is.
  // Processes under mpirun, which must all call it, share the images out; each ends with all the lines that were added.
  using LineOf = std::function<nlohmann::ordered_json(int32_t image)>;
  // Images with a line, and all that are to have one.
  struct Course {
    int64_t found, wanted;
  };
  Course add_left(int64_t images, const std::string& title, const LineOf& line_of);
  // The exit status. Of a course that was interrupted it says where, once for all processes.
  int status_after(const Course& course) const;

  const std::filesystem::path& folder() const { return folder_; }  // empty: none

 private:
  std::filesystem::path file() const { return folder_ / (command_ + ".jsonl"); }
  void open(const Options& options, const std::string& weights, const Check& check);
  void read(const Check& check);
  void require_same_run(const Options& options, const std::string& sum, const std::string& weights) const;

  const std::string command_;
  const std::filesystem::path folder_;
  const int64_t skip_;
  std::optional<FolderLock> lock_;
  std::map<int64_t, nlohmann::ordered_json> lines_;
};

}  // namespace mollify::experiments
