#include <mollify/nn/formats/zip.h>

#include <mollify/engine/error.h>

#include <zlib.h>

#include <cstring>

namespace mollify::nn::formats {
namespace {

// Signatures and sizes of the fixed parts of a zip file's records (PKWARE's APPNOTE, 4.3).
constexpr uint32_t kLocalSignature = 0x04034b50, kDirectorySignature = 0x02014b50, kEndSignature = 0x06054b50;
constexpr size_t kLocalSize = 30, kDirectorySize = 46, kEndSize = 22;
constexpr uint32_t kZip64 = 0xFFFFFFFF;  // "see the zip64 record"
constexpr uint32_t kEncrypted = 1;

// Little-endian, of `count` bytes, which are there.
uint32_t number(std::span<const uint8_t> file, size_t at, size_t count) {
  uint32_t value = 0;
  std::memcpy(&value, file.data() + at, count);
  return value;
}

void append(std::string& text, uint32_t value, size_t count) {
  text.append(reinterpret_cast<const char*>(&value), count);
}

// The record that ends the file, and its comment.
size_t find_end(const std::string& where, std::span<const uint8_t> file) {
  for (size_t comment = 0; comment <= 0xFFFF && kEndSize + comment <= file.size(); ++comment) {
    const size_t at = file.size() - kEndSize - comment;
    if (number(file, at, 4) == kEndSignature && number(file, at + 20, 2) == comment) return at;
  }
  throw FormatError(format("{}, byte {}: no zip directory at the end; needs a whole zip file", where, file.size()));
}

// Where the packed bytes of the member begin whose local header is at `at`.
size_t data_begin(const std::string& where, std::span<const uint8_t> file, size_t at, const std::string& name) {
  require<FormatError>(at + kLocalSize <= file.size() && number(file, at, 4) == kLocalSignature,
                       "{}, byte {}: no member's header; needs PK\\3\\4", where, at);
  const size_t name_size = number(file, at + 26, 2), extra_size = number(file, at + 28, 2);
  const size_t begin = at + kLocalSize + name_size + extra_size;
  require<FormatError>(begin <= file.size(), "{}, byte {}: the file ends within a member's header; needs all of it",
                       where, file.size());
  require<FormatError>(name == std::string(reinterpret_cast<const char*>(file.data()) + at + kLocalSize, name_size),
                       "{}, byte {}: another name than the directory's {}; needs the same", where, at + kLocalSize,
                       excerpt(name));
  return begin;
}

}  // namespace

std::vector<ZipMember> zip_members(const std::string& where, std::span<const uint8_t> file) {
  const size_t end = find_end(where, file);
  const uint32_t count = number(file, end + 10, 2), size = number(file, end + 12, 4), start = number(file, end + 16, 4);
  require<FormatError>(number(file, end + 4, 4) == 0 && number(file, end + 8, 2) == count,
                       "{}, byte {}: a zip file of several disks; needs one", where, end + 4);
  require<FormatError>(size_t{start} + size == end,
                       "{}, byte {}: a directory of {} bytes at {}; needs one that ends here (and no zip64)", where,
                       end, size, start);
  std::vector<ZipMember> members;
  size_t at = start, total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    require<FormatError>(at + kDirectorySize <= end && number(file, at, 4) == kDirectorySignature,
                         "{}, byte {}: {} of {} directory entries; needs the next one, PK\\1\\2", where, at, i, count);
    const size_t name_size = number(file, at + 28, 2), extra_size = number(file, at + 30, 2),
                 comment_size = number(file, at + 32, 2);
    const size_t next = at + kDirectorySize + name_size + extra_size + comment_size;
    require<FormatError>(next <= end, "{}, byte {}: the directory ends within an entry; needs all of it", where, at);
    ZipMember member{.name = std::string(reinterpret_cast<const char*>(file.data()) + at + kDirectorySize, name_size),
                     .packed_size = number(file, at + 20, 4),
                     .size = number(file, at + 24, 4),
                     .crc = number(file, at + 16, 4)};
    const uint32_t flags = number(file, at + 8, 2), method = number(file, at + 10, 2), local = number(file, at + 42, 4);
    const std::string entry = format("{}, byte {}: member {}", where, at, excerpt(member.name));
    require<FormatError>((flags & kEncrypted) == 0, "{} is encrypted; needs plain members", entry);
    require<FormatError>(method == 0 || method == 8, "{} is packed by method {}; needs 0 (stored) or 8 (deflated)",
                         entry, method);
    require<FormatError>(member.packed_size != kZip64 && member.size != kZip64 && local != kZip64,
                         "{} is zip64; needs less than 4 GiB", entry);
    member.deflated = method == 8;
    member.begin = data_begin(where, file, local, member.name);
    total += member.packed_size;
    require<FormatError>(member.begin + member.packed_size <= start && total <= start,
                         "{} has {} bytes at {}; needs members that lie apart, before the directory at {}", entry,
                         member.packed_size, member.begin, start);
    members.push_back(std::move(member));
    at = next;
  }
  require<FormatError>(at == end, "{}, byte {}: the directory goes on after its {} entries; needs its end", where, at,
                       count);
  return members;
}

