// Weights in safetensors files (little-endian u64 header length, JSON header, packed data), the format that Python
// tools read too.
#pragma once

#include <mollify/nn/network.h>

#include <filesystem>
#include <map>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::nn {

struct SafeTensors {
  std::map<std::string, Tensor> tensors;         // F32, F64, I32, U8
  std::map<std::string, std::string> metadata;
};

// Written under a temporary name beside `path` and renamed, so that a reader or a crash never sees half a file.
// Throws FormatError naming the file when it cannot be written.
void write_safetensors(const std::filesystem::path& path, const SafeTensors& content);

// Throws FormatError with the file's name and the byte offset at fault: a header that is no JSON object or above 100
// MB, unknown dtypes, shapes that do not fit their bytes, holes, overlaps, and what follows the last tensor.
SafeTensors read_safetensors(const std::filesystem::path& path);

// A network's weights and state by piece name ("conv1.weight", "state.norm1.mean"); metadata "model", "input" and
// "output" hold its name and shapes, such as 28,28,1.
void save(const std::filesystem::path& path, const Network& network, const Tensor& weights, const Tensor& state,
          const std::map<std::string, std::string>& metadata = {});

// The network that a file's metadata describes, among those that make() knows. Throws FormatError, which starts with
// `file`.
Network described_network(const std::string& file, const std::map<std::string, std::string>& metadata);

struct Loaded { Tensor weights, state; std::map<std::string, std::string> metadata; };
// Throws FormatError unless the file holds exactly this network's pieces, in their shapes.
Loaded load(const std::filesystem::path& path, const Network& network);

}  // namespace mollify::nn
#pragma GCC visibility pop
