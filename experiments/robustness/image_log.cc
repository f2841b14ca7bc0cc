#include <mollify/experiments/robustness/image_log.h>

#include <mollify/experiments/info.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/training/metrics.h>

#include <cstdio>

namespace mollify::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// FNV-1a, 64 bits.
std::string checksum(const std::string& bytes) {
  uint64_t sum = 0xcbf29ce484222325;
  for (const char byte : bytes) sum = (sum ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return std::to_string(sum);
}

}  // namespace

ImageLog::ImageLog(const std::string& command, const ImageLogRequest& request, const Options& options,
                   const std::string& weights, const Check& check)
    : command_(command), folder_(Processes::all().is_first() ? request.out : ""), skip_(request.skip) {
  if (request.out.empty()) return;
  Processes::all().first_does([&] { open(options, weights, check); });
}

void ImageLog::open(const Options& options, const std::string& weights, const Check& check) {
  const std::string at = "mollify " + command_ + ": --out";
  make_folder(at, folder_);
  lock_.emplace(at, folder_);
  const std::string sum = checksum(read_text(weights));
  const fs::path settings = folder_ / (command_ + ".json");
  if (fs::exists(settings)) {
    require_same_run(options, sum, weights);
    if (fs::exists(file())) read(check);
    return;
  }
  require<FormatError>(!fs::exists(file()), "{}: there without {}.json; needs another --out", file().string(),
                       command_);
  ordered_json written = options_to_json(options);
  written["checksum"] = sum;
  write_text(settings, written.dump(2) + "\n");
}

void ImageLog::require_same_run(const Options& options, const std::string& sum, const std::string& weights) const {
  const fs::path settings = folder_ / (command_ + ".json");
  std::set<std::string> all;
  for (const Option& option : options) all.insert(option.description.name);
  const ordered_json stored = ordered_json::parse(read_text(settings), nullptr, /*allow_exceptions=*/false);
  require<FormatError>(stored.is_object(), "{}: no JSON object; needs a folder of mollify {}, or a new one",
                       settings.string(), command_);
  merged_options(options, stored, all, "mollify " + command_, folder_.string());
  require<UsageError>(stored.value("checksum", "") == sum,
                      "mollify {}: --weights: {} given; the file has changed since the run in {}", command_, weights,
                      folder_.string());
}

void ImageLog::read(const Check& check) {
  int64_t number = 0;
  try {
    for (const std::string& line : whole_lines(file())) {
      ++number;
      const ordered_json stored = ordered_json::parse(line);
      check(stored);
      lines_[stored.at("index").get<int64_t>()] = stored;
    }
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(format("{}: line {}: {}", file().string(), number, error.what()));
  }
}

void ImageLog::add(const ordered_json& line) {
  if (!folder_.empty()) append_line(file(), line.dump());
  lines_[line.at("index").get<int64_t>()] = line;
}

std::vector<int32_t> ImageLog::left(int64_t images) const {
  std::vector<int32_t> indices;
  for (int64_t index = 0; index < images; index += skip_)
    if (!lines_.contains(index)) indices.push_back(static_cast<int32_t>(index));
  return indices;
}

ImageLog::Course ImageLog::add_left(int64_t images, const std::string& title, const LineOf& line_of) {
  const Processes& processes = Processes::all();
  processes.require_same(format("mollify {}: the instructions that processors have", command_), simd_target());
  const std::string of_first = processes.gather(ordered_json(left(images)).dump())[0];
  const auto due = ordered_json::parse(of_first).get<std::vector<int32_t>>();
  const auto done = static_cast<int64_t>(lines(images).size()), wanted = done + static_cast<int64_t>(due.size());
  std::optional<Progress> progress;
  if (processes.is_first()) progress.emplace(title, wanted, done);
  const auto at_once = static_cast<size_t>(processes.count()), mine = static_cast<size_t>(processes.rank());
  int64_t found = done;
  for (size_t first = 0; first < due.size() && !processes.any(interrupted()); first += at_once) {
    std::string line;
    try {
      if (first + mine < due.size()) line = line_of(due[first + mine]).dump();
    } catch (const ValueError& error) {
      if (processes.count() == 1) throw;
      throw Error(error.what());  // of this image alone: the other processes, which wait, are to be stopped
    }
    for (const std::string& each : processes.gather(line)) {
      if (each.empty()) continue;  // there were fewer images than processes
      add(ordered_json::parse(each));
      ++found;
    }
    if (progress) progress->update(found);
  }
  return {found, wanted};
}

int ImageLog::status_after(const Course& course) const {
  if (course.found == course.wanted) return 0;
  std::fflush(stdout);
  if (Processes::all().is_first())
    std::fprintf(stderr, "%s\n",
                 format("mollify {}: interrupted after {} of {} images{}", command_, course.found, course.wanted,
                        folder_.empty() ? "" : "; the same command goes on")
                     .c_str());
  return 130;
}

std::map<int64_t, ordered_json> ImageLog::lines(int64_t images) const {
  return {lines_.begin(), lines_.lower_bound(images)};
}

Options image_log_options(ImageLogRequest& r) {
  return {{{"skip", "Data", "only every so many of the images", nullptr, true}, &r.skip, at_least(1)},
          {{"out", "Run",
            "folder that keeps what is found, a line an image; of votes also a table in the columns of Cohen's logs "
            "(.tsv), of attacks the images (.npy) and a picture; the same command goes on where it ended",
            "none", true},
           &r.out,
           {}}};
}

}  // namespace mollify::experiments