std::vector<uint8_t> unpack(const std::string& where, std::span<const uint8_t> file, const ZipMember& member,
                            int64_t limit) {
  const std::span<const uint8_t> packed = file.subspan(member.begin, member.packed_size);
  const int64_t most = std::min<int64_t>(limit, static_cast<int64_t>(member.size));
  const std::vector<uint8_t> bytes = member.deflated ? unpack(where, packed, Packing::deflate, most)
                                                     : std::vector<uint8_t>(packed.begin(), packed.end());
  require<FormatError>(bytes.size() == member.size, "{}: {} bytes; needs the directory's {}", where, bytes.size(),
                       member.size);
  const auto crc = static_cast<uint32_t>(crc32_z(0, bytes.data(), bytes.size()));
  require<FormatError>(crc == member.crc, "{}: checksum {}; needs the directory's {}", where, crc, member.crc);
  return bytes;
}

std::string zip_of(const std::string& where, std::span<const StoredMember> members) {
  constexpr uint32_t kVersion = 20,
                     kDay = (1 << 5) + 1;  // zip 2.0; 1 January 1980, so that equal arrays give equal files
  std::string file, directory;
  for (const StoredMember& member : members) {
    const size_t begin = file.size();
    require<FormatError>(begin + directory.size() + 2 * member.name.size() + member.bytes.size() + kLocalSize +
                                     kDirectorySize + kEndSize <
                                 kZip64 &&
                             member.name.size() <= 0xFFFF && members.size() <= 0xFFFE,
                         "{}: member '{}' makes {} bytes; a zip file has less than 4 GiB", where, excerpt(member.name),
                         begin + member.bytes.size());
    const auto size = static_cast<uint32_t>(member.bytes.size()), name_size = static_cast<uint32_t>(member.name.size());
    const auto crc =
        static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(member.bytes.data()), member.bytes.size()));
    // What both records of a member share: version, flags, packing, time, day, checksum, sizes, the name's length.
    std::string common;
    for (const uint32_t word : {kVersion, 0u, 0u, 0u, kDay}) append(common, word, 2);
    for (const uint32_t word : {crc, size, size}) append(common, word, 4);
    for (const uint32_t word : {name_size, 0u}) append(common, word, 2);
    append(file, kLocalSignature, 4);
    file += common + member.name + member.bytes;
    append(directory, kDirectorySignature, 4);
    append(directory, kVersion, 2);
    directory += common;
    for (const int zeros : {2, 2, 2, 4})
      append(directory, 0, static_cast<size_t>(zeros));  // comment, disk, attributes twice
    append(directory, static_cast<uint32_t>(begin), 4);
    directory += member.name;
  }
  const auto count = static_cast<uint32_t>(members.size());
  std::string end;
  append(end, kEndSignature, 4);
  for (const uint32_t word : {0u, 0u, count, count}) append(end, word, 2);
  append(end, static_cast<uint32_t>(directory.size()), 4);
  append(end, static_cast<uint32_t>(file.size()), 4);
  append(end, 0, 2);
  return file + directory + end;
}

}  // namespace mollify::nn::formats
