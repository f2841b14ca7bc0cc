#include <mollify/datasets/cifar.h>
#include <mollify/datasets/digits.h>
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

Splits load_from(const Source& source, const std::filesystem::path& data_dir) {
  std::string looked;
  for (const auto& root : roots(data_dir)) {
    for (const char* folder : source.folders) {
      const std::filesystem::path path = root / folder;
      std::error_code failure;
      if (std::filesystem::is_directory(path, failure)) return source.read(path);
      looked += (looked.empty() ? "" : ", ") + path.string();
    }
  }
  throw MissingData(format("load: {} is in none of {}; needs {} in one of them (MOLLIFY_DATA names the folder above it)", source.name,
                           looked, source.address));
}

}  // namespace

Splits load(const std::string& name, const std::filesystem::path& data_dir) {
  if (name == "digits") return {digits(60000, 0, Split::train), digits(10000, 0, Split::test)};
  for (const Source& source : kSources)
    if (name == source.name) return load_from(source, data_dir);
  throw ValueError(format("load: dataset '{}'; needs digits, mnist, cifar10 or cifar100", name));
}

}  // namespace mollify::datasets
