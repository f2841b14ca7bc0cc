// Members of zip files, as far as NPZ needs them: below 4 GiB, stored or deflated, not encrypted.
#pragma once

#include <mollify/engine/file.h>

namespace mollify::nn::formats {

struct ZipMember {
  std::string name;
  size_t begin = 0;  // of the packed bytes, within the file
  size_t packed_size = 0, size = 0;
  uint32_t crc = 0;
  bool deflated = false;
};

// From the central directory, in its order. Throws FormatError beginning with `where` unless directory, members' own
// headers and the file's size agree; the members together are never longer than the file.
std::vector<ZipMember> zip_members(const std::string& where, std::span<const uint8_t> file);

// Throws FormatError beginning with `where` unless the member unpacks to the size (at most `limit`) and checksum that
// the directory gives.
std::vector<uint8_t> unpack(const std::string& where, std::span<const uint8_t> file, const ZipMember& member,
                            int64_t limit);

// A zip file of members that are stored as they are. Throws FormatError beginning with `where` from 4 GiB or 65,536
// members on.
struct StoredMember { std::string name, bytes; };
std::string zip_of(const std::string& where, std::span<const StoredMember> members);

}  // namespace mollify::nn::formats
