// NumPy's array files: NPY 1.0 to 3.0, one array, and NPZ, a zip file of them.
#pragma once

#include <mollify/engine/tensor.h>

#include <filesystem>
#include <map>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::nn::formats {

// '<f4' gives f32, '<f8' f64, '<i4' and '<i8' i32, '|u1' and '|b1' (0 and 1) u8; C and Fortran order; row-major
// tensors. Throws FormatError with the file's name and the byte offset at fault: other dtypes (big endian, half
// precision, strings, objects, …) by their name, i8 values beyond 32 bits, more than six axes, and shapes that do not
// fit the bytes that follow. Files have at most 8 GiB.
Tensor read_npy(const std::filesystem::path& path);

// The arrays of numpy.savez and savez_compressed by name, without ".npy". Throws FormatError, with byte offsets of the
// zip file or of the unpacked array, also for zip64 directories, encryption, packings other than stored and deflated,
// wrong checksums, names that repeat, and members that are no arrays.
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path);

// NPY 1.0, in C order, under a temporary name and then renamed. Throws FormatError naming the file when it cannot be
// written.
void write_npy(const std::filesystem::path& path, const Tensor& values);

// The same arrays as numpy.savez, by name and not compressed. Throws FormatError also for names without a character or
// with "/", and for files from 4 GiB on.
void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& arrays);

}  // namespace mollify::nn::formats
#pragma GCC visibility pop
