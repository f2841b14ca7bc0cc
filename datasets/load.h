// Datasets by name, from the usual folders.
#pragma once

#include <mollify/datasets/dataset.h>

#include <filesystem>
#include <optional>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::datasets {

// Files that are in none of the folders where they were looked for; the text lists those and says where to download.
struct MissingData : Error { using Error::Error; };

// digits: 60,000 and 10,000 drawn images, seed 0. mnist, cifar10, cifar100: from the first of `data_dir` (unless
// empty), $MOLLIFY_DATA and ./data that has mnist/, cifar-10-batches-bin/ or cifar10/cifar-10-batches-bin/,
// cifar-100-binary/ or cifar100/cifar-100-binary/. Throws ValueError for another name, MissingData, and FormatError for
// files that are damaged.
// folder: read_image_folder of `data_dir`, which must be given, with images of `extent` by `extent` pixels; 0: its
// default, and the only value for the others.
Splits load(const std::string& name, const std::filesystem::path& data_dir = {}, int64_t extent = 0);

// The folder from which load would read mnist, cifar10 or cifar100; nothing is read.
std::optional<std::filesystem::path> find(const std::string& name, const std::filesystem::path& data_dir = {});

}  // namespace mollify::datasets
#pragma GCC visibility pop
