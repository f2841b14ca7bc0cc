#include <mollify/experiments/robustness/image_log.h>

#include <mollify/experiments/training/metrics.h>

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

ImageLog::ImageLog(const std::string& command, const std::string& folder, const Options& options,
                   const std::string& weights, const Check& check)
    : command_(command), folder_(folder) {
  if (folder.empty()) return;
  const std::string at = "mollify " + command + ": --out";
  make_folder(at, folder_);
  lock_.emplace(at, folder_);
  const std::string sum = checksum(read_text(weights));
  const fs::path settings = folder_ / (command + ".json");
  if (fs::exists(settings)) {
    require_same_run(options, sum, weights);
    if (fs::exists(file())) read(check);
    return;
  }
  require<FormatError>(!fs::exists(file()), "{}: there without {}.json; needs another --out", file().string(), command);
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

std::vector<int32_t> ImageLog::left(int64_t images, int64_t every) const {
  std::vector<int32_t> indices;
  for (int64_t index = 0; index < images; index += every)
    if (!lines_.contains(index)) indices.push_back(static_cast<int32_t>(index));
  return indices;
}

std::map<int64_t, ordered_json> ImageLog::lines(int64_t images) const {
  return {lines_.begin(), lines_.lower_bound(images)};
}

}  // namespace mollify::experiments
