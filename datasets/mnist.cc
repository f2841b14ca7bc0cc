#include <mollify/engine/file.h>
#include <mollify/datasets/load.h>
#include <mollify/datasets/mnist.h>

#include <span>

namespace mollify::datasets {
namespace {

// The largest relative of MNIST has 815,000 images of 784 bytes.
constexpr int64_t kLimit = int64_t{1} << 30;
constexpr const char* kRead = "read_mnist";

struct Idx {
  std::vector<int64_t> extents;
  std::vector<uint8_t> values;
};

int64_t big_endian(std::span<const uint8_t> bytes, size_t at) {
  return int64_t{bytes[at]} << 24 | int64_t{bytes[at + 1]} << 16 | int64_t{bytes[at + 2]} << 8 | int64_t{bytes[at + 3]};
}

// Offsets in errors are of the unpacked bytes. The header: 0, 0, 8 (bytes), rank; then the extents, big-endian.
Idx read_idx(const std::filesystem::path& path, size_t rank) {
  Idx idx;
  idx.values = read_bytes(kRead, path, kLimit);
  std::vector<uint8_t>& bytes = idx.values;
  const std::string file = path.string();
  const size_t header = 4 + 4 * rank;
  require<FormatError>(bytes.size() >= header, "{}: {}, byte {}: the file ends within its header; needs {} bytes of it",
                       kRead, file, bytes.size(), header);
  const int64_t magic = big_endian(bytes, 0), expected = 0x800 + static_cast<int64_t>(rank);
  require<FormatError>(magic == expected, "{}: {}, byte 0: magic number {}; needs {} (idx, bytes, {} axes)", kRead,
                       file, magic, expected, rank);
  int64_t size = 1;
  for (size_t axis = 0; axis < rank; ++axis) {
    const int64_t extent = big_endian(bytes, 4 + 4 * axis);
    require<FormatError>(extent >= 1 && extent <= kLimit / size, "{}: {}, byte {}: extent {}; needs 1 to {}", kRead,
                         file, 4 + 4 * axis, extent, kLimit / size);
    idx.extents.push_back(extent);
    size *= extent;
  }
  const int64_t present = static_cast<int64_t>(bytes.size() - header);
  require<FormatError>(present >= size, "{}: {}, byte {}: the file ends after {} values; needs {}", kRead, file,
                       bytes.size(), present, size);
  require<FormatError>(present == size, "{}: {}, byte {}: {} more bytes follow the values; needs none", kRead, file,
                       header + size, present - size);
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<int64_t>(header));
  return idx;
}

std::filesystem::path packed_or_not(const std::filesystem::path& folder, const std::string& name) {
  for (const char* suffix : {"", ".gz"}) {
    const std::filesystem::path path = folder / (name + suffix);
    if (std::filesystem::exists(path)) return path;
  }
  throw MissingData(
      format("read_mnist: neither {} nor {}.gz is in {}; needs one of them", name, name, folder.string()));
}

Dataset read_half(const std::filesystem::path& folder, const std::string& prefix) {
  return read_mnist(packed_or_not(folder, prefix + "-images-idx3-ubyte"),
                    packed_or_not(folder, prefix + "-labels-idx1-ubyte"));
}

}  // namespace

Dataset read_mnist(const std::filesystem::path& images, const std::filesystem::path& labels) {
  Idx pixels = read_idx(images, 3);
  const Idx classes = read_idx(labels, 1);
  require<FormatError>(pixels.extents[0] == classes.extents[0],
                       "read_mnist: {} has {} images, {} has {} labels; needs one label an image", images.string(),
                       pixels.extents[0], labels.string(), classes.extents[0]);
  Dataset out{.name = "mnist", .height = pixels.extents[1], .width = pixels.extents[2], .channels = 1, .classes = 10};
  for (int digit = 0; digit < 10; ++digit) out.class_names.push_back(std::to_string(digit));
  for (size_t i = 0; i < classes.values.size(); ++i)
    require<FormatError>(classes.values[i] < 10, "read_mnist: {}, byte {}: label {}; needs 0 to 9", labels.string(),
                         8 + i, classes.values[i]);
  out.labels.assign(classes.values.begin(), classes.values.end());
  if (!out.labels.empty()) out.images = in_memory(std::move(pixels.values), out.image_size());
  return out;
}

Splits read_mnist(const std::filesystem::path& folder) {
  return {read_half(folder, "train"), read_half(folder, "t10k")};
}

}  // namespace mollify::datasets
