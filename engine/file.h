// Files as bytes, for readers and writers of formats.
#pragma once

#include <mollify/engine/error.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify {

// The system refuses to write: the disk is full, or the folder is not to be written to.
struct WriteError : FormatError { using FormatError::FormatError; };

// gzip: all members, joined, each with its checksum checked. deflate: one bare stream, as zip files hold them.
enum class Packing { gzip, deflate };

// The bytes that `packed` unpacks to; memory grows with what is really there. Throws FormatError beginning with `where`
// when the stream is truncated, damaged, followed by something else, or unpacks to more than `limit` bytes.
std::vector<uint8_t> unpack(const std::string& where, std::span<const uint8_t> packed, Packing packing, int64_t limit);

// The bytes of a file, unpacked when it begins like gzip (1f 8b). Throws FormatError beginning with "operation: file"
// when it cannot be read, cannot be unpacked, or has more than `limit` bytes (before or after unpacking).
std::vector<uint8_t> read_bytes(const char* operation, const std::filesystem::path& path, int64_t limit);

// The parts, one after the other, under a temporary name beside `path` that is then renamed, so that neither a reader
// nor a crash ever sees half a file. Throws WriteError, which names the file and the system's reason; the temporary
// file is then gone.
void write_bytes(const char* operation, const std::filesystem::path& path, std::span<const std::string_view> parts);

// "<path> cannot be written (<the system's reason>); needs …", for an errno.
std::string write_failure(const std::filesystem::path& path, int reason);

// A piece of a file as errors quote it: at most 40 characters, with what cannot be printed as '?'.
std::string excerpt(std::string_view text);

// The whole text as a decimal number in a double's range, whatever the locale; neither 0x10, inf nor +1 is one. For
// formats, because the C++ library of clang reads no floating-point numbers by std::from_chars before its version 20.
std::optional<double> parse_number(std::string_view text);

}  // namespace mollify
#pragma GCC visibility pop
