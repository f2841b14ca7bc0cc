// Small dataset files that tests write.
#pragma once

#include <mollify/datasets/dataset.h>

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

namespace mollify::datasets {

using Bytes = std::vector<uint8_t>;

// A folder that is removed at the end of its scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mollify-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp: no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, const Bytes& bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<int64_t>(bytes.size()));
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline Bytes all_pixels(const Dataset& dataset) {
  Bytes out;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const Bytes image = dataset.image(i);
    out.insert(out.end(), image.begin(), image.end());
  }
  return out;
}

inline Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  Bytes out(deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<uint8_t*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline Bytes idx(std::initializer_list<uint32_t> extents, const Bytes& values) {
  Bytes out{0, 0, 8, static_cast<uint8_t>(extents.size())};
  for (uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(extent >> shift));
  out.insert(out.end(), values.begin(), values.end());
  return out;
}

inline Bytes random_bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes out(count);
  for (auto& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

// Five images of 4 rows and 3 columns.
inline Bytes small_images() { return idx({5, 4, 3}, random_bytes(60, 1)); }
inline Bytes small_labels() { return idx({5}, {5, 0, 4, 1, 9}); }

// `operation` throws E, whose text has every fragment.
template <class E, class F>
void expect_error(F operation, std::initializer_list<std::string> fragments) {
  try {
    operation();
  } catch (const E& error) {
    for (const auto& fragment : fragments)
      EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos) << error.what();
    return;
  }
  ADD_FAILURE() << "nothing was thrown";
}

}  // namespace mollify::datasets
