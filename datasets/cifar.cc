#include <mollify/datasets/cifar.h>
#include <mollify/engine/file.h>
#include <mollify/datasets/load.h>

namespace mollify::datasets {
namespace {

constexpr int64_t kExtent = 32, kChannels = 3, kPlane = kExtent * kExtent;
constexpr const char* kRead = "read_cifar";

const std::vector<std::string> kTenNames = {"airplane", "automobile", "bird",  "cat",  "deer",
                                            "dog",      "frog",       "horse", "ship", "truck"};

const std::vector<std::string> kHundredNames = {
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm"};

struct Format {
  const char* name;
  int64_t label_bytes;  // the last of them is the label that is used
  int64_t label_limits[2];
  const std::vector<std::string>& class_names;

  int64_t record() const { return label_bytes + kChannels * kPlane; }
};

Format format_of(Cifar kind) {
  if (kind == Cifar::ten) return {"cifar10", 1, {10, 0}, kTenNames};
  return {"cifar100", 2, {20, 100}, kHundredNames};
}

void append_file(const Format& layout, const std::filesystem::path& path, int64_t records, std::vector<uint8_t>& pixels,
                 std::vector<int32_t>& labels) {
  const int64_t expected = records * layout.record();
  const std::string file = path.string();
  const std::vector<uint8_t> bytes = read_bytes(kRead, path, expected);
  require<FormatError>(static_cast<int64_t>(bytes.size()) == expected,
                       "{}: {}, byte {}: the file ends; needs {} records of {} bytes", kRead, file, bytes.size(),
                       records, layout.record());
  const size_t start = pixels.size();
  pixels.resize(start + records * kChannels * kPlane);
  uint8_t* to = pixels.data() + start;
  for (int64_t i = 0; i < records; ++i) {
    const int64_t at = i * layout.record();
    for (int64_t j = 0; j < layout.label_bytes; ++j)
      require<FormatError>(bytes[at + j] < layout.label_limits[j], "{}: {}, byte {}: label {}; needs 0 to {}", kRead,
                           file, at + j, bytes[at + j], layout.label_limits[j] - 1);
    const uint8_t* planes = bytes.data() + at + layout.label_bytes;
    labels.push_back(planes[-1]);
    for (int64_t pixel = 0; pixel < kPlane; ++pixel)
      for (int64_t channel = 0; channel < kChannels; ++channel) *to++ = planes[channel * kPlane + pixel];
  }
}

std::vector<std::filesystem::path> present(const std::filesystem::path& folder, const std::vector<std::string>& names) {
  std::vector<std::filesystem::path> out;
  for (const std::string& name : names) {
    out.push_back(folder / name);
    require<MissingData>(std::filesystem::exists(out.back()), "{}: {} is not in {}; needs it", kRead, name,
                         folder.string());
  }
  return out;
}

}  // namespace

Dataset read_cifar(Cifar kind, const std::vector<std::filesystem::path>& files, int64_t records_per_file) {
  require<ValueError>(records_per_file >= 1 && records_per_file <= 1000000,
                      "read_cifar: {} records a file; needs 1 to 1000000", records_per_file);
  const Format layout = format_of(kind);
  Dataset out{.name = layout.name, .height = kExtent, .width = kExtent, .channels = kChannels,
              .classes = static_cast<int64_t>(layout.class_names.size()), .class_names = layout.class_names};
  std::vector<uint8_t> pixels;
  for (const auto& file : files) append_file(layout, file, records_per_file, pixels, out.labels);
  out.images = in_memory(std::move(pixels), out.image_size());
  return out;
}

Splits read_cifar10(const std::filesystem::path& folder) {
  const auto train = present(
      folder, {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"});
  return {read_cifar(Cifar::ten, train, 10000), read_cifar(Cifar::ten, present(folder, {"test_batch.bin"}), 10000)};
}

Splits read_cifar100(const std::filesystem::path& folder) {
  return {read_cifar(Cifar::hundred, present(folder, {"train.bin"}), 50000),
          read_cifar(Cifar::hundred, present(folder, {"test.bin"}), 10000)};
}

}  // namespace mollify::datasets
