#include <mollify/engine/file.h>

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <locale>
#include <sstream>

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

// 0, or the errno of the write that failed.
int write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

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
      require<FormatError>(packing == Packing::gzip,
                           "{}, byte {}: the {} stream ends before its bytes do; needs both to end together", where,
                           position - stream.avail_in, kind);
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
    require<FormatError>(status != Z_BUF_ERROR || stream.avail_in > 0,
                         "{}, byte {}: the {} stream is truncated; needs the whole file", where, reached, kind);
    require<FormatError>(status == Z_OK || status == Z_STREAM_END,
                         "{}, byte {}: damaged {} stream ({}); needs an intact file", where, reached, kind,
                         stream.msg ? stream.msg : "no message");
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
    require<FormatError>(static_cast<int64_t>(bytes.size()) <= limit,
                         "{}, byte {}: the file goes on; needs at most {} bytes", where, limit, limit);
  }
  require<FormatError>(!input.bad(), "{}, byte {}: cannot be read", where, bytes.size());
  const bool packed = bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
  return packed ? unpack(where, bytes, Packing::gzip, limit) : bytes;
}

std::string write_failure(const std::filesystem::path& path, int reason) {
  const bool full = reason == ENOSPC || reason == EDQUOT;
  const char* need = full              ? "room on the disk"
                     : reason == EFBIG ? "a higher limit of file sizes"
                                       : "a folder that may be written to";
  return format("{} cannot be written ({}); needs {}", path.string(), std::strerror(reason), need);
}

void write_bytes(const char* operation, const std::filesystem::path& path, std::span<const std::string_view> parts) {
  const std::filesystem::path temporary = path.string() + ".tmp" + std::to_string(::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  int reason = file < 0 ? errno : 0;
  for (size_t i = 0; i < parts.size() && reason == 0; ++i) reason = write_all(file, parts[i]);
  if (file >= 0 && ::close(file) != 0 && reason == 0) reason = errno;  // network file systems report a full disk here
  if (reason == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) reason = errno;
  if (reason == 0) return;
  if (file >= 0) ::unlink(temporary.c_str());
  throw WriteError(format("{}: {}", operation, write_failure(path, reason)));
}

std::string excerpt(std::string_view text) {
  std::string out(text.substr(0, 40));
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + out + (text.size() > 40 ? "…'" : "'");
}

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+') || text.find_first_not_of("+-.0123456789eE") != text.npos) return std::nullopt;
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());
  double value = 0;
  if (!(stream >> value) || !stream.eof()) return std::nullopt;
  const bool vanished = value == 0 && text.find_first_of("123456789") < text.find_first_of("eE");
  return vanished ? std::nullopt : std::optional(value);
}

}  // namespace mollify
