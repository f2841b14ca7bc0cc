// MNIST and its relatives: idx files of bytes, packed by gzip or not.
#pragma once

#include <mollify/datasets/dataset.h>

#include <filesystem>

#pragma GCC visibility push(default)
namespace mollify::datasets {

// An image file (magic 0x803: count, rows, columns) and its label file (magic 0x801: count) of the ten digits.
// Throws FormatError with the file's name and the byte where it is truncated, corrupt or longer than it says.
Dataset read_mnist(const std::filesystem::path& images, const std::filesystem::path& labels);

// {train,t10k}-{images-idx3,labels-idx1}-ubyte, each as it is or with .gz, in one folder. Throws MissingData when one
// is not there.
Splits read_mnist(const std::filesystem::path& folder);

}  // namespace mollify::datasets
#pragma GCC visibility pop
