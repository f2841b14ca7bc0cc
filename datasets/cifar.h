// CIFAR-10 and CIFAR-100 in their binary version: a label byte (CIFAR-100: a coarse and a fine one) and 3 × 32 × 32
// planar pixels a record.
#pragma once

#include <mollify/datasets/dataset.h>

#include <filesystem>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::datasets {

enum class Cifar { ten, hundred };  // of CIFAR-100 the fine labels are used

// The images of some files, converted to channels last. Throws FormatError with the file's name and the byte where one
// is truncated, corrupt or does not hold exactly `records_per_file` records.
Dataset read_cifar(Cifar kind, const std::vector<std::filesystem::path>& files, int64_t records_per_file);

// data_batch_1.bin … data_batch_5.bin and test_batch.bin, of 10,000 records each. Throws MissingData when one is not
// there.
Splits read_cifar10(const std::filesystem::path& folder);

// train.bin of 50,000 and test.bin of 10,000 records. Throws MissingData when one is not there.
Splits read_cifar100(const std::filesystem::path& folder);

}  // namespace mollify::datasets
#pragma GCC visibility pop
