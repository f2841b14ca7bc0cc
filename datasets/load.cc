#include <mollify/datasets/cifar.h>
#include <mollify/datasets/digits.h>
#include <mollify/datasets/image_folder.h>
#include <mollify/datasets/load.h>
#include <mollify/datasets/mnist.h>

#include <cstdlib>

namespace mollify::datasets {
namespace {

struct Source {
  const char* name;
  std::vector<const char*> folders;
  const char* address;
  Splits (*read)(const std::filesystem::path&);
};

const Source kSources[] = {
    {"mnist", {"mnist"}, "the four *-ubyte.gz files of https://ossci-datasets.s3.amazonaws.com/mnist/", read_mnist},
    {"cifar10", {"cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"},
     "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, unpacked", read_cifar10},
    {"cifar100", {"cifar-100-binary", "cifar100/cifar-100-binary"},
     "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz, unpacked", read_cifar100},
};

std::vector<std::filesystem::path> roots(const std::filesystem::path& data_dir) {
  std::vector<std::filesystem::path> out;
  if (!data_dir.empty()) out.push_back(data_dir);
  if (const char* folder = std::getenv("MOLLIFY_DATA"); folder && *folder) out.emplace_back(folder);
  out.emplace_back("data");
  return out;
}

// Folders that may hold the source, in the order in which they are tried.
std::vector<std::filesystem::path> candidates(const Source& source, const std::filesystem::path& data_dir) {
  std::vector<std::filesystem::path> out;
  for (const auto& root : roots(data_dir))
    for (const char* folder : source.folders) out.push_back(root / folder);
  return out;
}

std::optional<std::filesystem::path> find_source(const Source& source, const std::filesystem::path& data_dir) {
  for (const auto& path : candidates(source, data_dir)) {
    std::error_code failure;
    if (std::filesystem::is_directory(path, failure)) return path;
  }
  return std::nullopt;
}

const Source& source_named(const std::string& name) {
  for (const Source& source : kSources)
    if (name == source.name) return source;
  throw ValueError(format("load: dataset '{}'; needs digits, mnist, cifar10, cifar100 or folder", name));
}

}  // namespace

std::optional<std::filesystem::path> find(const std::string& name, const std::filesystem::path& data_dir) {
  return find_source(source_named(name), data_dir);
}

Splits load(const std::string& name, const std::filesystem::path& data_dir, int64_t extent) {
  if (name == "folder") {
    require<MissingData>(!data_dir.empty(), "load: folder: no folder given; needs the one that holds train and val");
    return read_image_folder(data_dir, extent);
  }
  require<ValueError>(extent == 0, "load: {} with images of {} pixels; needs 'folder', or the images' own extent", name,
                      extent);
  if (name == "digits") return {digits(60000, 0, Split::train), digits(10000, 0, Split::test)};
  const Source& source = source_named(name);
  if (const auto folder = find_source(source, data_dir)) return source.read(*folder);
  std::string looked;
  for (const auto& path : candidates(source, data_dir)) looked += (looked.empty() ? "" : ", ") + path.string();
  throw MissingData(
      format("load: {} is in none of {}; needs {} in one of them (MOLLIFY_DATA names the folder above it)", source.name,
             looked, source.address));
}

}  // namespace mollify::datasets
