#include <mollify/datasets/augment.h>
#include <mollify/datasets/image_folder.h>
#include <mollify/datasets/jpeg.h>
#include <mollify/datasets/load.h>
#include <mollify/datasets/resize.h>
#include <mollify/engine/file.h>

#include <algorithm>
#include <map>

namespace mollify::datasets {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRead = "read_image_folder";
constexpr int64_t kChannels = 3, kTinyExtent = 64, kExtent = 224, kMostExtent = 4096;
constexpr int64_t kMostText = int64_t{1} << 28;  // bytes of a list

// Names under the root, and their labels.
struct Files {
  std::vector<std::string> names;
  std::vector<int32_t> labels;
};

class FolderImages final : public ImageSource {
 public:
  FolderImages(fs::path root, std::vector<std::string> names, int64_t size)
      : root_(std::move(root)), names_(std::move(names)), size_(size) {}

  int64_t count() const override { return static_cast<int64_t>(names_.size()); }
  int64_t image_size() const override { return size_ * size_ * kChannels; }
  bool decodes() const override { return true; }
  void read(int64_t index, std::span<uint8_t> pixels) const override {
    const Jpeg jpeg(root_ / names_[static_cast<size_t>(index)]);
    show(jpeg, centre_view(jpeg.height(), jpeg.width(), size_), pixels);
  }
  void read_crop(int64_t index, RandomSequence random, std::span<uint8_t> pixels) const override {
    const Jpeg jpeg(root_ / names_[static_cast<size_t>(index)]);
    show(jpeg, region_view(draw_region(jpeg.height(), jpeg.width(), random), size_), pixels);
  }

 private:
  // The decoder's own reduction costs a fraction of the filter's, but is a box of whole pixels: what is left to the
  // filter has at least twice the wanted size, so that the filter decides what is seen.
  void show(const Jpeg& jpeg, View view, std::span<uint8_t> pixels) const {
    int64_t reduction = 1;
    while (reduction < 8 && std::min(view.rows.step, view.columns.step) >= static_cast<double>(4 * reduction))
      reduction *= 2;
    for (Axis* axis : {&view.rows, &view.columns}) {
      axis->begin /= static_cast<double>(reduction);
      axis->step /= static_cast<double>(reduction);
    }
    resize(view, (jpeg.height() + reduction - 1) / reduction, (jpeg.width() + reduction - 1) / reduction,
           jpeg.decode(reduction), size_, pixels);
  }

