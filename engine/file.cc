#include <mollify/engine/file.h>

#include <mollify/engine/error.h>

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace mollify {
namespace {

constexpr size_t kChunk = size_t{1} << 18;

struct Inflater {
  z_stream stream{};
  explicit Inflater(Packing packing) {
    // 15: the largest window; + 16: gzip; negative: no header and no checksum.
    const int window = packing == Packing::gzip ? 15 + 16 : -15;
    require<MemoryError>(inflateInit2(&stream, window) == Z_OK, "inflate: no memory for the stream; needs about 50 KB");
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

}  // namespace

std::vector<uint8_t> unpack(const std::string& where, std::span<const uint8_t> packed, Packing packing, int64_t limit) {
  const char* kind = packing == Packing::gzip ? "gzip" : "deflate";
  Inflater inflater(packing);
  z_stream& stream = inflater.stream;
  std::vector<uint8_t> out, chunk(kChunk);
  size_t position = 0;  // of the first packed byte that the stream has not been given
  int status = Z_OK;
  while (status != Z_STREAM_END || stream.avail_in > 0 || position < packed.size()) {
    if (status == Z_STREAM_END) {
      require<FormatError>(packing == Packing::gzip, "{}, byte {}: the {} stream ends before its bytes do; needs both to end together",
                           where, position - stream.avail_in, kind);
      inflateReset(&stream);
    }
    if (stream.avail_in == 0) {
      stream.next_in = const_cast<uint8_t*>(packed.data()) + position;  // zlib only reads it
      stream.avail_in = static_cast<uInt>(std::min(kChunk, packed.size() - position));
      position += stream.avail_in;
    }
    stream.next_out = chunk.data();
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&stream, Z_NO_FLUSH);
    const size_t reached = position - stream.avail_in;
    require<FormatError>(status != Z_BUF_ERROR || stream.avail_in > 0, "{}, byte {}: the {} stream is truncated; needs the whole file",
                         where, reached, kind);
    require<FormatError>(status == Z_OK || status == Z_STREAM_END, "{}, byte {}: damaged {} stream ({}); needs an intact file", where,
                         reached, kind, stream.msg ? stream.msg : "no message");
    const size_t produced = chunk.size() - stream.avail_out;
    require<FormatError>(static_cast<int64_t>(out.size() + produced) <= limit,
                         "{}, byte {}: unpacks to more than {} bytes; needs at most that", where, reached, limit);
    out.insert(out.end(), chunk.begin(), chunk.begin() + static_cast<int64_t>(produced));
  }
  return out;
}

std::vector<uint8_t> read_bytes(const char* operation, const std::filesystem::path& path, int64_t limit) {
  const std::string where = format("{}: {}", operation, path.string());
  std::error_code failure;
  require<FormatError>(std::filesystem::is_regular_file(path, failure), "{} is no file; needs one", where);
  std::ifstream input(path, std::ios::binary);
  require<FormatError>(input.good(), "{} cannot be opened; needs a readable file", where);
  std::vector<uint8_t> bytes;
  while (input) {
    const size_t before = bytes.size();
    bytes.resize(before + kChunk);
    input.read(reinterpret_cast<char*>(bytes.data() + before), kChunk);
    bytes.resize(before + static_cast<size_t>(input.gcount()));
    require<FormatError>(static_cast<int64_t>(bytes.size()) <= limit, "{}, byte {}: the file goes on; needs at most {} bytes", where, limit,
                         limit);
  }
  require<FormatError>(!input.bad(), "{}, byte {}: cannot be read", where, bytes.size());
  const bool packed = bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
  return packed ? unpack(where, bytes, Packing::gzip, limit) : bytes;
}

void write_bytes(const char* operation, const std::filesystem::path& path, std::span<const std::string_view> parts) {
  const std::filesystem::path temporary = path.string() + ".tmp" + std::to_string(::getpid());
  try {
    std::ofstream file(temporary, std::ios::binary);
    for (const std::string_view part : parts) file.write(part.data(), static_cast<std::streamsize>(part.size()));
    file.close();
    require<FormatError>(file.good(), "{}: {} cannot be written ({}); needs a folder with room", operation, path.string(),
                         std::strerror(errno));
    std::filesystem::rename(temporary, path);
  } catch (const std::exception& error) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    if (dynamic_cast<const Error*>(&error)) throw;
    throw FormatError(format("{}: {} cannot be written: {}", operation, path.string(), error.what()));
  }
}

std::string excerpt(std::string_view text) {
  std::string out(text.substr(0, 40));
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + out + (text.size() > 40 ? "…'" : "'");
}

}  // namespace mollify
