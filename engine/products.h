// Who multiplies matrices on the CPU: the kernel of this library, or OpenBLAS.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
namespace mollify {

// own: every number of a product is bias + a[i, 0]·b[0, j] + … in that order, so that a row's bits depend neither on
// the other rows nor on threads, and are the same on every processor with fused multiply-adds.
// openblas: the same products by OpenBLAS, on panels that are cut by the shape alone, one thread to each. The same
// shapes, strides and values give the same bits on any number of threads; but the order of the sums is OpenBLAS's, and
// a row's bits can depend on how many rows and columns there are and on the processor.
enum class Products : uint8_t { own, openblas };
const char* to_string(Products products);

// Of matmul, dense and what is made of them, on the CPU and every thread, from now on; own at the start. Convolutions
// have kernels of their own and a GPU has its libraries: neither asks. A captured step reads the setting at each replay
// on the CPU.
Products products();
// Throws Error for openblas in a build without it. Choosing it sets OpenBLAS to one thread for the whole process, which
// leaves the threads to the library's pool, unless the environment has MOLLIFY_OPENBLAS_THREADS: then OpenBLAS is left
// alone, and bits are as it makes them.
void set_products(Products products);

}  // namespace mollify
#pragma GCC visibility pop