  const fs::path root_;
  const std::vector<std::string> names_;
  const int64_t size_;
};

// Entries, as they are listed, know what they are: not one call of the system for each file of a million.
bool is_folder(const fs::directory_entry& entry) {
  std::error_code failure;
  return entry.is_directory(failure);
}
bool is_folder(const fs::path& path) {
  std::error_code failure;
  return fs::is_directory(path, failure);
}

bool is_jpeg(const fs::directory_entry& entry) {
  std::string end = entry.path().extension().string();
  for (char& letter : end) letter = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  return (end == ".jpg" || end == ".jpeg") && !is_folder(entry);
}

// What a folder holds of a kind, by name.
std::vector<std::string> sorted_names(const fs::path& folder, bool (*is_wanted)(const fs::directory_entry&)) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator at(folder, failure); !failure && at != fs::directory_iterator(); at.increment(failure)) {
    const std::string name = at->path().filename().string();
    if (name[0] != '.' && is_wanted(*at)) names.push_back(name);
  }
  require<FormatError>(!failure, "{}: {} cannot be read ({}); needs a readable folder", kRead, folder.string(),
                       failure.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> images_in(const fs::path& folder) {
  std::vector<std::string> names = sorted_names(folder, is_jpeg);
  require<FormatError>(!names.empty(), "{}: {} holds no image; needs files .jpg or .jpeg", kRead, folder.string());
  return names;
}

// The lines of a text, cut at tabs; lines that are empty have no field.
std::vector<std::vector<std::string>> fields_of(const fs::path& file) {
  const std::vector<uint8_t> bytes = read_bytes(kRead, file, kMostText);
  std::vector<std::vector<std::string>> lines(1);
  bool begins = true;
  for (const uint8_t byte : bytes) {
    if (byte == '\n') lines.emplace_back();
    if (byte == '\n' || byte == '\t') begins = true;
    if (byte == '\n' || byte == '\t' || byte == '\r') continue;
    if (begins) lines.back().emplace_back();
    begins = false;
    lines.back().back() += static_cast<char>(byte);
  }
  return lines;
}

int32_t label_of(const std::vector<std::string>& classes, const std::string& name, const std::string& where) {
  const auto found = std::lower_bound(classes.begin(), classes.end(), name);
  require<FormatError>(found != classes.end() && *found == name,
                       "{}: {}: class {}; needs one of the {} that have a folder in train", kRead, where, excerpt(name),
                       classes.size());
  return static_cast<int32_t>(found - classes.begin());
}

// <split>/<class>/*.jpeg or <split>/<class>/images/*.jpeg. The first image of every class, then the second of every
// class, and so on: any number of first images has all classes alike.
Files files_by_folder(const fs::path& root, const std::string& split, const std::vector<std::string>& classes) {
  const std::vector<std::string> folders = sorted_names(root / split, is_folder);
  require<FormatError>(!folders.empty(), "{}: {} holds no folder; needs one for each class", kRead,
                       (root / split).string());
  std::vector<Files> by_class;
  size_t most = 0;
  for (const std::string& folder : folders) {
    const int32_t label = label_of(classes, folder, (root / split).string());
    fs::path place = fs::path(split) / folder;
    if (is_folder(root / place / "images")) place /= "images";
    Files& own = by_class.emplace_back();
    for (const std::string& name : images_in(root / place)) own.names.push_back((place / name).string());
    own.labels.assign(own.names.size(), label);
    most = std::max(most, own.names.size());
  }
  Files files;
  for (size_t i = 0; i < most; ++i)
    for (const Files& own : by_class)
      if (i < own.names.size()) {
        files.names.push_back(own.names[i]);
        files.labels.push_back(own.labels[i]);
      }
  return files;
}

// val/images/*.jpeg, each with a line "<file><tab><class><tab>…" of val/val_annotations.txt.
Files annotated_files(const fs::path& root, const std::vector<std::string>& classes) {
  const fs::path list = root / "val" / "val_annotations.txt", folder = root / "val" / "images";
  std::map<std::string, int32_t> labels;
  int64_t line = 0;
  for (const std::vector<std::string>& fields : fields_of(list)) {
    const std::string where = format("{}, line {}", list.string(), ++line);
    if (fields.empty()) continue;
    require<FormatError>(fields.size() >= 2, "{}: {}: {}; needs a file and its class between tabs", kRead, where,
                         excerpt(fields[0]));
    const bool is_new = labels.emplace(fields[0], label_of(classes, fields[1], where)).second;
    require<FormatError>(is_new, "{}: {}: {} for the second time; needs a line for each image", kRead, where,
                         excerpt(fields[0]));
  }
  Files files;
  for (const std::string& name : images_in(folder)) {
    const auto found = labels.find(name);
    require<FormatError>(found != labels.end(), "{}: {} is not in {}; needs a line with its class", kRead,
                         (folder / name).string(), list.string());
    files.names.push_back((fs::path("val") / "images" / name).string());
    files.labels.push_back(found->second);
    labels.erase(found);
  }
  require<FormatError>(labels.empty(), "{}: {} names {}; needs it among the images of {}", kRead, list.string(),
                       labels.empty() ? "" : labels.begin()->first, folder.string());
  return files;
}

std::vector<std::string> class_names(const fs::path& root, std::vector<std::string> classes) {
  std::error_code failure;
  if (!fs::exists(root / "words.txt", failure)) return classes;
  std::map<std::string, std::string> words;
  for (const std::vector<std::string>& fields : fields_of(root / "words.txt"))
    if (fields.size() >= 2) words.emplace(fields[0], fields[1]);
  for (std::string& name : classes)
    if (const auto found = words.find(name); found != words.end()) name = found->second;
  return classes;
}

}  // namespace

Splits read_image_folder(const fs::path& folder, int64_t size) {
  require_jpeg(kRead);
  require<ValueError>(size >= 0 && size <= kMostExtent, "{}: images of {} pixels; needs 1 to {}, or 0", kRead, size,
                      kMostExtent);
  const std::string split = is_folder(folder / "val") ? "val" : "test";
  for (const std::string& part : {std::string("train"), split})
    require<MissingData>(is_folder(folder / part), "{}: {} is not in {}; needs folders train and val (or test)", kRead,
                         part == "test" ? "val" : part, folder.string());
  const std::vector<std::string> classes = sorted_names(folder / "train", is_folder);
  Files train = files_by_folder(folder, "train", classes);
  const bool annotated =
      is_folder(folder / "val" / "images") && !std::binary_search(classes.begin(), classes.end(), "images");
  Files test = annotated ? annotated_files(folder, classes) : files_by_folder(folder, split, classes);
  if (size == 0) size = is_folder(folder / "train" / classes[0] / "images") ? kTinyExtent : kExtent;
  const Dataset common{.name = "folder",
                       .height = size,
                       .width = size,
                       .channels = kChannels,
                       .classes = static_cast<int64_t>(classes.size()),
                       .class_names = class_names(folder, classes)};
  const auto dataset = [&](Files& files) {
    Dataset out = common;
    out.images = std::make_shared<FolderImages>(folder, std::move(files.names), size);
    out.labels = std::move(files.labels);
    return out;
  };
  return {dataset(train), dataset(test)};
}

}  // namespace mollify::datasets
