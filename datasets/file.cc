#include <mollify/datasets/file.h>
#include <mollify/engine/error.h>

#include <zlib.h>

#include <algorithm>
#include <fstream>

namespace mollify::datasets {
namespace {

constexpr size_t kChunk = size_t{1} << 18;

struct Inflater {
  z_stream stream{};
  Inflater() {
    // 15: the largest window; + 16: gzip, whose length and CRC zlib then checks.
    require<MemoryError>(inflateInit2(&stream, 15 + 16) == Z_OK, "inflate: no memory for the stream; needs about 50 KB");
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

// All members of a gzip file, joined.
std::vector<uint8_t> unpack(const char* operation, const std::string& file, std::vector<uint8_t>& packed, int64_t limit) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  std::vector<uint8_t> out, chunk(kChunk);
  size_t position = 0;  // of the first packed byte that the stream has not been given
  int status = Z_OK;
  while (status != Z_STREAM_END || stream.avail_in > 0 || position < packed.size()) {
    if (status == Z_STREAM_END) inflateReset(&stream);
    if (stream.avail_in == 0) {
      stream.next_in = packed.data() + position;
      stream.avail_in = static_cast<uInt>(std::min(kChunk, packed.size() - position));
      position += stream.avail_in;
    }
    stream.next_out = chunk.data();
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&stream, Z_NO_FLUSH);
    const size_t reached = position - stream.avail_in;
    require<FormatError>(status != Z_BUF_ERROR || stream.avail_in > 0,
                         "{}: {}, byte {}: the gzip stream is truncated; needs the whole file", operation, file, reached);
    require<FormatError>(status == Z_OK || status == Z_STREAM_END, "{}: {}, byte {}: damaged gzip stream ({}); needs an intact file",
                         operation, file, reached, stream.msg ? stream.msg : "no message");
    const size_t produced = chunk.size() - stream.avail_out;
    require<FormatError>(static_cast<int64_t>(out.size() + produced) <= limit,
                         "{}: {}, byte {}: unpacks to more than {} bytes; needs at most that", operation, file, reached, limit);
    out.insert(out.end(), chunk.begin(), chunk.begin() + produced);
  }
  return out;
}

}  // namespace

std::vector<uint8_t> read_bytes(const char* operation, const std::filesystem::path& path, int64_t limit) {
  const std::string file = path.string();
  std::error_code failure;
  require<FormatError>(std::filesystem::is_regular_file(path, failure), "{}: {} is no file; needs one", operation, file);
  std::ifstream input(path, std::ios::binary);
  require<FormatError>(input.good(), "{}: {} cannot be opened; needs a readable file", operation, file);
  std::vector<uint8_t> bytes;
  while (input) {
    const size_t before = bytes.size();
    bytes.resize(before + kChunk);
    input.read(reinterpret_cast<char*>(bytes.data() + before), kChunk);
    bytes.resize(before + static_cast<size_t>(input.gcount()));
    require<FormatError>(static_cast<int64_t>(bytes.size()) <= limit, "{}: {}, byte {}: the file goes on; needs at most {} bytes",
                         operation, file, limit, limit);
  }
  require<FormatError>(!input.bad(), "{}: {}, byte {}: cannot be read", operation, file, bytes.size());
  const bool packed = bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
  return packed ? unpack(operation, file, bytes, limit) : bytes;
}

}  // namespace mollify::datasets
