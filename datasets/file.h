// Files as bytes, for the readers of this folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace mollify::datasets {

// The bytes of a file, unpacked when it begins like gzip (1f 8b). Memory grows with the bytes that are really there.
// Throws FormatError when it cannot be read, its gzip stream is truncated, damaged or followed by something else, or it has more than
// `limit` bytes (before or after unpacking).
std::vector<uint8_t> read_bytes(const char* operation, const std::filesystem::path& file, int64_t limit);

}  // namespace mollify::datasets
